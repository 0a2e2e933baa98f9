"""Weights: safetensors files with a header that says what they are, and the files of others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import core
from core import device as dev
from core.device import Array, DTypeLike
from core.io.files import plain, write_bytes
from core.io.pytorch import is_pytorch, load_pytorch, widened
from core.nn.module import Module, may_be_missing

Arrays = dict[str, np.ndarray]

_BFLOAT16 = "BF16"
_SUFFIX = ".safetensors"
_SHOWN = 3  # how many names of each kind an error lists


class Stateful(Protocol):
    """Anything with named arrays: a model."""

    def state_dict(self) -> Mapping[str, np.ndarray]: ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any: ...


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays, of any layout and device, to one safetensors file, whole or not at all.

    Raises ValueError for a dtype that the format does not have.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save as serialise

    try:
        # The format knows C order only, and the package writes a view of another order as if
        # it had that one: wrong values, without a word.
        whole = {name: np.asarray(dev.to_host(a), order="C") for name, a in arrays.items()}
        content = serialise(whole, dict(metadata) if metadata else None)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: cannot write these arrays: {_line(error)}") from None
    write_bytes(path, content)


def load(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, str]]:
    """The arrays and the header of a file of weights: safetensors, or either format of PyTorch.

    The content decides which it is, not the name; PyTorch's have no header. bfloat16 becomes
    float32, exactly. Raises ValueError naming the file when it is broken, truncated, or holds
    what NumPy does not have; FileNotFoundError when there is none.
    """
    if _is_pytorch(path):
        return load_pytorch(path), {}
    with _opened(path) as file:
        names = file.keys()
        if any(file.get_slice(name).get_dtype() == _BFLOAT16 for name in names):
            return _with_bfloat16(path), dict(file.metadata() or {})
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})


def _is_pytorch(path: str | os.PathLike[str]) -> bool:
    return Path(path).is_file() and is_pytorch(path)


def _with_bfloat16(path: str | os.PathLike[str]) -> Arrays:
    """The arrays of a safetensors file, bfloat16 among them."""
    from safetensors import deserialize

    arrays = {}
    for name, entry in deserialize(Path(path).read_bytes()):
        if entry["dtype"] == _BFLOAT16:
            array = widened(np.frombuffer(entry["data"], "<u2"))
        else:
            kind = {"F": "float", "I": "int", "U": "uint"}.get(entry["dtype"][0], "")
            dtype = "bool" if entry["dtype"] == "BOOL" else f"{kind}{entry['dtype'][1:]}"
            array = np.frombuffer(entry["data"], np.dtype(dtype).newbyteorder("<"))
        arrays[name] = array.reshape(entry["shape"])
    return arrays


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The file, open; whatever goes wrong inside is an error that names it."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="np") as file:
            _refuse_duplicates(path)
            yield file
    except OSError as error:
        raise OSError(f"{path}: {_line(error)}") from None
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no valid safetensors file: {_line(error)}") from None


def _refuse_duplicates(path: str | os.PathLike[str]) -> None:
    """The package takes the last of two arrays of one name, without a word."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name stands twice in its header")
        return dict(pairs)

    with open(path, "rb") as file:
        # The package has checked the length against the file's.
        length = int.from_bytes(file.read(8), "little")
        json.loads(file.read(length), object_pairs_hook=unique)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a file of weights says about itself; every part may be empty in files of others."""

    architecture: str = ""
    """The name that builds the model."""

    classes: tuple[str, ...] = ()
    """The names of the classes, in the order of the outputs."""

    data: str = ""
    """The data set that the weights were trained on."""

    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """What they score there."""

    seed: int | None = None
    """The seed of their training."""

    version: str = core.__version__
    """The version of openbook that wrote them."""

    extra: Mapping[str, str] = field(default_factory=dict)
    """Whatever else an application wants to know when it loads them."""

    def header(self) -> dict[str, str]:
        """The card as a safetensors header; lists and numbers are JSON in there."""
        return {
            **self.extra,
            "architecture": self.architecture,
            "classes": json.dumps(list(self.classes), ensure_ascii=False),
            "data": self.data,
            "metrics": json.dumps(plain(self.metrics)),
            "seed": json.dumps(self.seed),
            "openbook": self.version,
        }

    @classmethod
    def of_header(cls, header: Mapping[str, str], where: str) -> Card:
        """The card in a header. Raises ValueError, naming the file `where`, for a broken one."""
        rest = dict(header)
        text = {key: rest.pop(key, "") for key in ("architecture", "data", "openbook")}
        try:
            classes, metrics, seed = (
                json.loads(rest.pop(key, empty))
                for key, empty in (("classes", "[]"), ("metrics", "{}"), ("seed", "null"))
            )
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: broken header: {_line(error)}") from None
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError(f"{where}: broken header: its classes are no list of names")
        if not isinstance(metrics, dict) or not isinstance(seed, int | None):
            raise ValueError(f"{where}: broken header: its metrics or seed are no numbers")
        return cls(
            architecture=text["architecture"],
            classes=tuple(classes),
            data=text["data"],
            metrics=metrics,
            seed=seed,
            version=text["openbook"],
            extra=rest,
        )


def save_model(
    model: Stateful, path: str | os.PathLike[str], card: Card, *, dtype: DTypeLike = None
) -> None:
    """Write a model's weights with the card that says what they are.

    `dtype` (float16 for weights that ship) is applied to the float arrays. Raises ValueError for
    a value that it cannot hold.
    """
    arrays = {name: _cast(name, a, dtype) for name, a in model.state_dict().items()}
    save(path, arrays, card.header())


def _cast(name: str, array: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    if dtype is None or array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    if np.isfinite(array).all() and not np.isfinite(result).all():
        largest = float(np.abs(array).max())
        raise ValueError(f"{name} does not fit {result.dtype}: it holds {largest:.3g}")
    return result


def load_model(model: Stateful, path: str | os.PathLike[str]) -> Card:
    """Load weights into `model`, in the dtype that it has, and return the file's card.

    Takes what `load` takes. Raises ValueError as `load` does, and when names or shapes are not the
    model's, saying which; the model then keeps what it had.
    """
    arrays, header = load(path)
    if "checkpoint" in header:
        raise ValueError(
            f"{path} is a checkpoint of a training, not weights; --resume continues it, "
            "and best.safetensors beside it holds the weights"
        )
    card = Card.of_header(header, str(path))
    check_fit(model, arrays, str(path))
    model.load_state_dict(arrays)
    return card


def read_card(path: str | os.PathLike[str]) -> Card:
    """The card of a file of weights, to build its model by. Raises as `load` does."""
    if _is_pytorch(path):
        return Card(version="")
    with _opened(path) as file:
        header = dict(file.metadata() or {})
    return Card.of_header(header, str(path))


def check_fit(model: Stateful, arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Raise ValueError unless `arrays` have exactly the names and shapes of the model's."""
    expected = model.state_dict()
    problems = [
        *_listed("lacks", [n for n in expected if n not in arrays and not may_be_missing(n)]),
        *_listed("has unknown", [n for n in arrays if n not in expected]),
        *_listed(
            "has other shapes:",
            [
                f"{n} {arrays[n].shape}, expected {tuple(expected[n].shape)}"
                for n in expected
                if n in arrays and arrays[n].shape != tuple(expected[n].shape)
            ],
        ),
    ]
    if problems:
        raise ValueError(
            f"{where} does not fit {type(model).__name__}: it {'; it '.join(problems)}"
        )


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what} {', '.join(names[:_SHOWN])}{more}"]


