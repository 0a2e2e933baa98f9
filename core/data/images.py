"""Pictures: files to and from uint8 RGB arrays of shape (H, W, 3)."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from core.io.files import write_bytes

if TYPE_CHECKING:
    from PIL import Image

Picture = NDArray[np.uint8]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

READABLE = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 100_000_000
WRITABLE = MappingProxyType({".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"})
"""Format by suffix."""

_ORIENTATION_TAG = 0x0112
_warning_filters = threading.Lock()


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads a JPEG, PNG, WebP or GIF (first frame) as uint8 RGB of shape (H, W, 3).

    Grey, palette and CMYK pictures are converted, 16-bit ones scaled, transparent ones laid over
    white, and EXIF orientation is applied.

    Raises FileNotFoundError when there is no such file, and ValueError, naming file and reason,
    when it is empty, truncated, no picture, or has more than ``max_pixels`` pixels (Pillow's own
    limit of about 178 million holds in any case).
    """
    with _opened(Path(path)) as file:
        return decode_image(file, str(path), max_pixels=max_pixels)


def read_labels(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Reads a label map as the numbers in its file: palette indices or grey values, uint8 (H, W).

    A map that codes classes as colours comes as uint8 (H, W, 3). Only PNG is read: what is lossy,
    or blends its colours, has no labels in it. Raises as `read_image` does, and ValueError for a
    number above 255.
    """
    with _opened(Path(path)) as file:
        try:
            return _decode_labels(file, max_pixels)
        except Exception as error:
            raise ValueError(f"{path}: {_reason(error, 'PNG label map')}") from error


def save_labels(
    path: str | os.PathLike[str], labels: NDArray[np.uint8], palette: NDArray[np.uint8]
) -> None:
    """Writes a label map uint8 (H, W) as a PNG whose palette (n, 3) colours the labels 0 to n - 1.

    Labels without a colour are black. The file appears whole or not at all. Raises ValueError for
    another shape or dtype.
    """
    if labels.ndim != 2 or palette.shape[1:] != (3,) or len(palette) > 256:
        raise ValueError(
            f"save_labels: labels {labels.shape} and palette {palette.shape}, expected (H, W) and "
            "(n, 3) with n up to 256"
        )
    image = _to_pillow(labels, "save_labels")
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    image.putpalette(colours.tobytes())
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", optimize=False)
    write_bytes(Path(path), encoded.getvalue())


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such picture")
    if not path.is_file():
        raise ValueError(f"{path}: not a file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty")
    with path.open("rb") as file:
        yield file


def decode_image(file: BinaryIO, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """As `read_image`, from an open binary file that errors call `name`."""
    try:
        return _decode(file, max_pixels)
    # Decoders let whatever their parsers stumble over through: struct.error, SyntaxError ...
    except Exception as error:
        raise ValueError(f"{name}: {_reason(error)}") from error


def save_image(path: str | os.PathLike[str], picture: Picture, *, quality: int = 92) -> None:
    """Writes a uint8 picture (H, W, 3) or map (H, W) as PNG, JPEG or WebP, by the suffix.

    The file appears whole or not at all, and missing folders are made. ``quality`` (1 to 100) is
    for JPEG and WebP, which are lossy. Raises ValueError for another suffix, shape or dtype.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(WRITABLE)}")
    image = _to_pillow(picture, "save_image")
    encoded = io.BytesIO()
    image.save(encoded, format=WRITABLE[path.suffix.lower()], quality=quality)
    write_bytes(path, encoded.getvalue())


def resize(
    picture: Picture,
    size: int | tuple[int, int],
    interpolation: Interpolation = "bilinear",
    max_size: int | None = None,
) -> Picture:
    """Scales a uint8 picture (H, W, 3) or map (H, W), antialiased except for "nearest".

    Args:
        size: (height, width), or the length of the shorter side, which keeps the proportions.
        interpolation: for label maps only "nearest" makes sense.
        max_size: with a single ``size``, a limit for the longer side.

    Raises ValueError for another dtype or shape, a size below one, or an unknown interpolation.
    """
    from PIL import Image

    filters = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    if interpolation not in filters:
        raise ValueError(f"resize: interpolation is {interpolation!r}, one of {list(filters)}")
    image = _to_pillow(picture, "resize")
    height, width = _target_size(picture.shape[0], picture.shape[1], size, max_size)
    if (height, width) == picture.shape[:2]:
        return picture.copy()
    return np.array(image.resize((width, height), filters[interpolation]))


def _target_size(
    height: int, width: int, size: int | tuple[int, int], max_size: int | None
) -> tuple[int, int]:
    if isinstance(size, tuple):
        if max_size is not None:
            raise ValueError("resize: max_size goes with a single size, not with (height, width)")
        target = size
    else:
        short, long = min(height, width), max(height, width)
        new_short, new_long = size, int(size * long / short)
        if max_size is not None and new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
        target = (new_short, new_long) if height <= width else (new_long, new_short)
    if min(target) < 1:
        raise ValueError(f"resize: {height}x{width} to {target[0]}x{target[1]} leaves no pixels")
    return target


def _to_pillow(picture: Picture, operation: str) -> Image.Image:
    from PIL import Image

    shape = picture.shape
    right_shape = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if picture.dtype != np.uint8 or not right_shape or 0 in shape:
        raise ValueError(
            f"{operation}: picture is {picture.dtype} {shape}, expects uint8 (H, W, 3) or (H, W)"
        )
    return Image.fromarray(picture)


def _decode(file: Any, max_pixels: int) -> Picture:
    image = _loaded(file, READABLE, max_pixels)
    with _quiet_pillow():
        orientation = _orientation(image)
    return np.ascontiguousarray(_oriented(_to_rgb(image), orientation))


def _decode_labels(file: Any, max_pixels: int) -> NDArray[np.uint8]:
    image = _loaded(file, ("PNG",), max_pixels)
    if image.mode in ("RGB", "RGBA"):
        return np.array(image.convert("RGB"))
    if image.mode in ("LA", "PA"):
        image = image.getchannel(0)
    values = np.array(image)
    if values.max() > 255:
        raise ValueError(f"a label of {values.max()}, expected 0 to 255")
    return values.astype(np.uint8)


def _loaded(file: Any, formats: tuple[str, ...], max_pixels: int) -> Image.Image:
    from PIL import Image

    with _quiet_pillow():
        image: Image.Image = Image.open(file, formats=formats)
    width, height = image.size
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height} pixels, more than the limit of {max_pixels}")
    image.load()
    return image


def _to_rgb(image: Image.Image) -> Picture:
    from PIL import Image

    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode.upper() in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # A broken EXIF block is no reason to lose a picture that decodes.
        return 1


def _oriented(picture: Picture, orientation: int) -> Picture:
    """Undoes the rotation and mirroring of an EXIF orientation, 1 to 8 (EXIF 2.3, tag 274)."""
    if orientation in (5, 6, 7, 8):
        picture = picture.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return picture


def _reason(error: Exception, expected: str = "JPEG, PNG, WebP or GIF picture") -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"not a readable {expected}"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels (a decompression bomb?)"
    text = " ".join(str(error).split())
    return f"broken picture ({text or type(error).__name__})"


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silences Pillow's warnings (large picture, broken EXIF); this module does its own checks.

    Filters belong to the process, hence the lock, and only those of Pillow are touched. Pixels
    are decoded outside, so that several threads can.
    """
    with _warning_filters, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
