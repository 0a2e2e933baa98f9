"""`import core` takes under 0.4 seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Of the processor: a busy machine makes every import slow.
TIMED = "import time; t = time.process_time(); import core; print(time.process_time() - t)"


def test_import_core_takes_less_than_400_ms() -> None:
    seconds: list[float] = []
    # A busy machine may need more than one try; the first quick one proves the point.
    while len(seconds) < 5 and min(seconds, default=1.0) >= 0.4:
        command = [sys.executable, "-c", TIMED]
        run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        seconds.append(float(run.stdout))
    assert min(seconds) < 0.4, f"import core took {seconds} s"
