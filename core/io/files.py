"""Files that are either whole or not there, whatever stops the program while it writes."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# The ending of a file that is being written.
UNFINISHED = ".part"


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block ends without an error.

    The bytes go to a temporary file in the same folder, are synced to the disk and renamed, so
    that `path` holds the old content or the new, never a part. After an error the temporary file
    is removed and the old content stays. Missing folders are made. Raises OSError.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}{UNFINISHED}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(target)  # a full disk does not say which file it was
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    # The rename itself is durable only once the folder is synced; Windows cannot open one.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `path` in UTF-8, whole or not at all; line ends stay as given."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write `value` as indented JSON, whole or not at all; `plain` says what it may hold."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def plain(value: object) -> Any:
    """`value` in JSON's own types.

    Takes dataclass instances, mappings with string keys, sequences, NumPy scalars and arrays,
    paths and JSON's types. NaN and infinities become None, which JSON has and they are not in.
    Raises TypeError for anything else.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, os.PathLike):
        return Path(value).as_posix()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"JSON keys are strings, got {key!r} ({type(key).__name__})")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"cannot write {type(value).__name__} as JSON: {value!r}")
