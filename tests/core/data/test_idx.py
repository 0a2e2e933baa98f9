"""idx files: read exactly, and refused in one line when broken or hostile."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.idx import FASHION_MNIST_CLASSES, fashion_mnist, mnist, read_idx


def _idx(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    shape = array.shape if shape is None else shape
    return bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes() + array.tobytes()


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
LABELS = np.array([3, 0, 9, 9, 1], np.uint8)


def _mnist_folder(root: Path, images: np.ndarray, labels: np.ndarray, suffix: str = ".gz") -> Path:
    for prefix in ("train", "t10k"):
        _write(root / "mnist" / f"{prefix}-images-idx3-ubyte{suffix}", _idx(images))
        _write(root / "mnist" / f"{prefix}-labels-idx1-ubyte{suffix}", _idx(labels))
    return root


@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_reads_what_was_written(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read_idx(_write(tmp_path / name, _idx(IMAGES)), 3), IMAGES)


def test_no_items(tmp_path: Path) -> None:
    assert read_idx(_write(tmp_path / "a", _idx(IMAGES[:0])), 3).shape == (0, 28, 28)


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"no idx file of unsigned bytes in 3 dimensions \(magic \)"),
        (b"PNG", "no idx file"),
        (_idx(LABELS), r"no idx file .* \(magic 00000801\)"),
        (b"\0\0\x0d\3" + _idx(IMAGES)[4:], r"no idx file .* \(magic 00000d03\)"),
        (_idx(IMAGES)[:10], "truncated in the header"),
        (_idx(IMAGES)[:-1], "truncated: (the header announces|3919 bytes of data)"),
        (_idx(IMAGES) + b"\0", "trailing bytes after the 3920"),
        (_idx(IMAGES, (2**32 - 1,) * 3), "announces .* bytes, more than the limit"),
        (_idx(IMAGES, (10**6, 28, 28)), "truncated: the header announces 784000000 bytes"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = _write(tmp_path / name, content)
    with pytest.raises(ValueError, match=reason) as error:
        read_idx(path, 3)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_broken_compression(tmp_path: Path) -> None:
    whole = gzip.compress(_idx(IMAGES))
    path = tmp_path / "a.gz"
    path.write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=r"a\.gz: the compressed file is truncated"):
        read_idx(path, 3)
    path.write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])
    with pytest.raises(ValueError, match=r"a\.gz: broken gzip file \(CRC"):
        read_idx(path, 3)
    path.write_bytes(_idx(IMAGES))
    with pytest.raises(ValueError, match=r"a\.gz: broken gzip file \(Not a gzipped"):
        read_idx(path, 3)


@given(data=st.data())
def test_damage_is_an_error_or_an_array(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(gzip.compress(_idx(IMAGES)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.gz"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        # Damage of the gzip header (time, name) or of its padding may leave the data whole.
        np.testing.assert_array_equal(read_idx(path, 3), IMAGES)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")


def test_bomb_is_not_inflated(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.gz", _idx(IMAGES) + bytes(100_000_000))
    tracemalloc.start()
    with pytest.raises(ValueError, match="trailing bytes"):
        read_idx(path, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_idx(tmp_path / "a.gz", 3)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_from_its_folder(tmp_path: Path, suffix: str) -> None:
    dataset = mnist("test", _mnist_folder(tmp_path, IMAGES, LABELS, suffix))
    assert dataset.images.shape == (5, 1, 28, 28) and dataset.images.dtype == np.uint8
    np.testing.assert_array_equal(dataset.images[:, 0], IMAGES)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.labels.dtype == np.int64 and dataset.classes == tuple("0123456789")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, LABELS[:4], r"labels-idx1-ubyte\.gz: 4 labels for 5 images"),
        (IMAGES, LABELS + 2, r"labels-idx1-ubyte\.gz: label 11 of item 2 is out of range 0\.\.9"),
        (IMAGES[:, :20], LABELS, r"images-idx3-ubyte\.gz: images are \(20, 28\)"),
    ],
)
def test_files_that_do_not_fit(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mnist("train", _mnist_folder(tmp_path, images, labels))


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split is 'val', expects 'train' or 'test'"):
        mnist("val", tmp_path)  # type: ignore[arg-type]


@pytest.mark.data
def test_real_mnist(data_root: Path) -> None:
    train, test = mnist("train", data_root), mnist("test", data_root)
    assert train.images.shape == (60000, 1, 28, 28) and len(test) == 10000
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == counts
    assert round(float(train.images.mean()) / 255, 4) == 0.1307
    assert round(float(train.images.std()) / 255, 4) == 0.3081


@pytest.mark.data
def test_real_fashion_mnist(data_root: Path) -> None:
    train = fashion_mnist("train", data_root)
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert train.classes == FASHION_MNIST_CLASSES
    assert round(float(train.images.mean()) / 255, 4) == 0.2860
    assert round(float(train.images.std()) / 255, 4) == 0.3530
