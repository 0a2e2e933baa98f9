"""PyTorch's files: both formats give the tensors, and hostile ones give one line."""

from __future__ import annotations

import io
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import nn
from core.io import weights
from core.io.pytorch import LEGACY_START, load_pytorch, widened
from tests.core.io.pytorch_files import (
    OPEN,
    Stored,
    call,
    dictionary,
    legacy_file,
    number,
    text,
    tuple_of,
    zip_file,
)

FOUR = np.arange(4, dtype="<f4")
RAW = FOUR.tobytes()


def both(program: Callable[[bool], bytes]) -> dict[str, bytes]:
    return {
        "zip": zip_file(program(False), {"0": RAW}),
        "legacy": legacy_file(program(True), {"0": (4, RAW)}),
    }


def read(content: bytes, folder: Path) -> dict[str, np.ndarray]:
    path = folder / "net.pth"
    path.write_bytes(content)
    return load_pytorch(path)


def refusal(content: bytes, folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        read(content, folder)
    line = str(caught.value)
    assert line.startswith(f"{folder / 'net.pth'}: no valid PyTorch file: ")
    assert "\n" not in line and line.isprintable()
    return line


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize(
    "stored, expected",
    [
        (Stored(), FOUR),
        (Stored((2, 2), (2, 1)), [[0, 1], [2, 3]]),
        (Stored((2, 2), (1, 2)), [[0, 2], [1, 3]]),
        (Stored((2,), (2,), offset=1), [1, 3]),
        (Stored((), (), offset=3), 3),
        (Stored((0, 3), (3, 1)), np.zeros((0, 3))),
        (Stored(function="_rebuild_tensor"), FOUR),
        (Stored(location="cuda:7"), FOUR),
    ],
    ids=["whole", "matrix", "transposed", "sliced", "scalar", "empty", "first version", "cuda"],
)
def test_views_are_what_they_were(form: str, stored: Stored, expected: Any, tmp_path: Path) -> None:
    content = both(lambda legacy: dictionary([("w", stored.pickled(legacy))]))[form]
    array = read(content, tmp_path)["w"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.asarray(expected))
    assert array.shape == np.shape(expected)


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("DoubleStorage", "<f8"),
        ("HalfStorage", "<f2"),
        ("LongStorage", "<i8"),
        ("IntStorage", "<i4"),
        ("ShortStorage", "<i2"),
        ("CharStorage", "i1"),
        ("ByteStorage", "u1"),
        ("BoolStorage", "?"),
    ],
)
def test_every_type_is_read(kind: str, dtype: str, tmp_path: Path) -> None:
    values = np.array([1, 0, 1, 1]).astype(dtype)
    program = dictionary([("w", Stored(kind=kind).pickled())])
    array = read(zip_file(program, {"0": values.tobytes()}), tmp_path)["w"]
    assert array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(array, values)


def test_bfloat16_becomes_float32_exactly(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, np.inf, 2.0**-126], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    program = dictionary([("w", Stored(kind="BFloat16Storage").pickled())])
    np.testing.assert_array_equal(
        read(zip_file(program, {"0": bits.tobytes()}), tmp_path)["w"], values
    )
    assert np.isnan(widened(np.array([0x7FC0], np.uint16)))[0]


def test_tensors_of_one_storage_share_it(tmp_path: Path) -> None:
    program = dictionary([("a", Stored().pickled()), ("b", Stored((2,), (1,), 2).pickled())])
    arrays = read(zip_file(program, {"0": RAW}), tmp_path)
    assert np.shares_memory(arrays["a"], arrays["b"])
    arrays["a"][2] = 9  # they are the caller's to write into
    assert arrays["b"][0] == 9


def test_a_part_of_a_storage_in_the_older_format(tmp_path: Path) -> None:
    view = tuple_of(text("view"), number(1), number(3))
    stored = Stored((2,), (1,), offset=1, view=view)
    content = legacy_file(dictionary([("w", stored.pickled(True))]), {"0": (4, RAW)})
    np.testing.assert_array_equal(read(content, tmp_path)["w"], [2, 3])
    short = tuple_of(text("view"), number(1), number(4))
    content = legacy_file(dictionary([("w", Stored(view=short).pickled(True))]), {"0": (4, RAW)})
    assert "reaches beyond it" in refusal(content, tmp_path)


