"""Files out of a compressed tar archive, read in one bounded pass and never unpacked to disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path


def read_members(
    path: Path, wanted: Callable[[str], bool], *, max_file: int, max_archive: int
) -> dict[str, bytes]:
    """The contents of the files of a .tar.gz whose names are `wanted`, in the archive's order.

    Raises ValueError, naming the archive, when it is broken, has a member of more than `max_file`
    bytes, a wanted one that is no file or is there twice, or inflates to more than `max_archive`.
    """
    found: dict[str, bytes] = {}
    try:
        with gzip.open(path, "rb") as inflated:
            bounded = _BoundedReader(inflated, max_archive)
            with tarfile.open(fileobj=bounded, mode="r|", bufsize=1 << 20) as archive:
                for member in archive:
                    if member.size > max_file:
                        raise ValueError(f"member {member.name!r} has {member.size} bytes")
                    if not wanted(member.name):
                        continue
                    content = archive.extractfile(member) if member.isfile() else None
                    if content is None or member.name in found:
                        raise ValueError(f"member {member.name!r} is no file or is there twice")
                    found[member.name] = content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise ValueError(f"{path}: broken archive ({error})") from error
    return found


class _BoundedReader(io.RawIOBase):
    """A stream that refuses to give more than ``limit`` bytes, whatever tar headers ask for."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("it inflates to more than the published archive holds")
        return data
