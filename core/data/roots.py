"""Where data sets are found: given folder, environment, user cache, and the published URLs."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from core.io.files import atomic_write

ENVIRONMENT = "OPENBOOK_DATA"
_TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class RemoteFile:
    """One published file: its name below the data set's folder and the sha256 of its bytes.

    Where the publisher gives only the first digits of the hash, in the name, those.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """A published data set: its folders under a data root, its files, mirrors and terms.

    ``folders`` are tried in order below each root; ``urls`` are folders on mirrors, each of
    which holds every file.
    """

    name: str
    folders: tuple[str, ...]
    urls: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    terms: str


_MNIST = Source(
    name="mnist",
    folders=("mnist", "MNIST/raw"),
    urls=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=(
        RemoteFile(
            "train-images-idx3-ubyte.gz",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte.gz",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte.gz",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte.gz",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    terms="CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
)

_FASHION_MNIST = Source(
    name="fashion-mnist",
    folders=("fashion-mnist", "FashionMNIST/raw"),
    urls=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    files=(
        RemoteFile(
            "train-images-idx3-ubyte.gz",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        RemoteFile(
            "train-labels-idx1-ubyte.gz",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        RemoteFile(
            "t10k-images-idx3-ubyte.gz",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        RemoteFile(
            "t10k-labels-idx1-ubyte.gz",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    terms="MIT, Zalando SE",
)

_CIFAR_10 = Source(
    name="cifar-10",
    folders=("cifar-10", "."),
    urls=("https://www.cs.toronto.edu/~kriz/",),
    files=(
        RemoteFile(
            "cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    terms="none stated by the publisher (Krizhevsky 2009); do not redistribute",
)

_PRETRAINED = "pretrained"


def _hash_in_name(name: str) -> RemoteFile:
    """A file such as resnet18-f37072fd.pth: torch.hub's convention."""
    return RemoteFile(name, name.rpartition("-")[2].partition(".")[0])


_TORCHVISION = Source(
    name="torchvision",
    folders=(_PRETRAINED,),
    urls=("https://download.pytorch.org/models/",),
    files=tuple(
        _hash_in_name(name)
        for name in (
            "alexnet-owt-7be5be79.pth",
            "googlenet-1378be20.pth",
            "resnet18-f37072fd.pth",
            "resnet34-b627a593.pth",
            "resnet50-0676ba61.pth",
            "resnet101-63fe2227.pth",
            "resnet152-394f9c45.pth",
            "squeezenet1_0-b66bff10.pth",
            "squeezenet1_1-b8a52dc0.pth",
            "vgg11-8a719046.pth",
            "vgg11_bn-6002323d.pth",
            "vgg13-19584684.pth",
            "vgg13_bn-abd245e5.pth",
            "vgg16-397923af.pth",
            "vgg16_bn-6c64b313.pth",
            "vgg19-dcbb9e9d.pth",
            "vgg19_bn-c79401a0.pth",
        )
    ),
    terms="BSD 3-clause, torchvision; trained on ImageNet, whose pictures have their own terms",
)

_CIFAR_RESNETS = Source(
    name="cifar-resnets",
    folders=(_PRETRAINED,),
    urls=("https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/",),
    files=tuple(
        _hash_in_name(name)
        for name in (
            "resnet20-12fca82f.th",
            "resnet32-d509ac18.th",
            "resnet44-014dd654.th",
            "resnet56-4bfd9763.th",
            "resnet110-1d1ed7c2.th",
        )
    ),
    terms="BSD 2-clause, Yerlan Idelbayev",
)

_IMAGENET_CLASSES = Source(
    name="imagenet-classes",
    folders=(_PRETRAINED,),
    urls=("https://raw.githubusercontent.com/HoldenCaulfieldRye/caffe/master/data/ilsvrc12/",),
    files=(
        RemoteFile(
            "synset_words.txt",
            "acf75ef0abe89694b19056e0796401068b459c457baa30335f240c7692857355",
        ),
    ),
    terms="WordNet's words, in the order of ILSVRC 2012 as Caffe lists them",
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            *(_MNIST, _FASHION_MNIST, _CIFAR_10),
            *(_TORCHVISION, _CIFAR_RESNETS, _IMAGENET_CLASSES),
        )
    }
)


def search_roots(data_root: str | os.PathLike[str] | None = None) -> list[Path]:
    """The data roots in the order they are searched: argument, $OPENBOOK_DATA, user cache.

    Raises FileNotFoundError when ``data_root`` is given and is no folder.
    """
    roots = []
    if data_root is not None:
        given = Path(data_root).expanduser()
        if not given.is_dir():
            raise FileNotFoundError(f"data root {given}: no such folder")
        roots.append(given)
    environment = os.environ.get(ENVIRONMENT)
    if environment:
        roots.append(Path(environment).expanduser())
    roots.append(_cache())
    return roots


def locate(
    name: str, files: Sequence[str], data_root: str | os.PathLike[str] | None = None
) -> Path | None:
    """The first folder that holds all ``files`` of the data set ``name``, or None; no download.

    A file ``x.gz`` counts as present when ``x`` is there. Raises as ``search_roots`` does.
    """
    for folder in _folders(name, data_root):
        if all(present(folder, file) is not None for file in files):
            return folder
    return None


def present(folder: Path, file: str) -> Path | None:
    """The path of ``file`` in ``folder``, as it is or without ``.gz``; None when absent."""
    for candidate in (file, file.removesuffix(".gz")):
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def find(
    name: str,
    files: Sequence[str],
    data_root: str | os.PathLike[str] | None = None,
    *,
    origin: str | None = None,
) -> Path:
    """The folder that holds ``files`` of the data set ``name``, downloaded if need be.

    Args:
        name: a data set; one in ``SOURCES`` can be downloaded, others are only looked for.
        files: file names relative to the data set's folder.
        data_root: searched before $OPENBOOK_DATA and the user cache.
        origin: where the files come from, for the error line of a set not in ``SOURCES``.

    Raises FileNotFoundError with one line: what is missing, where it was looked for, where it
    comes from and why it could not be downloaded (a download with a wrong sha256 is deleted).
    """
    folder = locate(name, files, data_root)
    if folder is not None:
        return folder
    source = SOURCES.get(name)
    reason = None
    if source is not None:
        try:
            return _fetch(source, files)
        except ConnectionError as error:
            reason = str(error)
    raise FileNotFoundError(_missing(name, files, data_root, origin, reason))


def check(name: str, path: Path) -> None:
    """Raise ValueError when a file of the data set ``name`` is another than the published one."""
    (sha256,) = (file.sha256 for file in SOURCES[name].files if file.name == path.name)
    state = path.stat()
    if not _sha256(path, state.st_size, state.st_mtime_ns).startswith(sha256):
        raise ValueError(f"{path}: its sha256 does not begin with {sha256}, as the published one's")


@lru_cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Of a file in the state of that size and time."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("openbook"))


def _folders(name: str, data_root: str | os.PathLike[str] | None) -> list[Path]:
    below = SOURCES[name].folders if name in SOURCES else (name,)
    return [root / folder for root in search_roots(data_root) for folder in below]


def _missing(
    name: str,
    files: Sequence[str],
    data_root: str | os.PathLike[str] | None,
    origin: str | None,
    reason: str | None,
) -> str:
    folders = _folders(name, data_root)
    # The fullest folder is the one the user most likely meant.
    absent = min(([f for f in files if present(d, f) is None] for d in folders), key=len)
    line = f"{name}: missing {', '.join(absent)}; looked in {', '.join(map(str, folders))}"
    if name in SOURCES:
        origin = SOURCES[name].urls[0]
    if origin:
        line += f"; published at {origin}"
    if reason:
        line += f" (download failed: {reason})"
    return line


def _fetch(source: Source, files: Sequence[str]) -> Path:
    """Downloads what is missing of ``files`` into the user cache; ConnectionError if it fails."""
    folder = _cache() / source.folders[0]
    published = {file.name: file for file in source.files}
    for file in files:
        if present(folder, file) is None:
            if file not in published:
                raise ConnectionError(f"{file} is not among the published files")
            _fetch_file(source, published[file], folder)
    return folder


def _fetch_file(source: Source, file: RemoteFile, folder: Path) -> None:
    failures = []
    for url in source.urls:
        try:
            _download(url + file.name, file.sha256, folder / file.name)
            return
        except ValueError:
            failures.append(f"{url}{file.name} has a wrong sha256 and was deleted")
        except OSError as error:
            failures.append(f"{url}{file.name}: {type(error).__name__}")
    raise ConnectionError("; ".join(failures))


def _download(url: str, sha256: str, path: Path) -> None:
    """Write what is at `url` to `path`, whole or, with ValueError for another hash, not at all.

    `pooch.retrieve` does the same, but checks whole hashes only.
    """
    import pooch

    print(f"downloading {url}", file=sys.stderr, flush=True)
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT_SECONDS)
    with atomic_write(path) as file:
        download(url, file, None)
        file.flush()
        if not pooch.file_hash(file.name).startswith(sha256):
            raise ValueError(f"{url}: wrong sha256")
