"""Data sets are found where they are, fetched and checked where they are not."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest

from core.data import roots


class _SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OPENBOOK_DATA", raising=False)
    monkeypatch.setattr(roots, "_cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"contents of a")
    handler = partial(_SilentHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def _publish(monkeypatch: pytest.MonkeyPatch, *urls: str, sha256: str | None = None) -> None:
    sha256 = sha256 or hashlib.sha256(b"contents of a").hexdigest()
    files = (roots.RemoteFile("a.bin", sha256),)
    source = roots.Source("letters", ("letters", "Letters/raw"), urls, files, terms="CC0")
    monkeypatch.setattr(roots, "SOURCES", MappingProxyType({"letters": source}))


def _put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_argument_comes_before_environment_before_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBOOK_DATA", str(tmp_path / "environment"))
    _put(cache / "letters" / "a.bin")
    assert roots.find("letters", ["a.bin"]) == cache / "letters"
    _put(tmp_path / "environment" / "letters" / "a.bin")
    assert roots.find("letters", ["a.bin"]) == tmp_path / "environment" / "letters"
    _put(tmp_path / "given" / "letters" / "a.bin")
    found = roots.find("letters", ["a.bin"], tmp_path / "given")
    assert found == tmp_path / "given" / "letters"


def test_a_folder_counts_only_with_all_files(tmp_path: Path, cache: Path) -> None:
    _put(tmp_path / "given" / "letters" / "a.bin")
    _put(cache / "letters" / "a.bin")
    _put(cache / "letters" / "b.bin")
    found = roots.find("letters", ["a.bin", "b.bin"], tmp_path / "given")
    assert found == cache / "letters"


def test_uncompressed_file_counts(tmp_path: Path, cache: Path) -> None:
    path = _put(tmp_path / "letters" / "a")
    assert roots.find("letters", ["a.gz"], tmp_path) == path.parent
    assert roots.present(path.parent, "a.gz") == path


def test_missing_files_are_one_line(tmp_path: Path, cache: Path) -> None:
    _put(tmp_path / "letters" / "a.bin")
    with pytest.raises(FileNotFoundError) as error:
        roots.find("letters", ["a.bin", "b.bin"], tmp_path, origin="https://letters.example")
    assert str(error.value) == (
        f"letters: missing b.bin; looked in {tmp_path / 'letters'}, {cache / 'letters'}; "
        "published at https://letters.example"
    )


def test_data_root_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data root .*typo: no such folder"):
        roots.find("letters", ["a.bin"], tmp_path / "typo")


def test_download_into_cache(cache: Path, mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(monkeypatch, f"{mirror}absent/", mirror)
    folder = roots.find("letters", ["a.bin"])
    assert folder == cache / "letters"
    assert (folder / "a.bin").read_bytes() == b"contents of a"
    assert roots.locate("letters", ["a.bin"]) == folder


def test_wrong_hash_deletes_the_download(
    cache: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(monkeypatch, mirror, sha256="0" * 64)
    with pytest.raises(FileNotFoundError, match=r"a\.bin has a wrong sha256 and was deleted") as e:
        roots.find("letters", ["a.bin"])
    assert "\n" not in str(e.value)
    assert list((cache / "letters").iterdir()) == []


def test_the_first_digits_of_a_hash_are_checked(
    cache: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = hashlib.sha256(b"contents of a").hexdigest()[:8]
    _publish(monkeypatch, mirror, sha256="0" + digits[:7])
    with pytest.raises(FileNotFoundError, match=r"a\.bin has a wrong sha256 and was deleted"):
        roots.find("letters", ["a.bin"])
    assert list((cache / "letters").iterdir()) == []
    _publish(monkeypatch, mirror, sha256=digits)
    assert (roots.find("letters", ["a.bin"]) / "a.bin").read_bytes() == b"contents of a"


def test_no_network_says_what_where_and_whence(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = "http://127.0.0.1:9/"
    _publish(monkeypatch, nobody)
    with pytest.raises(FileNotFoundError) as error:
        roots.find("letters", ["a.bin"])
    line = str(error.value)
    assert line.startswith(f"letters: missing a.bin; looked in {cache / 'letters'}, ")
    assert f"published at {nobody} (download failed: {nobody}a.bin: ConnectionError)" in line
    assert "\n" not in line


def test_unpublished_file_is_not_asked_for(
    cache: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(monkeypatch, mirror)
    with pytest.raises(FileNotFoundError, match=r"z\.bin is not among the published files"):
        roots.find("letters", ["z.bin"])


def test_cache_is_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("OPENBOOK_DATA", raising=False)
    (cache,) = roots.search_roots()
    assert "openbook" in cache.parts


@pytest.mark.parametrize("source", roots.SOURCES.values(), ids=lambda source: source.name)
def test_registry_is_well_formed(source: roots.Source) -> None:
    assert all(url.endswith("/") for url in source.urls)
    published_in_names = source.name in ("torchvision", "cifar-resnets")
    length = 4 if published_in_names else 32
    assert all(len(bytes.fromhex(file.sha256)) == length for file in source.files)
    assert not published_in_names or all(f.sha256 in f.name for f in source.files)


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_registry_hashes_are_those_of_the_real_files(name: str, data_root: Path) -> None:
    files = roots.SOURCES[name].files
    folder = roots.locate(name, [file.name for file in files], data_root)
    if folder is None or not all((folder / file.name).is_file() for file in files):
        pytest.skip(f"{data_root} does not hold the published files of {name}")
    for file in files:
        assert hashlib.sha256((folder / file.name).read_bytes()).hexdigest() == file.sha256
