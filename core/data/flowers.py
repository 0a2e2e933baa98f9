"""TensorFlow's "flower_photos": 3,670 photographs of five kinds of flowers."""

from __future__ import annotations

import io
import os
import re
import zlib

import numpy as np

from core.data import roots
from core.data.archive import read_members
from core.data.dataset import ArrayDataset, Split, check_split
from core.data.images import decode_image, resize

FLOWERS_CLASSES = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
ARCHIVE = "flower_photos.tgz"
_ORIGIN = "https://storage.googleapis.com/download.tensorflow.org/example_images/"
_MEMBER = re.compile(rf"(?:\./)?flower_photos/({'|'.join(FLOWERS_CLASSES)})/([^/]+)\.jpg")
# The published archive has 229 MB and pictures of up to 500 pixels.
_MAX_FILE_BYTES = 4 << 20
_MAX_ARCHIVE_BYTES = 512 << 20
_MAX_PIXELS = 1 << 22
_TEST_SHARE = 5


def flowers(
    split: Split = "train", data_root: str | os.PathLike[str] | None = None, *, size: int = 64
) -> ArrayDataset:
    """The photographs of ``flower_photos.tgz``, scaled to squares: four fifths train, rest test.

    Images uint8 RGB (N, 3, size, size), labels int64 (N,), in the order of their names. Which
    part a picture belongs to follows from its published name alone; the few that were published
    twice are taken once, under their first name. Raises FileNotFoundError when the archive is
    not found, and ValueError, naming the file, when it is broken.
    """
    check_split(split)
    path = roots.find("flowers", [ARCHIVE], data_root, origin=_ORIGIN) / ARCHIVE
    members = read_members(
        path,
        lambda name: _MEMBER.fullmatch(name) is not None,
        max_file=_MAX_FILE_BYTES,
        max_archive=_MAX_ARCHIVE_BYTES,
    )
    if not members:
        raise ValueError(f"{path}: no pictures named flower_photos/<class>/<name>.jpg")
    images, labels, seen = [], [], set()
    for name in sorted(members):
        kind, title = _MEMBER.fullmatch(name).groups()  # type: ignore[union-attr]
        content = members[name]
        if content in seen:
            continue
        seen.add(content)
        if (zlib.crc32(title.encode()) % _TEST_SHARE == 0) != (split == "test"):
            continue
        picture = decode_image(io.BytesIO(content), f"{path}: {name}", max_pixels=_MAX_PIXELS)
        images.append(resize(picture, (size, size)).transpose(2, 0, 1))
        labels.append(FLOWERS_CLASSES.index(kind))
    if not images:
        raise ValueError(f"{path}: no pictures in the {split} part")
    return ArrayDataset(np.stack(images), np.array(labels, np.int64), FLOWERS_CLASSES)
