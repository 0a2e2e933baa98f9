"""Weights: exact round trips, cards, and files that are broken or fit another model."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

import core
from core import nn
from core.io import weights
from core.io.weights import Card


def channels_last(shape: tuple[int, int, int, int]) -> np.ndarray:
    n, c, h, w = shape
    values = np.arange(n * c * h * w, dtype=np.float32).reshape(n, h, w, c)
    return values.transpose(0, 3, 1, 2)


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 1))


@pytest.mark.parametrize(
    "array",
    [
        channels_last((2, 3, 4, 5)),
        np.arange(12, dtype=np.float64).reshape(3, 4)[:, ::2],
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.arange(5, dtype=np.int64)[::-1],
        np.array(7, np.int64),
        np.zeros((0, 3), np.float16),
        np.array([True, False]),
        np.arange(3, dtype=">f4"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_any_layout_comes_back_exactly(array: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights.save(path, {"x": array}, {"note": "日本"})
    arrays, header = weights.load(path)
    assert arrays["x"].shape == array.shape
    assert arrays["x"].dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(arrays["x"], array)
    assert header == {"note": "日本"}


def test_the_package_alone_writes_wrong_values_for_channels_last() -> None:
    """The reason why `save` copies; when this fails, the package was mended."""
    from safetensors.numpy import load, save

    array = channels_last((1, 2, 3, 4))
    assert not np.array_equal(load(save({"x": array}))["x"], array)


def test_what_cannot_be_written_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights.save(path, {"x": np.ones(2)})
    with pytest.raises(ValueError, match=r"a\.safetensors: cannot write"):
        weights.save(path, {"x": np.ones(2, complex).astype(object)})
    np.testing.assert_array_equal(weights.load(path)[0]["x"], np.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def file_of(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> bytes:
    return json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"\x80\x04\x95pickle of something",
        file_of(b"{}", length=2**62),
        file_of(b"not json"),
        file_of(entry([2], [0, 8]), b"1234"),
        file_of(entry([2**40], [0, 2**42]), b"1234"),
        file_of(entry([2**32, 2**32], [0, 0])),
        file_of(entry([1], [0, 4], "F99"), b"1234"),
        file_of(b"[" * 5000),
    ],
    ids=[
        "empty",
        "short",
        "pickle",
        "header larger than memory",
        "no JSON",
        "truncated",
        "array larger than memory",
        "overflow",
        "unknown dtype",
        "deep",
    ],
)
def test_a_broken_file_is_one_line_that_names_it(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.safetensors: no valid") as caught:
        weights.load(path)
    assert "\n" not in str(caught.value)


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    header = {
        "x": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]},
        "n": {"dtype": "I64", "shape": [], "data_offsets": [4, 12]},
        "b": {"dtype": "BOOL", "shape": [2], "data_offsets": [12, 14]},
        "__metadata__": {"note": "n"},
    }
    body = struct.pack("<HHq??", 0x3F80, 0xC020, 7, True, False)
    path.write_bytes(file_of(json.dumps(header).encode(), body))
    arrays, read = weights.load(path)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "x": [[1.0, -2.5]],
        "n": 7,
        "b": [True, False],
    }
    assert [arrays[name].dtype for name in "xnb"] == [np.float32, np.int64, np.bool_]
    assert read == {"note": "n"}


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.safetensors"
    one = b'"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    path.write_bytes(file_of(b"{" + one + b"," + one + b"}", b"1234"))
    with pytest.raises(ValueError, match=r"twice\.safetensors: no valid.*stands twice"):
        weights.load(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    weights.save_model(net(), path, Card(architecture="net"))
    whole = path.read_bytes()
    for length in (*range(0, 40, 7), len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.safetensors"):
            weights.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        weights.load(tmp_path / "none.safetensors")


def test_a_model_comes_back_with_its_card(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    card = Card(
        architecture="net",
        classes=("cat", "犬"),
        data="pets",
        metrics={"accuracy": 0.5},
        seed=3,
        extra={"crop": "32"},
    )
    saved, loaded = net(), net()
    weights.save_model(saved, path, card)
    assert weights.load_model(loaded, path) == card
    assert weights.read_card(path) == card
    assert card.version == core.__version__
    for name, array in saved.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], array)


def test_float16_files_load_into_float32_models(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    saved, loaded = net(), net()
    weights.save_model(saved, path, Card(), dtype=np.float16)
    assert {a.dtype for a in weights.load(path)[0].values()} == {np.dtype(np.float16)}
    weights.load_model(loaded, path)
    for name, array in saved.state_dict().items():
        assert loaded.state_dict()[name].dtype == np.float32
        np.testing.assert_array_equal(loaded.state_dict()[name], array.astype(np.float16))


def test_a_value_beyond_float16_is_refused(tmp_path: Path) -> None:
    model = net()
    next(model.parameters()).data[0, 0, 0, 0] = 1e6
    with pytest.raises(ValueError, match=r"0\.weight does not fit float16: it holds 1e\+06"):
        weights.save_model(model, tmp_path / "x.safetensors", Card(), dtype=np.float16)


def test_files_of_others_have_an_empty_card(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    weights.save(path, net().state_dict())
    card = weights.load_model(net(), path)
    assert (card.architecture, card.classes, card.seed, card.version) == ("", (), None, "")


@pytest.mark.parametrize(
    "header", [{"classes": "[1]"}, {"classes": "{"}, {"metrics": "3"}, {"seed": '"x"'}]
)
def test_a_broken_card_is_named(header: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    weights.save(path, net().state_dict(), header)
    with pytest.raises(ValueError, match=r"odd\.safetensors: broken header"):
        weights.load_model(net(), path)


def test_weights_of_another_model_say_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    model = net()
    state = dict(model.state_dict())
    before = {name: array.copy() for name, array in state.items()}
    state["head.weight"] = state.pop("2.weight")
    state["0.bias"] = np.zeros(5, np.float32)
    weights.save(path, state)
    with pytest.raises(ValueError) as caught:
        weights.load_model(model, path)
    assert str(caught.value) == (
        f"{path} does not fit Sequential: it lacks 2.weight; it has unknown head.weight; "
        "it has other shapes: 0.bias (5,), expected (3,)"
    )
    for name, array in before.items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_counts_of_batches_may_be_missing_in_a_file(tmp_path: Path) -> None:
    model, path = nn.BatchNorm2d(2), tmp_path / "old.safetensors"
    state = {n: a + 2 for n, a in model.state_dict().items() if n != "num_batches_tracked"}
    weights.save(path, state)
    weights.load_model(model, path)
    np.testing.assert_array_equal(model.state_dict()["weight"], [3, 3])


def test_a_checkpoint_is_not_taken_for_weights(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    weights.save(path, {}, {"checkpoint": "1"})
    with pytest.raises(ValueError, match="checkpoint of a training, not weights"):
        weights.load_model(net(), path)


def test_weights_that_do_not_ship_are_named() -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"no weights none\.safetensors ship with core"),
        weights.shipped("core", "none.safetensors"),
    ):
        pass


def test_shipped_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_package"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    weights.save(package / "weights" / "net.safetensors", net().state_dict())
    monkeypatch.syspath_prepend(tmp_path)
    with weights.shipped("some_package", "net.safetensors") as path:
        weights.load_model(net(), path)