def halved(model: Module) -> Arrays:
    """A model's state with parameters in float16, as weights ship, and buffers as they are.

    The moments of batch normalisation may be larger than float16's 65,504. Raises ValueError for
    a parameter that is.
    """
    names = {name for name, _ in model.named_parameters()}
    return {
        name: _cast(name, array, np.float16) if name in names else array
        for name, array in model.state_dict().items()
    }


def shipped_names(package: str) -> list[str]:
    """The names of the weights that ship with an installed package: data sets, for most."""
    folder = resources.files(package) / "weights"
    entries = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted(n.removesuffix(_SUFFIX) for n in entries if n.endswith(_SUFFIX))


@contextmanager
def chosen(package: str, name: str, path: Path | None = None) -> Iterator[Path]:
    """The file `path` that a user named, or the weights of `package` for the data set `name`.

    Raises FileNotFoundError in one line when there is no such file, or none ships.
    """
    if path is not None:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such weights")
        yield path
        return
    there = shipped_names(package)
    if name not in there:
        raise FileNotFoundError(
            f"no weights for {name!r} ship (there are: {', '.join(there) or 'none'}); train some "
            f"with `python -m {package}.train` and pass --weights"
        )
    with shipped(package, name + _SUFFIX) as found:
        yield found


@contextmanager
def shipped(package: str, name: str) -> Iterator[Path]:
    """The path of the weights `name` in the folder `weights` of an installed package.

    Raises FileNotFoundError when they do not ship.
    """
    entry = resources.files(package) / "weights" / name
    if not entry.is_file():
        raise FileNotFoundError(f"no weights {name} ship with {package}; pass --weights")
    with resources.as_file(entry) as path:
        yield path
