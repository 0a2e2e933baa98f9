"""Files are whole or untouched."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from core.io.files import atomic_write, plain, write_bytes, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new content")
    assert path.read_bytes() == b"new content"
    assert names(tmp_path) == ["weights.bin"]


def test_makes_missing_folders(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "text.txt", "déjà\nvu\n")
    assert (tmp_path / "a" / "b" / "text.txt").read_bytes() == "déjà\nvu\n".encode()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_the_middle_leaves_the_old_file_whole(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"old and whole")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"half of the n")
        raise error
    assert path.read_bytes() == b"old and whole"
    assert names(tmp_path) == ["last.safetensors"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"new"


def test_a_rename_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_bytes(tmp_path / "taken", b"content")
    assert names(tmp_path) == ["taken"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "ordinary").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@dataclass(frozen=True)
class Options:
    lr: float
    out: Path | None
    sizes: tuple[int, ...]


def test_json_takes_what_runs_produce(tmp_path: Path) -> None:
    value = {
        "options": Options(lr=0.1, out=Path("runs") / "x", sizes=(1, 2)),
        "mAP@0.5": np.float32(0.5),
        "count": np.int64(3),
        "right": np.bool_(True),
        "curve": np.arange(3),
        "loss": float("nan"),
        "best": np.float64("inf"),
        "text": "é",
        "none": None,
    }
    write_json(tmp_path / "value.json", value)
    text = (tmp_path / "value.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "options": {"lr": 0.1, "out": "runs/x", "sizes": [1, 2]},
        "mAP@0.5": 0.5,
        "count": 3,
        "right": True,
        "curve": [0, 1, 2],
        "loss": None,
        "best": None,
        "text": "é",
        "none": None,
    }
    assert text.endswith("}\n")


def test_json_keeps_the_old_file_when_the_value_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="cannot write set as JSON"):
        write_json(path, {"a": {1}})
    with pytest.raises(TypeError, match="keys are strings, got 1"):
        plain({1: "a"})
    assert json.loads(path.read_bytes()) == {"a": 1}


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(OSError, match=r"last\.safetensors"), atomic_write(path):
        raise OSError(errno.ENOSPC, "No space left on device")
