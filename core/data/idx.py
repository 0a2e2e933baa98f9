"""MNIST and Fashion-MNIST in their published format, idx files, plain or compressed."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from core.data import roots
from core.data.dataset import ArrayDataset, Split, check_labels, check_split

MNIST_CLASSES = tuple("0123456789")
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_MAX_BYTES = 1 << 30
_CHUNK = 1 << 20
_UNSIGNED_BYTE = 0x08
# The best that deflate can do (zlib's documentation, "maximum compression factor").
_DEFLATE_RATIO = 1032


def mnist(split: Split = "train", data_root: str | os.PathLike[str] | None = None) -> ArrayDataset:
    """MNIST (LeCun, Cortes, Burges): 60,000 training and 10,000 test digits.

    Images uint8 (N, 1, 28, 28), labels int64 (N,). Raises FileNotFoundError when the files are
    neither found nor downloaded, and ValueError, naming the file, when one is broken.
    """
    return _idx_dataset("mnist", split, MNIST_CLASSES, data_root)


def fashion_mnist(
    split: Split = "train", data_root: str | os.PathLike[str] | None = None
) -> ArrayDataset:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60,000 training and 10,000 test garments.

    Shapes and errors as for ``mnist``.
    """
    return _idx_dataset("fashion-mnist", split, FASHION_MNIST_CLASSES, data_root)


def read_idx(
    path: str | os.PathLike[str], ndim: int, *, max_bytes: int = _MAX_BYTES
) -> NDArray[np.uint8]:
    """Reads an idx file of unsigned bytes with ``ndim`` dimensions; ``.gz`` is decompressed.

    Nothing is read or inflated beyond what the header announces, and one byte more. Raises
    FileNotFoundError, or ValueError naming the file when it is no such idx file, is truncated,
    has trailing bytes, or announces more than ``max_bytes``. Format: Y. LeCun, "The MNIST
    database", file formats.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if path.suffix == ".gz":
            available = path.stat().st_size * _DEFLATE_RATIO
            with gzip.open(path, "rb") as compressed:
                return _parse(cast(BinaryIO, compressed), ndim, available, max_bytes)
        with path.open("rb") as file:
            return _parse(file, ndim, path.stat().st_size, max_bytes)
    except EOFError as error:
        raise ValueError(f"{path}: the compressed file is truncated") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: broken gzip file ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _parse(file: BinaryIO, ndim: int, available: int, max_bytes: int) -> NDArray[np.uint8]:
    header = file.read(4 + 4 * ndim)
    if header[:4] != bytes((0, 0, _UNSIGNED_BYTE, ndim)):
        raise ValueError(
            f"no idx file of unsigned bytes in {ndim} dimensions (magic {header[:4].hex()})"
        )
    if len(header) < 4 + 4 * ndim:
        raise ValueError("truncated in the header")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    size = math.prod(shape)
    if size > max_bytes:
        raise ValueError(f"the header announces {size} bytes, more than the limit of {max_bytes}")
    if size > available:
        raise ValueError(f"truncated: the header announces {size} bytes of shape {shape}")
    data = bytearray()
    while len(data) <= size:
        chunk = file.read(min(_CHUNK, size + 1 - len(data)))
        if not chunk:
            break
        data += chunk
    if len(data) < size:
        raise ValueError(f"truncated: {len(data)} bytes of data, the header announces {size}")
    if len(data) > size:
        raise ValueError(f"trailing bytes after the {size} that the header announces")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _idx_dataset(
    name: str,
    split: Split,
    classes: Sequence[str],
    data_root: str | os.PathLike[str] | None,
) -> ArrayDataset:
    check_split(split)
    prefix = "train" if split == "train" else "t10k"
    files = (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
    folder = roots.find(name, files, data_root)
    images_path, labels_path = (roots.present(folder, file) or folder / file for file in files)
    images = read_idx(images_path, 3)
    labels = read_idx(labels_path, 1)
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{images_path}: images are {images.shape[1:]}, expects (28, 28)")
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: {len(labels)} labels for {len(images)} images")
    try:
        check_labels(labels, len(classes))
    except ValueError as error:
        raise ValueError(f"{labels_path}: {error}") from error
    return ArrayDataset(images[:, None], labels.astype(np.int64), tuple(classes))
