"""CIFAR-10 from its folder and from its archive; hostile archives are refused."""

import gzip
import io
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from core.data import cifar, roots
from core.data.cifar import CIFAR10_CLASSES, cifar10
from core.data.dataset import Split

TRAIN_FILES = [f"{cifar.FOLDER}/data_batch_{number}.bin" for number in range(1, 6)]
TEST_FILE = f"{cifar.FOLDER}/test_batch.bin"


def _records(seed: int, count: int = 3) -> bytes:
    generator = np.random.default_rng(seed)
    records = generator.integers(0, 256, (count, 3073), np.uint8)
    records[:, 0] = generator.integers(0, 10, count)
    return records.tobytes()


def _published() -> dict[str, bytes]:
    files = {name: _records(seed) for seed, name in enumerate([*TRAIN_FILES, TEST_FILE])}
    return {f"{cifar.FOLDER}/readme.html": b"<p>", **files}


def _folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / "cifar-10" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def _tar(files: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size, member.type = len(content), kind
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _archive(root: Path, content: bytes) -> Path:
    path = root / "cifar-10" / cifar.ARCHIVE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1))
    return root


def test_folder_of_batches(tmp_path: Path) -> None:
    dataset = cifar10("train", _folder(tmp_path, _published()))
    assert dataset.images.shape == (15, 3, 32, 32) and dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int64 and dataset.classes == CIFAR10_CLASSES
    second = np.frombuffer(_records(1), np.uint8).reshape(3, 3073)
    np.testing.assert_array_equal(dataset.labels[3:6], second[:, 0])
    np.testing.assert_array_equal(dataset.images[3, 1, 0], second[0, 1 + 1024 : 1 + 1024 + 32])


@pytest.mark.parametrize("split", ["train", "test"])
def test_archive_gives_the_same_as_the_folder(tmp_path: Path, split: Split) -> None:
    files = _published()
    plain = cifar10(split, _folder(tmp_path / "folder", files))
    packed = cifar10(split, _archive(tmp_path / "archive", _tar(list(reversed(files.items())))))
    np.testing.assert_array_equal(plain.images, packed.images)
    np.testing.assert_array_equal(plain.labels, packed.labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes are no whole number of 3073-byte records"),
        (_records(0)[:-1], "9218 bytes are no whole number"),
        (b"\x0a" + _records(0)[1:], r"label 10 of item 0 is out of range 0\.\.9"),
        (bytes(30_730_001), "30730001 bytes, expects at most 30730000"),
    ],
)
def test_broken_batch(tmp_path: Path, content: bytes, message: str) -> None:
    root = _folder(tmp_path, {TEST_FILE: content})
    with pytest.raises(ValueError, match=rf"test_batch\.bin: {message}"):
        cifar10("test", root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "broken archive"),
        (b"nonsense" * 500, "broken archive"),
        (_tar([]), r"the archive lacks cifar-10-batches-bin/test_batch\.bin"),
        (_tar([("../test_batch.bin", _records(0))]), "the archive lacks"),
        (_tar([(TEST_FILE, _records(0))] * 2), "is there twice"),
        (_tar([(TEST_FILE, b"")], tarfile.SYMTYPE), "is no file"),
        (_tar([(TEST_FILE, _records(0))])[:3000], "broken archive"),
        (_tar([(TEST_FILE, b"\x63" + _records(0)[1:])]), "label 99 of item 0"),
        (_tar([("other", bytes(30_730_001))]), "member 'other' has 30730001 bytes"),
    ],
)
def test_broken_archive(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        cifar10("test", _archive(tmp_path, content))
    assert cifar.ARCHIVE in str(error.value)
    assert "\n" not in str(error.value)


def test_truncated_compression(tmp_path: Path) -> None:
    path = _archive(tmp_path, _tar([(TEST_FILE, _records(0))])) / "cifar-10" / cifar.ARCHIVE
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(ValueError, match="broken archive"):
        cifar10("test", tmp_path)


def test_archive_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "_MAX_ARCHIVE_BYTES", 1_000_000)
    bomb = _tar([("name", bytes(30_000_000))], tarfile.GNUTYPE_LONGNAME)
    _archive(tmp_path, bomb)
    tracemalloc.start()
    with pytest.raises(ValueError, match="inflates to more than the published archive holds"):
        cifar10("test", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_jpeg_form_says_how_to_convert(tmp_path: Path) -> None:
    _folder(tmp_path, {"cifar-10-images.tar.xz": b"x"})
    with pytest.raises(FileNotFoundError, match=r"make_batches\.py beside it writes") as error:
        cifar10("train", tmp_path)
    assert "\n" not in str(error.value)


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object) -> Path:
        raise ConnectionError("offline")

    monkeypatch.setattr(roots, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(roots, "_fetch", offline)
    with pytest.raises(FileNotFoundError, match=r"missing cifar-10-binary\.tar\.gz.*offline"):
        cifar10("test", tmp_path)


@pytest.mark.data
@pytest.mark.slow
def test_real_cifar(data_root: Path, tmp_path: Path) -> None:
    script = data_root / "cifar-10" / "make_batches.py"
    if roots.locate("cifar-10", [*TRAIN_FILES, TEST_FILE], data_root) is not None:
        root = data_root
    elif script.is_file():
        subprocess.run([sys.executable, script, tmp_path / "cifar-10"], check=True)
        root = tmp_path
    else:
        pytest.skip(f"{data_root / 'cifar-10'} has neither batches nor make_batches.py")
    train, test = cifar10("train", root), cifar10("test", root)
    assert train.images.shape == (50000, 3, 32, 32) and len(test) == 10000
    assert train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    first = [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
    assert np.bincount(train.labels[:10000]).tolist() == first
    means = train.images.mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=2e-4)
