"""Reader of the Pascal VOC layout: VOC 2007 and 2012, BCCD, and whatever is laid out like them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.boxes import clip_boxes_to_image, is_valid
from detection.metrics import GroundTruth

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
BCCD_CLASSES = ("RBC", "WBC", "Platelets")

MAX_XML_BYTES = 1_000_000
MAX_LIST_BYTES = 50_000_000
MAX_SIDE = 100_000


@dataclass(frozen=True)
class VOCItem:
    """One annotated picture: ``path``, ``size`` (height, width), ``boxes`` (n, 4) float32,
    ``labels`` (n,) int64 and ``difficult`` (n,) bool; n may be 0.
    """

    id: str
    path: Path
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]

    def truth(self) -> GroundTruth:
        """Return the boxes in the form that the metrics take."""
        return GroundTruth(self.boxes, self.labels, self.difficult)

    def read(self) -> NDArray[np.uint8]:
        """Return the picture, uint8 (H, W, 3) RGB.

        Raises ValueError when it cannot be decoded or is not of the annotated size.
        """
        from core.data.images import read_image

        picture: NDArray[np.uint8] = read_image(self.path)
        if picture.shape[:2] != self.size:
            height, width = self.size
            raise ValueError(
                f"{self.path}: the picture is {picture.shape[1]}x{picture.shape[0]}, "
                f"its annotation says {width}x{height}"
            )
        return picture


class VOCDetection:
    """The annotated pictures of one split of a data set in Pascal VOC layout, as a sequence.

    ``root`` holds ``JPEGImages``, ``Annotations`` and ``ImageSets/Main/<split>.txt``. ``classes``
    gives the label order (default: the twenty of VOC). Whatever cannot be used is left out and
    said in one line of ``problems``, which names the file and the reason; ``clipped`` counts the
    boxes that were cut at the border. Raises FileNotFoundError without a list of the split and
    ValueError when nothing of it is usable. Source: Everingham et al. 2010.
    """

    def __init__(self, root: str | Path, split: str, classes: Sequence[str] = VOC_CLASSES) -> None:
        self.root = Path(root)
        self.classes = list(classes)
        self.problems: list[str] = []
        self.clipped = 0
        self.items: list[VOCItem] = []
        for name in self._read_split(split):
            try:
                self.items.append(self._read_item(name))
            except (ValueError, OSError) as error:
                self.problems.append(str(error))
        if not self.items:
            first = f"; the first problem: {self.problems[0]}" if self.problems else ""
            raise ValueError(f"{self.root}: no usable picture in split {split!r}{first}")

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[VOCItem]:
        return iter(self.items)

    def __getitem__(self, index: int) -> VOCItem:
        return self.items[index]

    def _read_split(self, split: str) -> list[str]:
        if not _is_plain_name(split):
            raise ValueError(f"split: expected a plain name, got {split!r}")
        path = self.root / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such split list")
        lines = _read_limited(path, MAX_LIST_BYTES).decode("utf-8", "replace").splitlines()
        # Lists of a single class have a second column, 1 or -1.
        names = [line.split()[0] for line in lines if line.strip()]
        return list(dict.fromkeys(names))

    def _read_item(self, name: str) -> VOCItem:
        if not _is_plain_name(name):
            raise ValueError(f"{self.root}: the id {name!r} is no plain file name")
        path = self.root / "Annotations" / f"{name}.xml"
        tree = _parse(path)
        size = _size(path, tree)
        picture = self._picture(path, tree, name)
        boxes, labels, difficult = [], [], []
        for number, node in enumerate(tree.findall("object"), start=1):
            try:
                box, label = self._object(node, size)
            except ValueError as error:
                self.problems.append(f"{path}: object {number}: {error}")
                continue
            boxes.append(box)
            labels.append(label)
            difficult.append(_text(node, "difficult", "0") == "1")
        return VOCItem(
            name,
            picture,
            size,
            np.array(boxes, dtype=np.float32).reshape(-1, 4),
            np.array(labels, dtype=np.int64),
            np.array(difficult, dtype=bool),
        )

    def _picture(self, path: Path, tree: Any, name: str) -> Path:
        filename = _text(tree, "filename", f"{name}.jpg")
        if not _is_plain_name(filename):
            raise ValueError(f"{path}: <filename> {filename!r} is no plain file name")
        # The id decides, as in the development kit; <filename> only tells another suffix.
        for candidate in (f"{name}.jpg", f"{name}{Path(filename).suffix}", filename):
            picture = self.root / "JPEGImages" / candidate
            if picture.is_file():
                return picture
        raise FileNotFoundError(f"{path}: there is no picture JPEGImages/{name}.jpg")

    def _object(self, node: Any, size: tuple[int, int]) -> tuple[NDArray[np.float32], int]:
        name = _text(node, "name", "")
        if name not in self.classes:
            raise ValueError(f"class {name[:40]!r} is not declared")
        corners = [_number(node, f"bndbox/{tag}") for tag in ("xmin", "ymin", "xmax", "ymax")]
        label = ",".join(f"{value:g}" for value in corners)
        # In the file a box of one pixel has xmin = xmax; the published sets also mark empty
        # boxes so, and no object is one pixel wide.
        if not (corners[0] < corners[2] and corners[1] < corners[3]):
            raise ValueError(f"box {label} has no area")
        box = np.array([corners], dtype=np.float32) - np.array([1, 1, 0, 0], dtype=np.float32)
        inside = clip_boxes_to_image(box, size)
        if not is_valid(inside)[0]:
            raise ValueError(f"box {label} lies outside the picture")
        # A box that starts at 0 is off by one, not outside.
        if np.abs(inside - box).max() > 1:
            self.clipped += 1
        return inside[0], self.classes.index(name)


def _is_plain_name(name: str) -> bool:
    return re.fullmatch(r"[\w()+=,@ -][\w.()+=,@ -]*", name) is not None and len(name) < 200


def _read_limited(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path}: larger than {limit} bytes")
    return content


def _parse(path: Path) -> Any:
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such annotation")
    content = _read_limited(path, MAX_XML_BYTES)
    if not content.strip():
        raise ValueError(f"{path}: the annotation is empty")
    try:
        return fromstring(content, forbid_dtd=True)
    except ParseError as error:
        raise ValueError(f"{path}: not well-formed XML: {error}") from None
    except DefusedXmlException:
        raise ValueError(f"{path}: refused: the XML declares entities or a DTD") from None
    except (LookupError, UnicodeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as XML: {error}") from None


def _text(node: Any, tag: str, default: str) -> str:
    return str(node.findtext(tag) or default).strip()


def _number(node: Any, tag: str) -> float:
    text = _text(node, tag, "")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"<{tag}> is {text[:40]!r}, not a number") from None
    if not np.isfinite(value):
        raise ValueError(f"<{tag}> is {text[:40]!r}, not a finite number")
    return value


def _size(path: Path, tree: Any) -> tuple[int, int]:
    try:
        width, height = (_number(tree, f"size/{tag}") for tag in ("width", "height"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"{path}: a picture of {width:g}x{height:g} is not possible")
    return int(height), int(width)
