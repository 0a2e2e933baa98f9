"""Training end to end, on tiny data: it works, stops when it should, and resumes exactly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.io import weights
from core.training.run import LAST, Run, read_metrics
from detection import train
from detection.data import load
from detection.detector import Detector
from detection.evaluate import thresholds
from detection.metrics import evaluate
from detection.network import RegionNet
from tests.detection.tiny_training import shrink

ROOT = Path(__file__).parents[2]
EPOCHS = 4


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was not interrupted; its cache is beside it."""
    folder = tmp_path_factory.mktemp("training")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        train.main(
            train.Options(epochs=EPOCHS, out=folder / "whole", cache=folder / "cache", seed=2)
        )
    return folder / "whole"


def same_detector(one: Path, other: Path) -> None:
    (first, header), (second, other_header) = (
        weights.load(f / train.DETECTOR) for f in (one, other)
    )
    assert header == other_header and list(first) == list(second)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_a_training_leaves_everything_in_its_folder(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["data"], summary["split"], summary["images"]) == ("scenes", "test", 3)
    assert {"mAP@0.5", "mAP@[.5:.95]", "mAP@0.5 of the softmax", "errors"} <= set(summary)
    assert set(summary["AP@0.5"]) == set(load("scenes", "test", count=1).classes)
    assert 0.3 < summary["proposal recall"]["40"] <= 1
    assert summary["pictures"] == ["detections.png", "proposals.png", "precision_recall.png"]
    for name in (*summary["pictures"], "config.json", "predictions.json", LAST, train.DETECTOR):
        assert (whole / name).stat().st_size > 0
    assert [line["epoch"] for line in read_metrics(whole / "metrics.jsonl")] == [1, 2, 3, 4]
    assert Detector.load(whole / train.DETECTOR).data == "scenes"


def test_the_thresholds_are_those_of_the_validation_pictures(whole: Path) -> None:
    detector = Detector.load(whole / train.DETECTOR)
    held_out = load("scenes", "val")
    found = [detector.detect(picture.read()) for picture in held_out.pictures]
    expected = thresholds(evaluate(found, held_out.truth(), 10))
    assert detector.thresholds == pytest.approx(expected) and len(set(expected)) > 3


def test_predictions_are_coco_results(whole: Path) -> None:
    found = json.loads((whole / "predictions.json").read_text())
    ids = {picture.id for picture in load("scenes", "test").pictures}
    assert found and {one["image_id"] for one in found} <= ids
    assert all(1 <= one["category_id"] <= 10 and len(one["bbox"]) == 4 for one in found)


