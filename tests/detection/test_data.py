from pathlib import Path

import numpy as np
import pytest

from core.data.scenes import Scenes
from detection.data import DIGIT_NAMES, SCENE_COUNTS, load, readable
from detection.voc import BCCD_CLASSES


def test_scenes() -> None:
    data = load("scenes", "val", count=3)
    assert (data.name, data.split, data.classes) == ("scenes", "val", DIGIT_NAMES)
    scenes = Scenes("val", count=3)
    for picture, truth, scene in zip(data.pictures, data.truth(), scenes, strict=True):
        assert picture.id == scene.id
        np.testing.assert_array_equal(picture.read(), scene.picture)
        np.testing.assert_array_equal(truth.boxes, scene.boxes)
        np.testing.assert_array_equal(truth.labels, scene.labels)


def test_another_seed_is_other_scenes() -> None:
    one, other = (load("scenes", "val", count=1, seed=seed).pictures[0].read() for seed in (0, 1))
    assert (one != other).any()


def test_the_demo_has_at_least_a_hundred_held_out_scenes() -> None:
    assert SCENE_COUNTS["test"] >= 100


def test_a_folder_in_voc_layout(voc_root: Path) -> None:
    data = load("bccd", "train", data_root=voc_root)
    assert data.classes == BCCD_CLASSES and data.problems == []
    assert [picture.id for picture in data.pictures] == ["train0", "train1", "train2", "train3"]
    assert data.pictures[0].read().shape == (72, 96, 3)
    np.testing.assert_array_equal(data.truth()[0].labels, [0, 1])
    assert [p.id for p in load("bccd", "test", count=1, data_root=voc_root).pictures] == ["test0"]


def test_pictures_that_cannot_be_decoded_are_named_and_left_out(voc_root: Path) -> None:
    first, second = (voc_root / "bccd/JPEGImages" / f"train{i}.jpg" for i in (0, 2))
    first.write_bytes(first.read_bytes()[:600])
    second.write_bytes(b"no picture at all")
    data = load("bccd", "train", data_root=voc_root)
    assert [picture.id for picture in data.pictures] == ["train1", "train3"]
    assert len(data.problems) == 2
    for path, problem in zip((first, second), data.problems, strict=True):
        assert problem.startswith(str(path)) and "\n" not in problem
    usable, problems = readable(data.pictures)
    assert usable == data.pictures and problems == []


def test_nothing_readable_is_an_error(voc_root: Path) -> None:
    for path in (voc_root / "bccd/JPEGImages").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no readable picture in split 'val': .*val0\.jpg"):
        load("bccd", "val", data_root=voc_root)


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBOOK_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    with pytest.raises(
        FileNotFoundError, match=r"VOC2007: missing ImageSets/Main/train.txt.*VOC/voc2007"
    ):
        load("voc2007", "train", data_root=tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load("bccd", "train", data_root=tmp_path / "absent")
    with pytest.raises(ValueError, match="'coco' is unknown"):
        load("coco", "train")
    with pytest.raises(ValueError, match="scenes has no split 'trainval'"):
        load("scenes", "trainval")
