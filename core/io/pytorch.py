"""PyTorch's files: the zip archives of 1.6 and later, and the older stream of pickles.

Both are a pickle that says which tensors there are, and the raw values of their storages. The
pickle goes through `core.io.unpickle`; nothing in a file is run. (Formats: torch/serialization.py.)
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.io.unpickle import StorageType, StorageView, TensorView, shown, unpickle

ZIP_START = b"PK\x03\x04"
# A pickle of its own, the number 0x1950a86a20f9469cfc6c.
LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_VERSION = 1001
_TAR_MARK = (257, b"ustar")

# The pickles of the largest networks have a few hundred kilobytes.
_MAX_PICKLE_BYTES = 16_000_000
_MAX_STORAGES = 100_000
# Under these names training scripts keep the weights among other things.
_NESTED = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."

# What the standard library's zip reader lets through when an archive is broken.
_BROKEN = (
    *(ValueError, RuntimeError, EOFError, OSError, OverflowError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)

Storages = dict[str, NDArray[Any]]


def is_pytorch(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like one of PyTorch's, of any age; its name does not matter."""
    with open(path, "rb") as file:
        start = file.read(512)
    return start.startswith((ZIP_START, LEGACY_START)) or _is_tar(start)


def load_pytorch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a file that `torch.save(model.state_dict(), path)` wrote, of any version.

    Values are shared and laid out as they were; bfloat16 becomes float32, exactly. A training's
    checkpoint gives what is under "state_dict", "model_state_dict" or "model"; "module.", which
    data-parallel training puts before every name, is removed. Raises ValueError in one line that
    names the file when it is broken, holds anything but tensors, asks for anything else to be
    run, or claims more than its own size; FileNotFoundError when there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with open(path, "rb") as file:
        try:
            found, storages = _load(file)
            return {name: _tensor(view, storages) for name, view in _state_of(found).items()}
        except _BROKEN as error:
            line = " ".join(str(error).split())
            raise ValueError(f"{path}: no valid PyTorch file: {line}") from None


def _load(file: BinaryIO) -> tuple[Any, Storages]:
    """What the pickle of a file made, and the values of the storages that it speaks of."""
    start = file.read(512)
    file.seek(0)
    if start.startswith(ZIP_START):
        return _load_zip(file)
    if start.startswith(LEGACY_START):
        return _load_legacy(file)
    if _is_tar(start):
        raise ValueError("PyTorch's first format (a tar archive, 2016), which is not read")
    raise ValueError("its first bytes are not PyTorch's")


def _is_tar(start: bytes) -> bool:
    position, mark = _TAR_MARK
    return start[position:].startswith(mark)


# ------------------------------------------------------------------------------ the two containers


def _load_zip(file: BinaryIO) -> tuple[Any, Storages]:
    """`<folder>/data.pkl` beside `<folder>/data/<key>`, one member for each storage."""
    with zipfile.ZipFile(file) as archive:
        members = _checked_members(archive, _size(file))
        pickles = [name for name in members if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"a zip archive with {len(pickles)} data.pkl, expected one")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}constants.pkl" in members:
            raise ValueError("a TorchScript program, not a state dict")
        if members[pickles[0]].file_size > _MAX_PICKLE_BYTES:
            raise ValueError(f"its pickle has more than {_MAX_PICKLE_BYTES:,} bytes")
        order = members.get(f"{folder}byteorder")
        if order is not None and archive.open(order).read(16).strip() != b"little":
            raise ValueError("it is not little-endian")
        wanted: dict[str, StorageView] = {}

        def storage(persistent_id: Any) -> StorageView:
            view = _storage_view(persistent_id, wanted)
            member = members.get(f"{folder}data/{view.key}")
            if member is None:
                raise ValueError(f"it lacks the values data/{shown(view.key)}")
            if member.file_size != view.numel * view.kind.itemsize:
                raise ValueError(
                    f"data/{shown(view.key)} has {member.file_size} bytes, expected "
                    f"{view.numel * view.kind.itemsize}"
                )
            return view

        found = unpickle(BytesIO(archive.read(pickles[0])), storage)
        storages = {}
        for key, view in wanted.items():
            with archive.open(members[f"{folder}data/{key}"]) as member:
                storages[key] = _values(member, view)
        return found, storages


def _checked_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by name; none is compressed, so that none can claim what it is not."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if member.filename in members:
            raise ValueError(f"a zip archive with {shown(member.filename)} twice")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError(
                f"{shown(member.filename)} is compressed or encrypted; PyTorch does neither"
            )
        members[member.filename] = member
    total = sum(member.file_size for member in members.values())
    if total > size:
        raise ValueError(f"its members claim {total} bytes, the file has {size}")
    return members


