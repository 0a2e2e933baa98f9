"""What a network is fed: pictures brought to one size, or feature maps kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import core
from captioning.captioner import Captioner
from captioning.data import CaptionData, Captioned, tell
from captioning.encoders import Encoder
from core.data.cache import ArrayCache
from core.training.progress import track

_AT_ONCE = 32


def inputs_of(
    captioner: Captioner, data: CaptionData, cache: Path | None = None
) -> tuple[CaptionData, NDArray[Any]]:
    """The pictures that can be read, and their inputs: features float16 (N, C, h, w) for a frozen
    encoder, which are kept in the folder `cache`; otherwise the pictures, uint8 (N, 3, size, size).

    A picture that cannot be read is named and left out. Raises ValueError when none is left.
    """
    eyes = captioner.net.eyes
    if captioner.net.encoder is None:
        inputs = cached_features(eyes, captioner.encoder, data, cache or default_cache())
        good = _known(inputs)
    else:
        inputs, good = _prepared(eyes, data.pictures)
    if good.all():
        return data, inputs
    return _readable(data, good), inputs[good]


def _readable(data: CaptionData, good: NDArray[np.bool_]) -> CaptionData:
    """The pictures of `data` that are `good`; the others are named."""
    pairs = list(zip(data.pictures, good, strict=True))
    broken = [
        _reason(picture) or f"{picture.id}: could not be read at first"
        for picture, read in pairs
        if not read
    ]
    tell(replace(data, skipped=broken))
    if len(broken) == len(pairs):
        raise ValueError(f"{data.name}: no picture of split {data.split!r} can be read")
    pictures = [picture for picture, read in pairs if read]
    return replace(data, pictures=pictures, skipped=[*data.skipped, *broken])


def _reason(picture: Captioned) -> str:
    """Why a picture cannot be read; nothing when it can."""
    try:
        picture.read()
    except (ValueError, OSError) as error:
        return " ".join(str(error).split())
    return ""


def _known(features: NDArray[np.float16]) -> NDArray[np.bool_]:
    """Which of the pictures could be read."""
    return ~np.isnan(features[:, 0, 0, 0])


def _prepared(
    encoder: Encoder, pictures: Sequence[Captioned]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pictures as the encoder takes them (N, 3, size, size), and which of them could be read."""
    result = np.zeros((len(pictures), 3, encoder.size, encoder.size), np.uint8)
    good = np.ones(len(pictures), bool)
    for n, picture in enumerate(pictures):
        try:
            result[n] = encoder.prepare(picture.read())
        except (ValueError, OSError):
            good[n] = False
    return result, good


def cached_features(encoder: Encoder, name: str, data: CaptionData, folder: Path) -> NDArray[Any]:
    """Feature maps float16 (N, C, h, w) of a data set's pictures, computed once.

    Those of a picture that cannot be read are NaN.
    """
    cache = ArrayCache(
        folder,
        {
            "what": "feature maps",
            "data": data.name,
            "encoder": name,
            "weights": _digest(encoder),
            "size": encoder.size,
            "grid": getattr(encoder, "grid", None),
            "channels": encoder.channels,
        },
    )
    key = f"{data.split}-{_pictures_digest(data)}"
    kept = cache.get(key)
    # What could not be read may be read by now: a disk was away, a permission lacked.
    if kept is not None and all(
        read or _reason(picture) for picture, read in zip(data.pictures, _known(kept), strict=True)
    ):
        return kept
    found = []
    with core.no_grad():
        for start in track(range(0, len(data.pictures), _AT_ONCE), f"features of {data.split}"):
            several = data.pictures[start : start + _AT_ONCE]
            pictures, good = _prepared(encoder, several)
            maps = encoder(pictures).numpy().astype(np.float16)
            maps[~good] = np.nan
            found.append(maps)
    features = np.ascontiguousarray(np.concatenate(found))
    cache.put(key, features)
    return features


def default_cache() -> Path:
    """Where features are kept unless another folder is named."""
    from pooch import os_cache

    return Path(os_cache("openbook")) / "captioning"


def _pictures_digest(data: CaptionData) -> str:
    """Which pictures they are: where the files lie, their sizes and times; names of scenes."""
    known = []
    for picture in data.pictures:
        path = getattr(picture, "path", None)
        if path is None:
            known.append(str(picture.id))
        else:
            status = path.stat()
            known.append(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(known).encode(errors="surrogateescape")).hexdigest()[:24]


def _digest(encoder: Encoder) -> str:
    digest = hashlib.sha256()
    for array in encoder.state_dict().values():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
