import io
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest

from core.data.cache import ArrayCache


def test_what_is_put_is_got(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, {"layer": "fc6", "size": 112})
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    assert cache.get("picture") is None
    cache.put("picture", array)
    found = ArrayCache(tmp_path, {"size": 112, "layer": "fc6"}).get("picture")
    assert found is not None and found.dtype == np.float16
    np.testing.assert_array_equal(found, array)


def test_other_settings_find_nothing(tmp_path: Path) -> None:
    ArrayCache(tmp_path, {"size": 112}).put("a", np.zeros(1))
    assert ArrayCache(tmp_path, {"size": 113}).get("a") is None


@pytest.mark.parametrize("key", ["../../evil", "/etc/passwd", "a/b", "", ".", "x" * 500, "ü"])
def test_no_key_leaves_the_folder(tmp_path: Path, key: str) -> None:
    cache = ArrayCache(tmp_path / "cache", {})
    cache.put(key, np.ones(2))
    assert cache.path(key).parent == cache.folder
    found = cache.get(key)
    assert found is not None and found.sum() == 2
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 cut off", None])
def test_a_broken_file_is_named_once_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    cache = ArrayCache(tmp_path, {})
    cache.put("a", np.arange(1000))
    path = cache.path("a")
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with caplog.at_level(logging.WARNING):
        assert cache.get("a") is None
    assert len(caplog.records) == 1 and str(path) in caplog.text
    cache.put("a", np.arange(3))
    found = cache.get("a")
    assert found is not None and len(found) == 3


def test_pickles_are_neither_written_nor_read(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, {})
    with pytest.raises(TypeError, match="object"):
        cache.put("a", np.array([{}], dtype=object))
    np.savez(cache.path("a"), array=np.array([{}], dtype=object))
    assert cache.get("a") is None


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ArrayCache(tmp_path, {})
    cache.put("a", np.arange(3))

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space"):
        cache.put("a", np.arange(9))
    assert sorted(p.name for p in cache.folder.iterdir()) == ["a.npz", "settings.json"]
    found = cache.get("a")
    assert found is not None and len(found) == 3


def test_settings_must_be_plain(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        ArrayCache(tmp_path, {"net": object()})


def test_a_header_cannot_order_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = ArrayCache(tmp_path, {})
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    )
    with zipfile.ZipFile(cache.path("a"), "w") as archive:
        archive.writestr("array.npy", header.getvalue())
    assert cache.get("a") is None
    assert "broken" in caplog.text
