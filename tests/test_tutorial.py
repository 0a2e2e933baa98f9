"""The tutorial's cells run from top to bottom, and show what its text says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


@pytest.mark.slow
def test_the_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads(TUTORIAL.read_text(encoding="utf-8"))
    sources = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert len(sources) > 10
    names: dict[str, Any] = {"__name__": "tutorial"}
    for source in sources:
        code = source.replace("%matplotlib inline\n", "")
        exec(compile(code, str(TUTORIAL), "exec"), names)
    printed = capsys.readouterr().out
    assert "xor   {'00': 0, '10': 1, '01': 1, '11': 0}" in printed
    assert "d price / d apple: 2.2" in printed
    assert names["price"].item() == pytest.approx(715)
    # Deeper is better: two layers, SimpleConvNet, DeepConvNet.
    assert names["accuracy"](names["two_layers"]) > 0.93
    assert names["accuracy"](names["simple"]) > 0.96
    assert names["accuracy"](names["deep"]) > 0.975
    assert names["difference"] < 1e-4
    assert len(names["wrong"]) == np.minimum(12, (names["predicted"] != names["test"].labels).sum())


def test_the_tutorial_was_saved_with_its_pictures() -> None:
    notebook = json.loads(TUTORIAL.read_text(encoding="utf-8"))
    outputs = [o for c in notebook["cells"] for o in c.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 8
    assert not any(o["output_type"] == "error" for o in outputs)
    assert TUTORIAL.stat().st_size < 600_000
