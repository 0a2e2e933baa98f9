"""The program on the detector's page does what the page says."""

import re
from pathlib import Path

import pytest

from detection.detector import Detector
from tests.detection.tiny_training import shrink

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"


def test_training_on_your_own_folder(
    voc_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shrink(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (voc_root / "bccd").rename(tmp_path / "mine")
    for path in (tmp_path / "mine/Annotations").iterdir():
        path.write_text(path.read_text().replace("RBC", "cat").replace("WBC", "dog"))
    (tmp_path / "mine/Annotations/train1.xml").write_text("")
    program = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[-1]
    shorter = program.replace("epochs=12", "epochs=1").replace("crop=48", "crop=16, width=8")
    assert shorter != program
    exec(compile(shorter, str(PAGE), "exec"), {"__name__": "__main__"})
    assert Detector.load("runs/mine/detector.safetensors").classes == ("cat", "dog")
    assert "train1.xml: the annotation is empty" in capsys.readouterr().out
