"""CIFAR-10 in its published binary version, from its folder or straight from its archive."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data import roots
from core.data.archive import read_members
from core.data.dataset import ArrayDataset, Split, check_labels, check_split

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
FOLDER = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
_JPEG_ARCHIVE = "cifar-10-images.tar.xz"
_RECORD = 1 + 3 * 32 * 32
_MAX_FILE_BYTES = 10_000 * _RECORD
_MAX_ARCHIVE_BYTES = 7 * _MAX_FILE_BYTES
_FILES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"{FOLDER}/data_batch_{number}.bin" for number in range(1, 6)),
    "test": (f"{FOLDER}/test_batch.bin",),
}


def cifar10(
    split: Split = "train", data_root: str | os.PathLike[str] | None = None
) -> ArrayDataset:
    """CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images in ten classes.

    Images uint8 RGB (N, 3, 32, 32), labels int64 (N,), from the folder ``cifar-10-batches-bin``
    or from ``cifar-10-binary.tar.gz``, which is read without unpacking. Raises FileNotFoundError
    when neither is found nor downloaded, and ValueError, naming the file, when one is broken.
    """
    check_split(split)
    files = _FILES[split]
    folder = roots.locate("cifar-10", files, data_root)
    if folder is not None:
        paths = [folder / file for file in files]
        return _dataset({str(path): _read_batch(path) for path in paths})
    if roots.locate("cifar-10", [ARCHIVE], data_root) is None:
        _refuse_jpeg_form(data_root)
    archive = roots.find("cifar-10", [ARCHIVE], data_root) / ARCHIVE
    return _dataset({f"{archive}: {name}": b for name, b in _read_archive(archive, files).items()})


def _refuse_jpeg_form(data_root: str | os.PathLike[str] | None) -> None:
    folder = roots.locate("cifar-10", [_JPEG_ARCHIVE], data_root)
    if folder is not None:
        raise FileNotFoundError(
            f"cifar-10: {folder} holds only {_JPEG_ARCHIVE}; the make_batches.py beside it "
            f"writes the {FOLDER} folder that is read here"
        )


def _read_batch(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, expects at most {_MAX_FILE_BYTES}")
    return path.read_bytes()


def _read_archive(path: Path, files: tuple[str, ...]) -> dict[str, bytes]:
    """The wanted members in their order."""
    found = read_members(
        path, files.__contains__, max_file=_MAX_FILE_BYTES, max_archive=_MAX_ARCHIVE_BYTES
    )
    missing = [file for file in files if file not in found]
    if missing:
        raise ValueError(f"{path}: the archive lacks {', '.join(missing)}")
    return {file: found[file] for file in files}


def _dataset(batches: dict[str, bytes]) -> ArrayDataset:
    records = [_parse(where, content) for where, content in batches.items()]
    labels = np.concatenate([record[:, 0] for record in records]).astype(np.int64)
    pixels = np.concatenate([record[:, 1:] for record in records])
    return ArrayDataset(pixels.reshape(-1, 3, 32, 32), labels, CIFAR10_CLASSES)


def _parse(where: str, content: bytes) -> NDArray[np.uint8]:
    """Records (N, 3073): a label, then the red, green and blue planes row by row."""
    if not content or len(content) % _RECORD:
        raise ValueError(
            f"{where}: {len(content)} bytes are no whole number of {_RECORD}-byte records"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    try:
        check_labels(records[:, 0], len(CIFAR10_CLASSES))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return records