def test_parameters_metadata_checkpoints_and_parallel_names(tmp_path: Path) -> None:
    ordered = call("collections", "OrderedDict")
    parameter = call("torch._utils", "_rebuild_parameter", Stored().pickled(), b"\x88", ordered)
    oldest = call("torch.nn.parameter", "Parameter", Stored().pickled(), b"\x88") + b"}b"
    items = text("module.a") + parameter + text("module.b") + oldest
    attributes = dictionary([("_metadata", ordered)])
    state = ordered + b"(" + items + b"u" + attributes + b"b"
    checkpoint = dictionary([("epoch", number(3)), ("state_dict", state)])
    arrays = read(zip_file(checkpoint, {"0": RAW}), tmp_path)
    assert list(arrays) == ["a", "b"]
    np.testing.assert_array_equal(arrays["b"], FOUR)


HOSTILE = {
    "a command": (call("os", "system", text("echo")), "it asks for os.system"),
    "eval": (call("builtins", "eval", text("1")), "it asks for builtins.eval"),
    "getattr": (call("builtins", "getattr", b"]", text("append")), "builtins.getattr"),
    "a module": (call("torchvision.models.vgg", "VGG"), "it asks for torchvision.models.vgg.VGG"),
    "a near miss": (call("torch._utils", "_rebuild_tensor_v2.x"), "_rebuild_tensor_v2.x"),
    "control characters": (call("os", "\x1b[2Jsystem"), r"\x1b"),
    "a called storage": (b"ctorch\nFloatStorage\n)R", "no function for tensors"),
    "a called tensor": (Stored().pickled() + b")R", "no function for tensors"),
    "an instance": (b"cos\nsystem\n)\x81", "it asks for os.system"),
    "an instruction": (b"]" + b"\x81", "NEWOBJ"),
    "old instance": (b"(ios\nsystem\n", "INST"),
    "extension": (b"\x82\x01", "EXT1"),
    "attributes of a list": (b"]}b", "neither dictionary nor tensor"),
    "tuple as a key": (b"})Ns", "no text or number"),
    "a key twice": (dictionary([("w", b"N"), ("w", b"N")]), "the key w twice"),
    "append to a tuple": (b")Na", "no list"),
    "an entry of a list": (b"]" + text("a") + b"Ns", "no dictionary"),
    "an empty stack": (b"R", "broken pickle (IndexError)"),
    "no note": (b"h\x05", "broken pickle (KeyError)"),
    "no mark": (b"Nt", "broken pickle (IndexError)"),
    "a far note": (b"Nr\xff\xff\xff\x7f", "no state dict"),
    "half an entry": (b"}(" + text("a") + b"u", "shorter"),
    "a long text": (b"X\xff\xff\xff\xff", "expected 4294967295 bytes"),
    "not an instruction": (b"\xff", "instruction that does not exist"),
    "nothing": (b"}", "no state dict"),
    "a number": (number(3), "no state dict"),
    "a tensor alone": (Stored().pickled(), "a single tensor"),
    "no tensor": (dictionary([("epoch", number(3))]), "its entry epoch is no tensor but int"),
    "a text for a shape": (
        call("torch._utils", "_rebuild_tensor", text("s"), number(0), b")", b")"),
        "a tensor without a storage",
    ),
    "a parameter of nothing": (
        call("torch._utils", "_rebuild_parameter", b"N"),
        "without a tensor",
    ),
    "few arguments": (call("torch._utils", "_rebuild_tensor_v2"), "broken pickle (TypeError)"),
    "a strange storage": (b"NQ", "another way than PyTorch's"),
    "an untyped storage": (
        tuple_of(text("storage"), b"N", text("0"), b"N", number(4)) + b"Q",
        "without a type or a key",
    ),
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("name", HOSTILE)
def test_only_tensors_are_built(name: str, form: str, tmp_path: Path) -> None:
    program, reason = HOSTILE[name]
    if form == "zip":
        content = zip_file(program, {"0": RAW})
    else:
        program = program.replace(Stored().pickled(), Stored().pickled(True))
        content = legacy_file(program, {"0": (4, RAW)} if b"torch" in program else {})
    assert reason in refusal(content, tmp_path)


def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(os, "system", ran.append)
    program = call("os", "system", text("echo"))
    for content in both(lambda _: program).values():
        refusal(content, tmp_path)
    assert not ran


@pytest.mark.parametrize(
    "stored, reason",
    [
        (Stored((5,)), "reaches beyond its storage"),
        (Stored(offset=1), "reaches beyond its storage"),
        (Stored((2, 2), (4, 1)), "reaches beyond its storage"),
        (Stored((2**40,), (0,)), "reaches beyond its storage"),
        (Stored((2**40, 2**40), (0, 0)), "reaches beyond its storage"),
        (Stored((2**62,)), "no tuple of counts"),
        (Stored((2,), (-1,), offset=3), "no tuple of counts"),
        (Stored((-1,)), "no tuple of counts"),
        (Stored(offset=-1), "do not fit"),
        (Stored((2, 2)), "do not fit"),
        (Stored((1,) * 65, (1,) * 65), "do not fit"),
        (Stored(numel=2**40), "expected"),
        (Stored(numel=-4), "no count"),
        (Stored(kind="ComplexFloatStorage"), "it asks for torch.ComplexFloatStorage"),
        (Stored(key="1"), ""),
    ],
)
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_tensor_lies_within_its_storage(
    form: str, stored: Stored, reason: str, tmp_path: Path
) -> None:
    content = both(lambda legacy: dictionary([("w", stored.pickled(legacy))]))[form]
    tracemalloc.start()
    line = refusal(content, tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 40_000_000
    tracemalloc.stop()
    assert reason in line


def test_broken_archives(tmp_path: Path) -> None:
    good = dictionary([("w", Stored().pickled())])
    cases = {
        "compressed": zip_file(good, {"0": RAW}, compression=zipfile.ZIP_DEFLATED),
        "not little-endian": zip_file(good, {"0": RAW}, extra=[("byteorder", b"big")]),
        "TorchScript": zip_file(good, {"0": RAW}, extra=[("constants.pkl", b"")]),
        "two data.pkl": zip_file(good, {"0": RAW}, extra=[("x/data.pkl", b"")]),
        "bytes, expected 16": zip_file(good, {"0": RAW[:-1]}),
        "it lacks the values data/0": zip_file(good, {}),
        "described in two ways": zip_file(
            dictionary([("a", Stored().pickled()), ("b", Stored(numel=5).pickled())]), {"0": RAW}
        ),
        "neither true nor false": zip_file(
            dictionary([("a", Stored(kind="BoolStorage").pickled())]), {"0": b"\0\1\2\3"}
        ),
    }
    cases["with 2 data.pkl"] = cases.pop("two data.pkl")
    for reason, content in cases.items():
        assert reason in refusal(content, tmp_path)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zip_file(good, {"0": RAW}, extra=[("data/0", RAW)])
    assert "net/data/0 twice" in refusal(twice, tmp_path)


def test_a_member_may_not_claim_more_than_the_file_has(tmp_path: Path) -> None:
    """Members that overlap, as in a bomb of stored ones."""
    content = zip_file(dictionary([("w", Stored().pickled())]), {"0": RAW})
    entry = content.rindex(b"PK\x01\x02")
    huge = struct.pack("<II", 10**9, 10**9)
    line = refusal(content[: entry + 20] + huge + content[entry + 28 :], tmp_path)
    assert "its members claim" in line


def test_broken_streams(tmp_path: Path) -> None:
    good = dictionary([("w", Stored().pickled(True))])
    cases = {
        "not version 1001": legacy_file(good, {"0": (4, RAW)}, version=1000),
        "not little-endian": legacy_file(good, {"0": (4, RAW)}, little_endian=False),
        "no list of keys": legacy_file(good, {"0": (4, RAW)}, keys=[("0",)]),
        "not that of its tensors": legacy_file(good, {"0": (4, RAW)}, keys=["0", "0"]),
        "has 5 values where 4": legacy_file(good, {"0": (5, RAW)}),
        "0 bytes are left": legacy_file(good, {"0": (4, b"")}),
        "first bytes": b"\x80\x02}.",
    }
    for reason, content in cases.items():
        assert reason in refusal(content, tmp_path)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("sys_info"))
    assert "a tar archive, 2016" in refusal(archive.getvalue(), tmp_path)
    assert "2 data.pkl" not in refusal(b"PK\x03\x04", tmp_path)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_cut_and_any_change_is_an_error_or_harmless(form: str, tmp_path: Path) -> None:
    content = both(lambda legacy: dictionary([("w", Stored().pickled(legacy))]))[form]
    for length in range(len(LEGACY_START), len(content), 3):
        refusal(content[:length], tmp_path)
    draw = random.Random(0)
    for _ in range(250):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 1, 2, 5))):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        if bytes(changed[:4]) == content[:4]:
            try:
                arrays = read(bytes(changed), tmp_path)
            except ValueError as error:
                assert "\n" not in str(error) and str(error).isprintable()
            else:
                assert all(array.nbytes <= 64 for array in arrays.values())


