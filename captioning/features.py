"""What a network is fed: pictures brought to one size, or feature maps kept on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import core
from captioning.captioner import Captioner
from captioning.data import CaptionData
from captioning.encoders import Encoder
from core.data.cache import ArrayCache
from core.training.progress import track

_AT_ONCE = 32


def inputs_of(captioner: Captioner, data: CaptionData, cache: Path | None = None) -> NDArray[Any]:
    """The inputs of all pictures: features float16 (N, C, h, w) for a frozen encoder, which are
    kept in the folder `cache`; otherwise the pictures, uint8 (N, 3, size, size).
    """
    eyes = captioner.net.eyes
    if captioner.net.encoder is not None:
        result = np.empty((len(data.pictures), 3, eyes.size, eyes.size), np.uint8)
        for place, picture in zip(result, data.pictures, strict=True):
            place[:] = eyes.prepare(picture.read())
        return result
    return cached_features(eyes, captioner.encoder, data, cache or default_cache())


def cached_features(encoder: Encoder, name: str, data: CaptionData, folder: Path) -> NDArray[Any]:
    """Feature maps float16 (N, C, h, w) of a data set's pictures, computed once."""
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
    if kept is not None:
        return kept
    found = []
    with core.no_grad():
        for start in track(range(0, len(data.pictures), _AT_ONCE), f"features of {data.split}"):
            several = data.pictures[start : start + _AT_ONCE]
            pictures = np.stack([encoder.prepare(picture.read()) for picture in several])
            found.append(encoder(pictures).numpy().astype(np.float16))
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
            known.append(picture.id)
        else:
            status = path.stat()
            known.append(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(known).encode(errors="surrogateescape")).hexdigest()[:24]


def _digest(encoder: Encoder) -> str:
    digest = hashlib.sha256()
    for array in encoder.state_dict().values():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