def _load_legacy(file: BinaryIO) -> tuple[Any, Storages]:
    """Magic number, version, machine, the object, the storages' keys, and their values in turn."""
    head = BytesIO(file.read(_MAX_PICKLE_BYTES))
    size = _size(file)
    unpickle(head)  # the magic number, which the caller has seen
    version, machine = unpickle(head), unpickle(head)
    if version != _LEGACY_VERSION or not isinstance(machine, dict):
        raise ValueError(f"its format is not version {_LEGACY_VERSION}")
    if machine.get("little_endian") is not True:
        raise ValueError("it is not little-endian")
    wanted: dict[str, StorageView] = {}
    found = unpickle(head, lambda persistent_id: _storage_view(persistent_id, wanted))
    keys = unpickle(head)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is no list of keys")
    if len(set(keys)) != len(keys) or set(keys) != set(wanted):
        raise ValueError("its list of storages is not that of its tensors")
    file.seek(head.tell())
    storages = {}
    for key in keys:
        view = wanted[key]
        count = int.from_bytes(file.read(8), "little", signed=True)
        left = size - file.tell()
        if count != view.numel or count * view.kind.itemsize > left:
            raise ValueError(
                f"storage {shown(key)} has {count} values where {view.numel} are expected and "
                f"{left} bytes are left"
            )
        storages[key] = _values(file, view)
    return found, storages


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


# ------------------------------------------------------------------------------ storages, tensors


def _storage_view(persistent_id: Any, wanted: dict[str, StorageView]) -> StorageView:
    """The view that a persistent id describes; its whole storage is noted in `wanted`.

    The id is ("storage", type, key, device, count of values), and in the older format the part of
    the storage that is meant: None or (key, offset, count).
    """
    if not isinstance(persistent_id, tuple) or len(persistent_id) not in (5, 6):
        raise ValueError("a storage that is described in another way than PyTorch's")
    word, kind, key, _, numel, *part = persistent_id
    if word != "storage" or not isinstance(kind, StorageType) or not isinstance(key, str):
        raise ValueError("a storage without a type or a key")
    offset, size = (0, numel) if part in ([], [None]) else _part_of(part[0])
    if not all(type(n) is int and 0 <= n < 2**48 for n in (numel, offset, size)):
        raise ValueError("a storage whose size is no count")
    if offset + size > numel:
        raise ValueError(f"a part of storage {shown(key)} that reaches beyond it")
    whole = StorageView(key, kind, numel, 0, numel)
    if wanted.setdefault(key, whole) != whole:
        raise ValueError(f"storage {shown(key)} is described in two ways")
    if len(wanted) > _MAX_STORAGES:
        raise ValueError(f"more than {_MAX_STORAGES:,} storages")
    return StorageView(key, kind, numel, offset, size)


def _part_of(described: Any) -> tuple[Any, Any]:
    if not isinstance(described, tuple) or len(described) != 3:
        raise ValueError("a part of a storage that is described in another way than PyTorch's")
    return described[1], described[2]


def _values(stream: Any, view: StorageView) -> NDArray[Any]:
    """The values of a storage whose size was checked, read into an array of its own."""
    half = view.kind.dtype == "bfloat16"
    values = np.empty(view.numel, "<u2" if half else np.dtype(view.kind.dtype).newbyteorder("<"))
    raw = values.view(np.uint8).data
    filled = 0
    while filled < len(raw):
        count = stream.readinto(raw[filled:])
        if not count:
            raise ValueError(f"truncated: the values of storage {shown(view.key)} end early")
        filled += count
    if half:
        return widened(values)
    if view.kind.dtype == "bool" and values.size and values.view(np.uint8).max() > 1:
        raise ValueError(f"storage {shown(view.key)} holds bytes that are neither true nor false")
    return values


def widened(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16, given as its bits, in float32: bfloat16 is the upper half of one."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _tensor(view: TensorView, storages: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The tensor as a view of its storage; that it lies within was checked when it was read."""
    storage = storages[view.storage.key][view.storage.offset + view.offset :]
    if 0 in view.shape:
        return np.zeros(view.shape, storage.dtype)
    steps = tuple(step * storage.itemsize for step in view.strides)
    return np.lib.stride_tricks.as_strided(storage, view.shape, steps)


def _state_of(found: Any) -> dict[str, TensorView]:
    """The named tensors in what a file holds."""
    if isinstance(found, TensorView):
        raise ValueError("a single tensor, not a state dict")
    if isinstance(found, dict):
        nested = [found[name] for name in _NESTED if isinstance(found.get(name), dict)]
        found = nested[0] if nested else found
    if not isinstance(found, dict) or not found:
        raise ValueError("it holds no state dict")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, TensorView):
            raise ValueError(f"its entry {shown(str(name))} is no tensor but {_kind(value)}")
    if all(name.startswith(_PARALLEL) for name in found):
        return {name.removeprefix(_PARALLEL): view for name, view in found.items()}
    return dict(found)


def _kind(value: Any) -> str:
    return "a dictionary" if isinstance(value, dict) else type(value).__name__
