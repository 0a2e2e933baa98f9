import json
from pathlib import Path
from typing import Any

import pytest

from detection import demo
from detection.demo import Options, main
from tests.detection.conftest import MakeDetector
from tests.detection.tiny_training import shrink


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)


def test_it_looks_draws_and_scores(
    tmp_path: Path, digit_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(Options(weights=digit_weights, count=2, out=tmp_path / "out"))
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert json.loads(capsys.readouterr().out) == summary
    assert summary["images"] == 2 and 0 <= summary["mAP@0.5"] <= 1
    assert summary["proposal recall"]["mean_number"] == 40
    assert len(summary["pictures"]) == 3
    for name in (*summary["pictures"], "predictions.json", "config.json"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    ids = {one["image_id"] for one in json.loads((tmp_path / "out/predictions.json").read_text())}
    assert ids <= {"test-00000", "test-00001"}


def test_a_second_demo_replaces_the_first(tmp_path: Path, digit_weights: Path) -> None:
    for count in (1, 2):
        main(Options(weights=digit_weights, count=count, out=tmp_path / "out"))
    assert json.loads((tmp_path / "out/summary.json").read_text())["images"] == 2


def test_it_can_train_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    main(Options(train=True, epochs=1, count=2, out=tmp_path / "out", cache=tmp_path / "cache"))
    assert (tmp_path / "out/detector.safetensors").is_file()
    assert json.loads((tmp_path / "out/summary.json").read_text())["images"] == 2


def test_a_missed_promise_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_detector: MakeDetector
) -> None:
    monkeypatch.setattr(demo, "load_detector", lambda name, path: make_detector())
    monkeypatch.setattr(demo, "show", lambda run, detector, count: 0.84)
    main(Options(count=99, out=tmp_path / "few"))
    with pytest.raises(RuntimeError, match=r"mAP@0.5 is 0.840, the demo promises 0.85"):
        main(Options(count=100, out=tmp_path / "many"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"count": 0}, "--count is 0"),
        ({"resume": True}, "add --train"),
        ({"train": True, "weights": Path("w")}, "--weights"),
    ],
)
def test_impossible_options(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        main(Options(**options, out=tmp_path))


def test_weights_of_another_kind(tmp_path: Path, make_detector: MakeDetector) -> None:
    path = tmp_path / "cats.safetensors"
    make_detector().save(path)
    with pytest.raises(ValueError, match="the detector knows cat, dog"):
        main(Options(weights=path, count=1, out=tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match="no such weights"):
        main(Options(weights=tmp_path / "none", out=tmp_path / "out"))
