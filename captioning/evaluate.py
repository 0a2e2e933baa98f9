"""Score a trained network on a split: every metric, its sentences as JSON, pictures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from captioning import pictures
from captioning.captioner import (
    Caption,
    Captioner,
    Decoding,
    load_captioner,
    need_one_view,
)
from captioning.data import CaptionData, SceneWithTruths, load, tell
from captioning.facts import shares
from captioning.features import inputs_of
from captioning.metrics import score
from core import viz
from core.cli import CommonOptions, resolve_device, run_command
from core.io.files import write_json
from core.options import need_positive
from core.training.run import Run


@dataclass(frozen=True)
class Judged:
    """Sentences for every picture of a split, and how good they are."""

    captions: list[list[Caption]]
    figures: dict[str, Any]


def decoding_of(options: Decoding) -> Decoding:
    """The part of a command's options that says how sentences are written."""
    return Decoding(**{one.name: getattr(options, one.name) for one in fields(Decoding)})


def judge(
    captioner: Captioner,
    data: CaptionData,
    inputs: NDArray[Any],
    decoding: Decoding,
    *,
    seed: int = 0,
) -> Judged:
    """Write a sentence about every picture, and measure."""
    start = time.perf_counter()
    captions = captioner.write(inputs, decoding_of(decoding), seed=seed)
    seconds = time.perf_counter() - start
    best = [list(several[0].words) for several in captions]
    figures: dict[str, Any] = score(best, list(data.sentences()))
    figures["sentences_per_second"] = round(len(inputs) / seconds, 1)
    figures["distinct_sentences"] = len({tuple(words) for words in best}) / len(best)
    scenes = [picture for picture in data.pictures if isinstance(picture, SceneWithTruths)]
    if len(scenes) == len(best):
        sentences = [" ".join(words) for words in best]
        figures.update(shares(sentences, [scene.facts for scene in scenes]))
    return Judged(captions, figures)


def report(
    run: Run, captioner: Captioner, data: CaptionData, inputs: NDArray[Any], judged: Judged
) -> dict[str, Any]:
    """Draw, write the sentences in COCO's format of results, and return the figures.

    Among them `skipped`, how many lines name what of the data could not be used, and
    `unknown_words`, how many words of the references the network does not know.
    """
    viz.save(pictures.captions(data, judged.captions), run.picture("captions.png"))
    for number in range(min(2, len(judged.captions))):
        best = judged.captions[number][0]
        weights = captioner.attention(inputs[number : number + 1], best)
        if weights is not None:
            figure = pictures.attention(data.pictures[number].read(), best.words, weights)
            viz.save(figure, run.picture(f"attention-{number + 1}.png"))
    written = [
        {"image_id": number, "caption": str(several[0])}
        for number, several in zip(data.ids, judged.captions, strict=True)
    ]
    write_json(run.path("predictions/captions.json"), written)
    words = [word for several in data.sentences() for sentence in several for word in sentence]
    return {
        "data": data.name,
        "split": data.split,
        "images": len(data.pictures),
        "skipped": len(data.skipped),
        "unknown_words": sum(word not in captioner.vocabulary for word in words),
        **judged.figures,
    }


def most_common(train: CaptionData) -> list[str]:
    """The sentence that the training pictures have most often: the baseline of saying nothing.

    Among the most frequent sentences the shortest; tokens, not marks, decide what is the same.
    """
    counts = Counter(tuple(words) for several in train.sentences() for words in several)
    best, _ = max(counts.items(), key=lambda item: (item[1], -len(item[0]), item[0]))
    return list(best)


def nearest(train: CaptionData, known: NDArray[Any], inputs: NDArray[Any]) -> list[list[str]]:
    """For each picture the first sentence of the training picture with the likest features.

    Features (N, C, h, w) are averaged over the map and compared by their cosine: the baseline of
    looking a sentence up instead of writing one.
    """
    own, others = (_directions(features) for features in (inputs, known))
    sentences = list(train.sentences())
    return [sentences[place][0] for place in (own @ others.T).argmax(axis=1)]


def _directions(features: NDArray[Any]) -> NDArray[np.float32]:
    means = features.astype(np.float32).mean(axis=(2, 3))
    return means / np.linalg.norm(means, axis=1, keepdims=True)


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions, Decoding):
    """Score trained weights, or the shipped ones, on a split of any data set."""

    data: str = "scenes"
    """scenes (embedded), flickr8k, or the path of a COCO captions file (.json)."""

    split: Literal["train", "val", "test"] = "test"
    """The split to score; choices are made on val."""

    count: int | None = None
    """Score only so many pictures."""

    cache: Path | None = None
    """Folder for features; by default in the user's cache."""

    baselines: bool = False
    """Score the most common sentence and the nearest picture's too; for a frozen encoder."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        Decoding.__post_init__(self)
        need_positive(self, "count")


def main(options: Options) -> dict[str, Any]:
    """Score, draw, and write everything to the run folder."""
    data = load(options.data, options.split, count=options.count, data_root=options.data_root)
    tell(data)
    captioner = load_captioner(options.data, options.weights, data_root=options.data_root)
    captioner.net.to(resolve_device(options.device))
    if captioner.net.encoder is None:
        need_one_view(options, captioner.encoder)
    elif options.baselines:
        raise ValueError("--baselines compares features: it needs a network with a frozen encoder")
    run = Run.create(options.out, "captioning", "evaluate", options)
    data, inputs = inputs_of(captioner, data, options.cache)
    judged = judge(captioner, data, inputs, options, seed=options.seed)
    figures = report(run, captioner, data, inputs, judged)
    if options.baselines:
        train = load(options.data, "train", data_root=options.data_root)
        tell(train)
        train, known = inputs_of(captioner, train, options.cache)
        figures.update(_baselines(train, known, data, inputs))
    return run.finish(figures)


def _baselines(
    train: CaptionData, known: NDArray[Any], data: CaptionData, inputs: NDArray[Any]
) -> dict[str, Any]:
    references: Sequence[Any] = list(data.sentences())
    common = most_common(train)
    return {
        "most_common": " ".join(common),
        "most_common_scores": score([common] * len(references), references),
        "nearest_scores": score(nearest(train, known, inputs), references),
    }


if __name__ == "__main__":
    run_command(main, Options)
