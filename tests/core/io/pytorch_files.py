"""PyTorch's files, put together by hand: the pickle's instructions one by one."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.io.pytorch import LEGACY_START

OPEN = b"\x80\x02"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + tuple_of(*arguments) + b"R"


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def dictionary(entries: Sequence[tuple[str, bytes]]) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in entries) + b"u"


@dataclass(frozen=True)
class Stored:
    """A tensor of a hand-made file; by default all of a storage of four float32."""

    shape: tuple[int, ...] = (4,)
    strides: tuple[int, ...] = (1,)
    offset: int = 0
    key: str = "0"
    kind: str = "FloatStorage"
    numel: int = 4
    view: bytes | None = None
    function: str = "_rebuild_tensor_v2"
    location: str = field(default="cpu")

    def pickled(self, legacy: bool = False) -> bytes:
        parts = [
            text("storage"),
            f"ctorch\n{self.kind}\n".encode(),
            text(self.key),
            text(self.location),
            number(self.numel),
        ]
        if legacy:
            parts.append(b"N" if self.view is None else self.view)
        arguments = [
            tuple_of(*parts) + b"Q",
            number(self.offset),
            tuple_of(*map(number, self.shape)),
            tuple_of(*map(number, self.strides)),
        ]
        if self.function.endswith("v2"):
            arguments += [b"\x89", call("collections", "OrderedDict")]
        return call("torch._utils", self.function, *arguments)


def zip_file(
    program: bytes,
    storages: Mapping[str, bytes],
    *,
    extra: Sequence[tuple[str, bytes]] = (("byteorder", b"little"),),
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """The newer format around the instructions `program`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr("net/data.pkl", OPEN + program + b".")
        for name, raw in extra:
            archive.writestr(f"net/{name}", raw)
        for key, raw in storages.items():
            archive.writestr(f"net/data/{key}", raw)
    return content.getvalue()


def legacy_file(
    program: bytes,
    storages: Mapping[str, tuple[int, bytes]],
    *,
    version: int = 1001,
    little_endian: bool = True,
    keys: Any = None,
) -> bytes:
    """The older format; each storage is its count of values and its bytes."""
    machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    return b"".join(
        [
            LEGACY_START,
            pickle.dumps(version, 2),
            pickle.dumps(machine, 2),
            OPEN + program + b".",
            pickle.dumps(list(storages) if keys is None else keys, 2),
            *(struct.pack("<q", count) + raw for count, raw in storages.values()),
        ]
    )
