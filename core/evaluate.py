"""Measure trained networks on a data set or on any folder of pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core import data, viz
from core.cli import resolve_device, run_command
from core.data.dataset import ArrayDataset
from core.data.folder import ImageFolder, distinct
from core.data.images import Picture
from core.io.files import write_text
from core.models import Pretrained
from core.training.evaluation import Judged, load_networks, most_confused, probabilities
from core.training.progress import track
from core.training.run import Run

_AT_ONCE = 64
_SHOWN_MISTAKES = 20
_SHOWN_CLASSES = 30


@dataclass(frozen=True, kw_only=True)
class Options:
    """Top-1 and top-5 error, confusion matrix and worst mistakes; several networks are averaged."""

    weights: tuple[str, ...] = ("digits",)
    """Names of pretrained networks, or files (safetensors, .pth); several make an ensemble."""

    data: str = "mnist"
    """The test set of mnist, fashion-mnist, cifar-10, flowers or digits, or a folder that has one
    folder of pictures for each class."""

    model: str | None = None
    """The network that a file fits which does not say it itself, such as vgg16."""

    flip: bool = False
    """Average over each picture and its mirror image."""

    crops: Literal[1, 5] = 1
    """Average over five crops, the corners and the centre, instead of the centre alone."""

    data_root: Path | None = None
    """Folder of the data sets; by default $OPENBOOK_DATA, else the user cache."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""

    out: Path | None = None
    """Folder for the results; by default runs/core-evaluate."""


def _digits(split: Literal["test"], data_root: Path | None) -> ArrayDataset:
    return data.embedded_digits(split)


SETS: Mapping[str, Callable[..., ArrayDataset]] = MappingProxyType(
    {
        "mnist": data.mnist,
        "fashion-mnist": data.fashion_mnist,
        "cifar-10": data.cifar10,
        "flowers": data.flowers,
        "digits": _digits,
    }
)


def main(options: Options) -> dict[str, Any]:
    """Judge the networks, draw, and write every prediction; returns the summary."""
    pictures = _open(options.data, options.data_root)
    networks = load_networks(
        options.weights,
        architecture=options.model,
        data_root=options.data_root,
        device=resolve_device(options.device),
    )
    targets = class_numbers(pictures.classes, networks[0])
    run = Run.create(options.out, "core", "evaluate", options)
    judged, kept, problems = judge(networks, pictures, targets, options.flip, options.crops)
    _draw(run, judged[-1], kept, pictures, networks[0].classes, Path(options.data).name)
    _write_predictions(run, judged[-1], kept, pictures, networks[0].classes)
    for problem in problems:
        print(f"left out: {problem}")
    names = distinct([network.name for network in networks])
    each = {name: 1 - j.error() for name, j in zip(names, judged, strict=False)}
    return run.finish(
        {
            **judged[-1].figures(),
            **({"accuracy_of_each": each} if len(networks) > 1 else {}),
            "left_out": len(problems),
        }
    )


def _open(name: str, data_root: Path | None) -> ArrayDataset | ImageFolder:
    if name in SETS:
        return SETS[name]("test", data_root)
    if not Path(name).is_dir():
        raise FileNotFoundError(f"--data {name}: no such folder, and none of {', '.join(SETS)}")
    return ImageFolder(name, verify=False)


def class_numbers(names: Sequence[str], network: Pretrained) -> NDArray[np.int64]:
    """The network's class for each of `names`, those of the data's classes.

    A name is that of the class, one of its synonyms ("tabby" of "tabby, tabby cat"), or its WordNet
    number, in any case. Raises ValueError, with the names in question, for one that is none or
    stands for several classes.
    """
    meanings: dict[str, set[int]] = {}
    for number, words in enumerate(network.classes):
        for word in (words, *words.split(", ")):
            meanings.setdefault(_plain(word), set()).add(number)
    for number, synset in enumerate(network.synsets):
        meanings[_plain(synset)] = {number}
    found = [meanings.get(_plain(name), set()) for name in names]
    strange = [name for name, numbers in zip(names, found, strict=True) if len(numbers) != 1]
    if strange:
        raise ValueError(
            f"{network.name} does not know one class called {', '.join(strange[:3])}; it knows "
            f"{len(network.classes)}: {', '.join(c.partition(',')[0] for c in network.classes[:5])}"
            f"{' ...' if len(network.classes) > 5 else ''}"
        )
    return np.array([number for (number,) in found], np.int64)


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())


