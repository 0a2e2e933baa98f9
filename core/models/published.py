"""Trained networks by name: published by others, shipped with the package, or in any file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core import nn
from core.data import roots
from core.data.cifar import CIFAR10_CLASSES
from core.data.preprocess import Preprocessing
from core.io import weights
from core.io.weights import Card
from core.models.backbone import Backbone

_SUFFIX = ".safetensors"
_PACKAGE = "core.models"
_OPTIONS = "options"
_SYNSETS = "synsets"


@dataclass(frozen=True)
class Pretrained:
    """A trained network, in evaluation mode, and what one must know to use it."""

    name: str
    model: nn.Module
    card: Card
    """Architecture, classes, data set, metrics."""

    transform: Preprocessing
    """Makes the network's input, float32 (N, C, H, W), of raw uint8 pictures (H, W, 3)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the outputs."""
        return self.card.classes

    @property
    def synsets(self) -> tuple[str, ...]:
        """The classes' WordNet numbers, such as n02123045; empty but for ImageNet's classes."""
        return tuple(json.loads(self.card.extra.get(_SYNSETS, "[]")))


@dataclass(frozen=True)
class _Published:
    """Weights of others: what they fit, and where they come from."""

    architecture: str
    source: str
    file: str
    transform: Preprocessing
    data: str


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_IMAGENET = Preprocessing(size=224, resize=256, mean=_MEAN, std=_STD)
# GoogLeNet's parameters came to torchvision from another library, whose pixels are in -1..1.
_GOOGLENET = replace(_IMAGENET, mean=(0.5,) * 3, std=(0.5,) * 3)
_CIFAR = Preprocessing(size=32, resize=32, mean=_MEAN, std=_STD)

# What the trainings here feed their networks: pixels divided by 255.
_OF_DATA: Mapping[str, Preprocessing] = MappingProxyType(
    {
        "mnist": Preprocessing(size=28, resize=28, ink=True),
        "fashion-mnist": Preprocessing(size=28, resize=28),
        "digits": Preprocessing(size=8, resize=8, ink=True),
        "cifar-10": Preprocessing(size=32, resize=32, mean=(0.0,) * 3, std=(1.0,) * 3),
    }
)


def _torchvision(file: str) -> tuple[str, _Published]:
    # alexnet-owt-7be5be79.pth: what stands before the first hyphen is the network.
    name = file.partition("-")[0]
    transform = _GOOGLENET if name == "googlenet" else _IMAGENET
    return name, _Published(name, "torchvision", file, transform, "imagenet")


def _cifar(file: str) -> tuple[str, _Published]:
    name = file.partition("-")[0]
    return f"{name}_cifar10", _Published(f"cifar_{name}", "cifar-resnets", file, _CIFAR, "cifar-10")


PUBLISHED: Mapping[str, _Published] = MappingProxyType(
    {
        **dict(_torchvision(file.name) for file in roots.SOURCES["torchvision"].files),
        **dict(_cifar(file.name) for file in roots.SOURCES["cifar-resnets"].files),
    }
)


def pretrained_names() -> tuple[str, ...]:
    """What `pretrained` takes: the shipped networks first."""
    return (*weights.shipped_names(_PACKAGE), *PUBLISHED)


def pretrained(name: str, *, data_root: str | os.PathLike[str] | None = None) -> Pretrained:
    """The network `name` with its trained weights, in evaluation mode.

    One that ships is read from the package. Others are looked for below the data roots in
    `pretrained/`, as `<name>.safetensors` or under the published file's name, and downloaded into
    the user's cache otherwise. Raises ValueError for an unknown name or a broken file, and
    FileNotFoundError, which says which file, where it was looked for and where it comes from, when
    it is neither found nor downloaded.
    """
    if name in weights.shipped_names(_PACKAGE):
        with weights.chosen(_PACKAGE, name) as path:
            return load_pretrained(path, data_root=data_root)
    if name not in PUBLISHED:
        known = ", ".join(pretrained_names())
        raise ValueError(f"pretrained network {name!r} is unknown; expected one of {known}")
    return load_pretrained(_path_of(name, data_root), data_root=data_root)