def run_program(folder: Path, cache: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.detection.tiny_training", "--seed", "2"]
    command += ["--epochs", str(EPOCHS), "--out", str(folder), "--cache", str(cache), *flags]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def wait_for(path: Path, program: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert program.poll() is None and time.monotonic() < end, program.communicate()
        time.sleep(0.005)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_training_resumes_as_if_it_had_not_been(
    whole: Path, tmp_path: Path, how: signal.Signals
) -> None:
    if sys.platform == "win32":
        pytest.skip("signals of POSIX")
    cache, folder = whole.parent / "cache", tmp_path / "killed"
    program = run_program(folder, cache)
    wait_for(folder / LAST, program)
    program.send_signal(how)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == (-how if how == signal.SIGKILL else 130), errors
    assert not (folder / train.DETECTOR).exists()
    options: dict[str, Any] = {"epochs": EPOCHS, "out": folder, "cache": cache, "seed": 2}
    with pytest.raises(ValueError, match="unfinished training: continue it with --resume"):
        train.main(train.Options(**options))
    train.main(train.Options(**options, resume=True))
    same_detector(whole, folder)
    lines = [read_metrics(f / "metrics.jsonl") for f in (whole, folder)]
    losses = [[(line["step"], line["loss"], line["val_loss"]) for line in run] for run in lines]
    assert losses[0] == losses[1]


def test_broken_annotations_are_named_and_do_not_stop_a_training(
    voc_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = voc_root / "bccd"
    split = folder / "ImageSets/Main/train.txt"
    split.write_text(split.read_text() + "\nempty\nbomb\nabsent\ntruncated\nodd\n")
    good = (folder / "Annotations/train0.xml").read_text()
    picture = (folder / "JPEGImages/train0.jpg").read_bytes()
    for name in ("empty", "bomb", "odd"):
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(picture)
    (folder / "JPEGImages/truncated.jpg").write_bytes(picture[:700])
    (folder / "Annotations/empty.xml").write_text("")
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'
    (folder / "Annotations/bomb.xml").write_text(bomb)
    (folder / "Annotations/truncated.xml").write_text(good)
    (folder / "Annotations/odd.xml").write_text(good.replace("WBC", "martian"))
    options = train.Options(
        data="bccd", data_root=voc_root, epochs=1, out=tmp_path / "run", cache=tmp_path / "cache"
    )
    train.main(options)
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("skipped: ")]
    expected = ("empty.xml", "bomb.xml", "absent.xml", "odd.xml: object 2", "truncated.jpg")
    assert len(lines) == len(expected)
    for line, name in zip(lines, expected, strict=True):
        assert name in line
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["images"] == 2 and (tmp_path / "run" / train.DETECTOR).is_file()


def test_a_broken_cache_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = tmp_path / "cache"
    train.main(train.Options(epochs=1, out=tmp_path / "a", cache=cache))
    for path in cache.glob("*/*/*.npz"):
        path.write_bytes(path.read_bytes()[:30])
    train.main(train.Options(epochs=1, out=tmp_path / "b", cache=cache))
    assert "is broken and will be made again" in caplog.text
    same_detector(tmp_path / "a", tmp_path / "b")


def test_features_of_a_training_beside_this_one_stay(tmp_path: Path) -> None:
    data = load("scenes", "train")
    options = train.Options(cache=tmp_path)
    recipe = train.RECIPES["scenes"]
    caches = []
    for _ in range(3):
        net = RegionNet(10, recipe.crop, recipe.width)
        caches.append(train._feature_cache(net, data, recipe, options))
        caches[-1].put("a", np.zeros(1))
        if len(caches) == 1:
            old = time.time() - train.UNUSED_SECONDS - 1
            os.utime(caches[0].folder, (old, old))
    assert [cache.folder.exists() for cache in caches] == [False, True, True]


def test_pictures_of_your_own(voc_root: Path, tmp_path: Path) -> None:
    data, held_out = (load("bccd", split, data_root=voc_root) for split in ("train", "val"))
    run = Run(tmp_path / "own")
    options = train.Options(epochs=1, cache=tmp_path / "cache")
    detector = train.learn(run, data, held_out, train.RECIPES["bccd"], options)
    assert detector.classes == data.classes
    assert Detector.load(run.path(train.DETECTOR)).data == "bccd"


def test_a_missing_test_split_is_found_out_before_the_training(
    voc_root: Path, tmp_path: Path
) -> None:
    # Pascal VOC 2012 publishes no annotations of its test split.
    (voc_root / "bccd/ImageSets/Main/test.txt").unlink()
    options: dict[str, Any] = {"epochs": 1, "out": tmp_path / "run", "cache": tmp_path / "cache"}
    with pytest.raises(FileNotFoundError, match=r"missing ImageSets/Main/test\.txt"):
        train.main(train.Options(data="bccd", data_root=voc_root, **options))
    assert not (tmp_path / "run").exists()
    train.main(train.Options(data="bccd", data_root=voc_root, score="val", **options))
    assert json.loads((tmp_path / "run/summary.json").read_text())["split"] == "val"


def test_too_few_objects_is_said(voc_root: Path, tmp_path: Path) -> None:
    for path in (voc_root / "bccd/Annotations").glob("train*.xml"):
        path.write_text(path.read_text().replace("WBC", "moon").replace("RBC", "moon"))
    options = train.Options(data="bccd", data_root=voc_root, out=tmp_path, cache=tmp_path)
    with pytest.raises(ValueError, match="0 object regions"):
        train.main(options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"count": 0}, "--count is 0"),
        ({"batch_size": 3}, "--batch-size is 3"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"weights": Path("x")}, "--weights"),
    ],
)
def test_impossible_options(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        train.Options(**options)