def judge(
    networks: Sequence[Pretrained],
    pictures: ArrayDataset | ImageFolder,
    targets: NDArray[np.int64],
    flip: bool = False,
    crops: int = 1,
) -> tuple[list[Judged], NDArray[np.int64], list[str]]:
    """What each network, and last their mean, says of the pictures.

    `targets` is the networks' class for each of the data's. Also returns the numbers of the
    pictures that were judged, and why others could not be. Raises ValueError when none could.
    """
    kept: list[int] = []
    labels: list[int] = []
    problems: list[str] = []
    said: list[list[NDArray[np.float32]]] = [[] for _ in networks]
    for start in track(range(0, len(pictures), _AT_ONCE), "evaluating"):
        chunk = []
        for number in range(start, min(start + _AT_ONCE, len(pictures))):
            try:
                picture, label = picture_of(pictures, number)
            except (ValueError, OSError) as error:
                problems.append(str(error))
                continue
            chunk.append(picture)
            kept.append(number)
            labels.append(int(targets[label]))
        for network, parts in zip(networks, said, strict=True):
            if chunk:
                parts.append(probabilities(network, chunk, flip=flip, crops=crops))
    if not kept:
        raise ValueError(f"not a single picture could be read, for instance: {problems[0]}")
    each = [np.concatenate(parts) for parts in said]
    truth = np.array(labels, np.int64)
    judged = [Judged(part, truth) for part in each]
    if len(each) > 1:
        judged.append(Judged(np.mean(each, axis=0), truth))
    return judged, np.array(kept, np.int64), problems


def picture_of(pictures: ArrayDataset | ImageFolder, number: int) -> tuple[Picture, int]:
    """One raw picture, (H, W) or (H, W, 3), and its label."""
    picture, label = pictures[number]
    if isinstance(pictures, ArrayDataset):
        picture = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    return picture, int(label)


def _draw(
    run: Run,
    judged: Judged,
    kept: NDArray[np.int64],
    pictures: ArrayDataset | ImageFolder,
    classes: Sequence[str],
    name: str,
) -> None:
    names = [words.partition(",")[0] for words in classes]
    matrix, shown = most_confused(judged.confusion(), names, _SHOWN_CLASSES)
    figure = viz.confusion_matrix(matrix, shown, title=f"{name}: {len(kept)} pictures")
    viz.save(figure, run.picture("confusion.png"))
    worst = judged.worst(_SHOWN_MISTAKES)
    if len(worst):
        wrong = int(judged.wrong.sum())
        figure = viz.mistakes(
            [picture_of(pictures, int(kept[i]))[0] for i in worst],
            [classes[judged.labels[i]] for i in worst],
            [classes[judged.predicted[i]] for i in worst],
            judged.probabilities.max(axis=1)[worst],
            title=f"{name}: {wrong} of {len(kept)} wrong",
        )
        viz.save(figure, run.picture("mistakes.png"))


def _write_predictions(
    run: Run,
    judged: Judged,
    kept: NDArray[np.int64],
    pictures: ArrayDataset | ImageFolder,
    classes: Sequence[str],
) -> None:
    """`predictions.csv`: the picture, its class, the predicted one, and its probability."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("picture", "true", "predicted", "probability"))
    sure = judged.probabilities.max(axis=1)
    for row, number in enumerate(kept):
        where: object = int(number)
        if isinstance(pictures, ImageFolder):
            where = pictures.samples[number][0].relative_to(pictures.root).as_posix()
        true, said = classes[judged.labels[row]], classes[judged.predicted[row]]
        writer.writerow((where, true, said, f"{sure[row]:.4f}"))
    write_text(run.path("predictions.csv"), text.getvalue())


if __name__ == "__main__":
    run_command(main, Options)