def load_pretrained(
    path: str | os.PathLike[str],
    *,
    architecture: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> Pretrained:
    """The network in a file of weights (safetensors, or PyTorch's), in evaluation mode.

    Which network it is, its classes and its preprocessing are in the card of a file that was
    written here, and known for published files by their names. For another file without a card,
    `architecture` says it, and the network is that of the published weights, for ImageNet or
    CIFAR-10. Raises ValueError, naming the file, when that is not enough or does not fit, and for
    one that has the name of a published file and other bytes.
    """
    path = Path(path)
    _check_published(path)
    card = weights.read_card(path)
    entry = None if card.architecture else _entry_of(path, architecture)
    if entry is not None:
        card = _completed(card, entry, data_root)
    if not card.architecture or not card.classes:
        missing = "classes it knows" if card.architecture else "network it is"
        raise ValueError(f"{path} does not say which {missing}, and its name is no published one")
    transform = entry.transform if entry is not None else _transform_of(card, path)
    model = _build(card, transform, path)
    weights.load_model(model, path)
    return Pretrained(path.stem, model.eval(), card, transform)


def _path_of(name: str, data_root: str | os.PathLike[str] | None) -> Path:
    entry = PUBLISHED[name]
    own = name + _SUFFIX
    folder = roots.locate(entry.source, [own], data_root)
    if folder is not None:
        return folder / own
    return roots.find(entry.source, [entry.file], data_root) / entry.file


def _check_published(path: Path) -> None:
    """Refuse a file that has a published name, and so the digits of a hash, but other bytes."""
    for entry in PUBLISHED.values():
        if path.name == entry.file:
            roots.check(entry.source, path)


def _entry_of(path: Path, architecture: str | None) -> _Published | None:
    """The published weights that a file without a card is, or has the form of."""
    for name, entry in PUBLISHED.items():
        if architecture == entry.architecture:
            return entry
        if architecture is None and path.name in (entry.file, name + _SUFFIX):
            return entry
    return None


def _completed(card: Card, entry: _Published, data_root: str | os.PathLike[str] | None) -> Card:
    """The card of a file that has none, with what is known of such weights."""
    classes: tuple[str, ...] = CIFAR10_CLASSES
    synsets: tuple[str, ...] = ()
    if entry.data == "imagenet":
        classes, synsets = _imagenet_classes(data_root)
    return replace(
        card,
        architecture=entry.architecture,
        classes=classes,
        data=entry.data,
        extra={**card.extra, _SYNSETS: json.dumps(synsets)},
    )


def _transform_of(card: Card, path: Path) -> Preprocessing:
    """What a card says of the network's pictures, or its data set or architecture implies."""
    said = Preprocessing.of_header(card.extra, str(path))
    transform = said or _OF_DATA.get(card.data)
    if transform is None:
        raise ValueError(
            f"{path} does not say what its pictures look like: its data set {card.data!r} is "
            f"none of {', '.join(_OF_DATA)}, and its header has no preprocessing"
        )
    return transform


def _build(card: Card, transform: Preprocessing, path: Path) -> nn.Module:
    from core.models import build

    try:
        options: Any = json.loads(card.extra.get(_OPTIONS, "{}"))
        with nn.init.skip_draws():
            if card.architecture == "backbone":
                return Backbone(len(card.classes), **options)
            return build(
                card.architecture,
                in_channels=len(transform.mean),
                image_size=transform.size,
                num_classes=len(card.classes),
                **options,
            )
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None


def _imagenet_classes(
    data_root: str | os.PathLike[str] | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names and WordNet numbers of ImageNet's classes; plain numbers where they are missing.

    The weights do not hold them, and are of use without.
    """
    source, file = "imagenet-classes", "synset_words.txt"
    try:
        path = roots.find(source, [file], data_root) / file
    except FileNotFoundError:
        return tuple(f"class {number}" for number in range(1000)), ()
    lines = [line.partition(" ") for line in path.read_text(encoding="utf-8").splitlines() if line]
    if len(lines) != 1000:
        raise ValueError(f"{path}: {len(lines)} classes, expected 1000")
    return tuple(name for _, _, name in lines), tuple(synset for synset, _, _ in lines)