def test_a_pickle_has_a_largest_size(tmp_path: Path) -> None:
    program = b"N0" * 8_000_001
    assert "its pickle has more than" in refusal(zip_file(program, {}), tmp_path)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    program = dictionary([("weight", Stored((2, 2), (2, 1)).pickled())])
    path = tmp_path / "net.safetensors"
    path.write_bytes(zip_file(program, {"0": RAW}))
    model = nn.Linear(2, 2, bias=False)
    card = weights.load_model(model, path)
    assert card == weights.read_card(path)
    assert (card.architecture, card.version) == ("", "")
    np.testing.assert_array_equal(model.weight.numpy(), FOUR.reshape(2, 2))
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        load_pytorch(tmp_path / "none.pth")


def test_batch_norms_of_old_files_have_no_counts(tmp_path: Path) -> None:
    model = nn.BatchNorm2d(4)
    model.num_batches_tracked.data[...] = 7  # type: ignore[union-attr]
    names = ("weight", "bias", "running_mean", "running_var")
    program = dictionary([(name, Stored().pickled(True)) for name in names])
    path = tmp_path / "bn.pth"
    path.write_bytes(legacy_file(program, {"0": (4, RAW)}))
    weights.load_model(model, path)
    assert model.num_batches_tracked.item() == 7  # type: ignore[union-attr]
    np.testing.assert_array_equal(model.state_dict()["running_var"], FOUR)


@pytest.mark.peer
@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_writes_is_read(zipped: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    grid = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        **network.state_dict(),
        "parameter": torch.nn.Parameter(torch.randn(2, 3)),
        "transposed": grid.transpose(0, 2),
        "sliced": grid[:, 1:, ::2],
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        **{
            str(dtype): torch.tensor([1, 0, 1]).to(dtype)
            for dtype in (
                *(torch.float64, torch.float16, torch.bfloat16, torch.bool),
                *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
            )
        },
    }
    path = tmp_path / "net.pth"
    torch.save({"epoch": 3, "state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    arrays = load_pytorch(path)
    assert list(arrays) == list(state)
    for name, tensor in state.items():
        expected = tensor.detach()
        expected = expected.float() if expected.dtype == torch.bfloat16 else expected
        assert arrays[name].dtype == expected.numpy().dtype
        np.testing.assert_array_equal(arrays[name], expected.numpy())
        assert arrays[name].strides == expected.numpy().strides or not arrays[name].size
    torch.save(network, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"refused: it asks for torch\.nn\.modules\.container"):
        load_pytorch(path)


def test_the_bench_writes_what_the_start_says() -> None:
    assert LEGACY_START.startswith(OPEN)
