"""Arrays kept on disk between runs, by the settings that made them."""

import hashlib
import io
import json
import logging
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.io.files import atomic_write, write_text

_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)

logger = logging.getLogger(__name__)


class ArrayCache:
    """A folder with one array per key; other settings are another sub-folder.

    ``settings`` is everything the arrays depend on, as JSON can write it (raises TypeError when it
    cannot): a changed value, and nothing is found. ``settings.json`` in the sub-folder tells a
    person what is in there. Several processes may share a cache, for a file is written under a
    temporary name and renamed.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        text = json.dumps(dict(settings), sort_keys=True, indent=2)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder = Path(folder) / digest
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / "settings.json"
        if not note.exists():
            write_text(note, text)

    def path(self, key: str) -> Path:
        """Return the file of a key; a key that is no plain file name is hashed into one."""
        plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", key)
        # The dot keeps hashed names apart from plain ones, which have none.
        name = key if plain else "." + hashlib.sha256(key.encode()).hexdigest()[:32]
        return self.folder / f"{name}.npz"

    def get(self, key: str) -> NDArray[Any] | None:
        """Return the array of a key, or None when there is none or its file is broken.

        A broken file is named in one warning and treated as absent.
        """
        path = self.path(key)
        try:
            return _read(path)
        except FileNotFoundError:
            return None
        except _BROKEN as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            logger.warning("cache: %s is broken and will be made again: %s", path, reason)
            return None

    def put(self, key: str, array: NDArray[Any]) -> None:
        """Store an array under a key, whole or not at all; raises TypeError for object arrays."""
        if array.dtype.hasobject:
            raise TypeError(f"cache: an array of dtype {array.dtype} cannot be stored")
        with atomic_write(self.path(key)) as file:
            np.savez_compressed(file, array=array)


def _read(path: Path) -> NDArray[Any]:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        size = archive.getinfo("array.npy").file_size
        # Deflate shrinks at most about 1030 times: what claims more is no array but a trap.
        if size > 1100 * path.stat().st_size:
            raise ValueError(f"an array of {size} bytes cannot come from this file")
        with archive.open("array.npy") as member:
            content = io.BytesIO(member.read(size))
    version = np.lib.format.read_magic(content)
    if version != (1, 0):
        raise ValueError(f"the array's format is {version}, not (1, 0)")
    shape, _, dtype = np.lib.format.read_array_header_1_0(content)
    if math.prod(shape) * dtype.itemsize != size - content.tell():
        raise ValueError(f"{shape} of {dtype} do not fit the {size} bytes of the file")
    content.seek(0)
    array: NDArray[Any] = np.load(content, allow_pickle=False)
    return array
