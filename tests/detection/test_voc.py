import re
from pathlib import Path

import numpy as np
import pytest

from detection.voc import BCCD_CLASSES, MAX_XML_BYTES, VOCDetection

CLASSES = ["cat", "dog"]


def element(name: str, box: tuple[float | str, ...], difficult: int = 0) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{inner}</bndbox></object>"
    )


def annotation(*objects: str, filename: str = "a.jpg", size: tuple[str, str] = ("40", "30")) -> str:
    return (
        f"<annotation><filename>{filename}</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height></size>{''.join(objects)}</annotation>"
    )


GOOD = annotation(element("cat", (1, 1, 10, 20)))


def make(root: Path, **annotations: str | bytes | None) -> Path:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, content in annotations.items():
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(b"")
        if content is not None:
            data = content.encode() if isinstance(content, str) else content
            (root / "Annotations" / f"{name}.xml").write_bytes(data)
    (root / "ImageSets/Main/train.txt").write_text("\n".join(annotations) + "\n")
    return root


def test_a_good_file(tmp_path: Path) -> None:
    objects = element("dog", (1, 1, 10, 20)), element("cat", (5, 6, 40, 30), difficult=1)
    data = VOCDetection(make(tmp_path, a=annotation(*objects), b=annotation()), "train", CLASSES)
    item, empty = data
    np.testing.assert_array_equal(item.boxes, [[0, 0, 10, 20], [4, 5, 40, 30]])
    assert item.boxes.dtype == np.float32
    np.testing.assert_array_equal(item.labels, [1, 0])
    np.testing.assert_array_equal(item.difficult, [False, True])
    assert (item.size, item.path) == ((30, 40), tmp_path / "JPEGImages" / "a.jpg")
    assert empty.boxes.shape == (0, 4)
    assert (data.problems, data.clipped) == ([], 0)
    np.testing.assert_array_equal(item.truth().difficult, item.difficult)


def test_boxes_at_and_over_the_border(tmp_path: Path) -> None:
    objects = [
        element("cat", (0, 0, 10, 10)),
        element("cat", (-5, 3, 60, 10)),
        element("cat", (100, 3, 120, 10)),
        element("cat", (7, 7, 7, 7)),
        element("cat", (9, 9, 5, 12)),
    ]
    data = VOCDetection(make(tmp_path, a=annotation(*objects)), "train", CLASSES)
    np.testing.assert_array_equal(data[0].boxes, [[0, 0, 10, 10], [0, 2, 40, 10]])
    assert data.clipped == 1
    assert len(data.problems) == 3
    assert "object 3: box 100,3,120,10 lies outside" in data.problems[0]
    assert "object 4: box 7,7,7,7 has no area" in data.problems[1]


@pytest.mark.parametrize("value", ["", "nan", "inf", "1e999", "ten"])
def test_corners_that_are_no_numbers(tmp_path: Path, value: str) -> None:
    content = annotation(element("cat", (1, value, 9, 9)), element("dog", (1, 1, 9, 9)))
    data = VOCDetection(make(tmp_path, a=content), "train", CLASSES)
    assert len(data[0].labels) == len(data.problems) == 1
    assert "a.xml: object 1: <bndbox/ymin>" in data.problems[0]


def test_undeclared_class(tmp_path: Path) -> None:
    content = annotation(element("cow", (1, 1, 9, 9)), element("cat", (1, 1, 9, 9)))
    data = VOCDetection(make(tmp_path, a=content), "train", CLASSES)
    np.testing.assert_array_equal(data[0].labels, [0])
    assert "class 'cow' is not declared" in data.problems[0]


BOMB = (
    '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]>'
    "<annotation><filename>&y;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (GOOD[:60], "not well-formed"),
        (b"\xff\xfe\x00junk", "not well-formed|cannot be read"),
        (b'<?xml version="1.0" encoding="nonsense"?><annotation/>', "XML"),
        (BOMB, "declares entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "declares entities or a DTD"),
        (b"<a>" + b" " * MAX_XML_BYTES + b"</a>", "larger than"),
        (annotation(size=("0", "30")), "not possible"),
        (annotation(size=("1e12", "30")), "not possible"),
        (annotation(size=("", "30")), "size/width"),
        (annotation(filename="../../etc/passwd"), "no plain file name"),
        (annotation(filename="C:\\secret"), "no plain file name"),
        (None, "no such annotation"),
    ],
)
def test_a_broken_file_is_named_and_skipped(
    tmp_path: Path, content: str | bytes | None, reason: str
) -> None:
    data = VOCDetection(make(tmp_path, bad=content, good=GOOD), "train", CLASSES)
    assert [item.id for item in data.items] == ["good"]
    assert len(data.problems) == 1
    assert "bad.xml" in data.problems[0] and "\n" not in data.problems[0]
    assert re.search(reason, data.problems[0])


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    make(tmp_path, a=GOOD, b=GOOD)
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    (tmp_path / "JPEGImages" / "b.jpg").rename(tmp_path / "JPEGImages" / "b.png")
    (tmp_path / "Annotations" / "b.xml").write_text(annotation(filename="b.png"))
    data = VOCDetection(tmp_path, "train", CLASSES)
    assert data[0].path.name == "b.png"
    assert "there is no picture JPEGImages/a.jpg" in data.problems[0]


def test_ids_cannot_leave_the_folder(tmp_path: Path) -> None:
    make(tmp_path, a=GOOD)
    (tmp_path / "ImageSets/Main/train.txt").write_text("../a\n/etc/passwd\n\na 1\na -1\n")
    data = VOCDetection(tmp_path, "train", CLASSES)
    assert [item.id for item in data.items] == ["a"]
    assert len(data.problems) == 2
    with pytest.raises(ValueError, match="plain name"):
        VOCDetection(tmp_path, "../train", CLASSES)


def test_nothing_usable(tmp_path: Path) -> None:
    make(tmp_path, a=b"")
    with pytest.raises(ValueError, match=r"no usable picture in split 'train'; .*a\.xml"):
        VOCDetection(tmp_path, "train", CLASSES)
    with pytest.raises(FileNotFoundError, match=r"val\.txt"):
        VOCDetection(tmp_path, "val", CLASSES)


def test_picture_and_annotation_must_agree(tmp_path: Path) -> None:
    images = pytest.importorskip("core.data.images")
    from PIL import Image

    assert images.read_image
    make(tmp_path, a=GOOD, b=GOOD)
    Image.new("RGB", (40, 30)).save(tmp_path / "JPEGImages" / "a.jpg")
    Image.new("RGB", (30, 40)).save(tmp_path / "JPEGImages" / "b.jpg")
    first, second = VOCDetection(tmp_path, "train", CLASSES)
    assert first.read().shape == (30, 40, 3)
    with pytest.raises(ValueError, match="the picture is 30x40, its annotation says 40x30"):
        second.read()


@pytest.mark.data
def test_bccd_as_published(data_root: Path) -> None:
    counts, problems = np.zeros(3, int), 0
    for split, pictures in (("train", 205), ("val", 87), ("test", 72)):
        data = VOCDetection(data_root / "bccd", split, BCCD_CLASSES)
        assert len(data) == pictures
        problems += len(data.problems)
        for item in data.items:
            counts += np.bincount(item.labels, minlength=3)
    assert problems == 2
    assert counts.sum() == 4155 + 372 + 361 - 2
    assert counts[1] == 372
