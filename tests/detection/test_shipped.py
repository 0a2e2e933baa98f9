from pathlib import Path

import pytest

from core.io.weights import shipped_names
from detection.data import DIGIT_NAMES
from detection.recipe import RECIPES
from detection.shipped import load_detector
from tests.detection.conftest import MakeDetector


def test_shipped_weights_load_and_are_what_their_name_says() -> None:
    for name in shipped_names("detection"):
        detector = load_detector(name)
        assert detector.data == name and name in RECIPES
        assert len(detector.thresholds) == len(detector.classes) > 1


def test_given_weights_come_first(digit_weights: Path) -> None:
    assert load_detector("whatever", digit_weights).classes == DIGIT_NAMES


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such weights"):
        load_detector("scenes", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no such weights"):
        load_detector("scenes", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'moon' ship \(there are: .+\); train"):
        load_detector("moon")
    monkeypatch.setattr("core.io.weights.resources.files", lambda package: tmp_path)
    assert shipped_names("detection") == []
    with pytest.raises(FileNotFoundError, match=r"there are: none"):
        load_detector("scenes")


def test_only_weights_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_detector: MakeDetector
) -> None:
    for name in ("scenes", "bccd"):
        make_detector().save(tmp_path / "weights" / f"{name}.safetensors")
    (tmp_path / "weights" / "README.md").write_text("words")
    monkeypatch.setattr("core.io.weights.resources.files", lambda package: tmp_path)
    assert shipped_names("detection") == ["bccd", "scenes"]
    assert load_detector("bccd").classes == ("cat", "dog")
