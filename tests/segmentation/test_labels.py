"""What numbers and colours in label maps mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.data.images import read_labels, save_labels
from segmentation.labels import CAMVID, DIGITS, VOC, VOID, LabelSet, read_classes, voc_colours

TWO = LabelSet(("sky", "void", "road"), ((0, 0, 255), (0, 0, 0), (90, 90, 90)))


def test_void_is_no_class() -> None:
    assert TWO.classes == ("sky", "road")
    raw = np.array([[0, 1], [2, 255]], np.uint8)
    assert TWO.decode(raw, "a.png").tolist() == [[0, VOID], [1, VOID]]
    assert TWO.palette[[0, 1]].tolist() == [[0, 0, 255], [90, 90, 90]]


def test_colours_code_classes() -> None:
    raw = np.array([[[0, 0, 255], [90, 90, 90]], [[0, 0, 0], [224, 224, 192]]], np.uint8)
    assert TWO.decode(raw, "a.png").tolist() == [[0, 1], [VOID, VOID]]
    raw[1, 0] = 1, 2, 3
    with pytest.raises(ValueError, match=r"a\.png: colour \(1, 2, 3\) in row 1, column 0 belongs"):
        TWO.decode(raw, "a.png")


def test_an_unknown_number_is_named() -> None:
    raw = np.zeros((4, 5), np.uint8)
    raw[2, 3] = 7
    with pytest.raises(ValueError, match=r"a\.png: label 7 in row 2, column 3; expected 0 to 2"):
        TWO.decode(raw, "a.png")


def test_the_published_palettes() -> None:
    # Pascal VOC 2012, VOClabelcolormap: aeroplane, bottle and tvmonitor.
    assert [voc_colours(21)[n] for n in (1, 5, 20)] == [(128, 0, 0), (128, 0, 128), (0, 64, 128)]
    assert len(VOC.classes) == 21 and len(CAMVID.classes) == 11 and len(DIGITS.classes) == 11
    assert CAMVID.decode(np.array([[11, 10]], np.uint8), "").tolist() == [[VOID, 10]]


def test_classes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("sky #0000ff\n\nparking lot\nvoid #000001\n")
    found = read_classes(path)
    assert found.classes == ("sky", "parking lot")
    assert found.colours == ((0, 0, 255), (128, 0, 0), (0, 0, 1))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"sky #00f\n", r"'sky #00f': expected a name, and #rrggbb"),
        (b"sky\n#00ff00\n", r"'#00ff00': expected a name, and #rrggbb"),
        (b"sky\nsky\n", "the name sky stands twice"),
        (b"a #000000\nb #000000\n", r"the colour \(0, 0, 0\) stands twice"),
        (b"void\n", "at least one class"),
        (b"\xff\xfe", "not a text in UTF-8"),
        (b"\n".join(b"c%d" % n for n in range(300)), "300 labels"),
    ],
)
def test_broken_class_files_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        read_classes(path)
    assert str(path) in str(caught.value)


def test_a_label_map_survives_its_file(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (7, 9)).astype(np.uint8)
    save_labels(tmp_path / "a.png", labels, VOC.palette)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), labels)


def test_a_list_of_classes_may_begin_with_a_mark_and_give_some_colours(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbfvoid\nroad #008000\ncar\n")
    labels = read_classes(path)
    assert labels.classes == ("road", "car")
    # The third of Pascal VOC's colours is taken, so that the car's is the fourth.
    assert labels.colours == ((0, 0, 0), (0, 128, 0), (128, 128, 0))
