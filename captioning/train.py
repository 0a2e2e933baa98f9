"""Train a network that writes sentences about pictures, by a recipe or by flags."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

import core
from captioning import decoders, encoders
from captioning.batches import Batch, Sentences
from captioning.captioner import Captioner, CaptionNet, Decoding, need_one_view
from captioning.changes import Changed
from captioning.data import CaptionData, load, tell
from captioning.evaluate import judge, report
from captioning.features import inputs_of
from captioning.losses import WordLoss, with_own_words
from captioning.recipes import RECIPES, Recipe
from captioning.words import UNKNOWN, Vocabulary
from core import recipes, viz
from core.cli import CommonOptions, resolve_device, run_command
from core.io import weights
from core.io.weights import Card
from core.options import need_positive
from core.training import assemble
from core.training.run import METRICS, Run, read_metrics
from core.training.trainer import Figures, Trainer, evaluate

NETWORK = "network.safetensors"
_GREEDY = Decoding(beam=1)
_WATCHED = ("BLEU-4", "CIDEr-D", "all_right")


@dataclass(frozen=True, kw_only=True)
class Options(Recipe, CommonOptions, Decoding):
    """Train a network; the run folder then holds network.safetensors for --weights."""

    CHANGEABLE: ClassVar[frozenset[str]] = CommonOptions.CHANGEABLE | {"score", "cache"}

    recipe: str = "scenes-attention"
    """Recipe, one of captioning.recipes.RECIPES; the flags change single settings of it."""

    weights: Path | None = None
    """Weights (safetensors) to start from, with their vocabulary: the stage before."""

    score: Literal["val", "test"] = "test"
    """The split to score at the end; recipes are chosen on val."""

    cache: Path | None = None
    """Folder for features; by default in the user's cache."""

    count: int | None = None
    """Use only so many training pictures."""

    resume: bool = False
    """Continue the unfinished run in the folder, as if it had not stopped."""

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        CommonOptions.__post_init__(self)
        Decoding.__post_init__(self)
        need_positive(self, "count")
        if self.frozen:
            need_one_view(self, self.encoder)


def main(options: Options) -> dict[str, Any]:
    """Train, score once, and write everything to the run folder; returns the summary."""
    test = load(options.data, options.score, data_root=options.data_root)
    tell(test)
    run = Run.create(options.out, "captioning", "train", options)
    captioner, figures = train(run, options)
    test, inputs = inputs_of(captioner, test, options.cache)
    judged = judge(captioner, test, inputs, options, seed=options.seed)
    return run.finish({**report(run, captioner, test, inputs, judged), **figures})


def train(run: Run, options: Options) -> tuple[Captioner, dict[str, Any]]:
    """Train on the data set of the options; the network, which is in the run folder as well.

    The best epoch is the one whose greedy sentences on the validation split have the best BLEU-4,
    or for scenes are true most often.
    """
    core.seed(options.seed)
    data, held_out = (
        load(options.data, split, count=count, data_root=options.data_root)
        for split, count in (("train", options.count), ("val", None))
    )
    for one in (data, held_out):
        tell(one)
    captioner = _network(options, data)
    captioner.net.to(resolve_device(options.device))
    trainer = _trainer(run, options, captioner, data, held_out)
    trainer.fit(options.epochs, resume=options.resume)
    trainer.restore_best()
    captioner.save(
        run.path(NETWORK),
        metrics={f"val_{trainer.monitor}": trainer.best or 0.0},
        seed=options.seed,
        half=True,
    )
    figure = viz.curves(read_metrics(run.path(METRICS)), ("loss", trainer.monitor))
    viz.save(figure, run.picture("curves.png"))
    # All figures are those of the rounded weights, which is what is kept.
    weights.load_model(captioner.net, run.path(NETWORK))
    return captioner, {
        "best_epoch": trainer.best_epoch,
        "vocabulary": len(captioner.vocabulary),
        "parameters": captioner.net.num_parameters(),
        "seed": options.seed,
    }


def _network(options: Options, data: CaptionData) -> Captioner:
    """A new network, or the one in --weights, whose encoder may have begun to learn."""
    if options.weights is None:
        sentences = [words for several in data.sentences() for words in several]
        return Captioner.new(
            options.model,
            Vocabulary.of(sentences, options.min_count),
            options.encoder,
            options=options.network_options(),
            encoder_options=options.encoder_options(),
            frozen=options.frozen,
            pretrained=options.encoder != "small",
            data=data.name,
            data_root=options.data_root,
        )
    before = Captioner.load(options.weights, data_root=options.data_root)
    if (before.architecture, before.encoder) != (options.model, options.encoder):
        raise ValueError(
            f"{options.weights} is {before.architecture} on {before.encoder}, not {options.model} "
            f"on {options.encoder}"
        )
    _refuse_other_sizes(options, before)
    if options.frozen and before.net.encoder is not None:
        raise ValueError(
            f"{options.weights} holds an encoder that has learned, which is saved with --finetune "
            "only; expected --finetune"
        )
    net = CaptionNet(before.net.decoder, before.net.eyes, frozen=options.frozen)
    if before.net.norm is not None and net.norm is not None:
        net.norm.load_state_dict(before.net.norm.state_dict())
    before.net, before.data = net, data.name
    return before


def _refuse_other_sizes(options: Options, before: Captioner) -> None:
    """Raise ValueError unless the flags ask for the decoder and the encoder of --weights."""
    for made, built, asked in (
        (decoders.class_of(options.model), before.options, options.network_options()),
        (encoders.class_of(options.encoder), before.encoder_options, options.encoder_options()),
    ):
        own, other = completed(made, built), completed(made, asked)
        changed = [key for key in other if own.get(key) != other[key]]
        if changed:
            raise ValueError(
                f"{options.weights} was built with { ({key: own.get(key) for key in changed}) }, "
                f"the flags ask for { ({key: other[key] for key in changed}) }"
            )


def completed(made: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a network, those that are missing with the value that `made` gives them.

    A file that was written before an option existed lacks it, and means the default.
    """
    parameters = inspect.signature(made).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not one.empty}
    return {**defaults, **options}


def _trainer(
    run: Run,
    options: Options,
    captioner: Captioner,
    data: CaptionData,
    held_out: CaptionData,
) -> Trainer:
    words = captioner.vocabulary
    data, known = inputs_of(captioner, data, options.cache)
    held_out, inputs = inputs_of(captioner, held_out, options.cache)
    encoded, watched = (
        [[words.encode(s) for s in several] for several in one.sentences()]
        for one in (data, held_out)
    )
    unknown = [number == UNKNOWN for several in watched for s in several for number in s]
    print(
        f"{len(data.pictures)} pictures, {sum(map(len, encoded))} sentences, {len(words)} words; "
        f"{np.mean(unknown):.1%} of the words of {held_out.split} are unknown",
        flush=True,
    )
    sentences = Sentences(known, encoded)
    batches = sentences.batches(
        options.batch_size,
        options.seed,
        by_picture=not options.frozen,
        transform=Changed(options),
        device=next(captioner.net.parameters()).device,
    )
    validation = Sentences(inputs, watched).batches(
        options.batch_size, 0, by_picture=not options.frozen
    )
    optimizer = assemble.optimizer(options, captioner.net)
    steps = options.epochs * len(batches)
    forward = WordLoss(options.label_smoothing, options.even_attention)

    def taught(net: Any, batch: Any) -> tuple[Any, Mapping[str, float]]:
        batch = Batch(*batch)
        share = options.scheduled_sampling * trainer.step / steps
        if share:
            rng = np.random.default_rng((options.seed, trainer.step))
            batch = with_own_words(net, batch, share, rng)
        return forward(net, batch)

    def figures() -> Figures:
        scored = judge(captioner, held_out, inputs, _GREEDY).figures
        # The same order every time: a sum in another order is rounded otherwise.
        validation.set_epoch(0)
        plain = evaluate(captioner.net, validation, WordLoss())
        return {**plain, **{name: scored[name] for name in _WATCHED if name in scored}}

    trainer = Trainer(
        model=captioner.net,
        optimizer=optimizer,
        loader=batches,
        forward=taught,
        evaluate=figures,
        # Its own words are drawn on the host.
        graph=not (options.scheduled_sampling or options.frozen),
        # Whether a sentence is true counts more than how it is put, where that is known.
        monitor="all_right" if data.name == "scenes" else "BLEU-4",
        schedule=assemble.schedule(options, optimizer, len(batches)),
        schedule_per="step",
        clip_norm=options.clip_norm,
        run=run,
        card=Card(
            architecture=options.model,
            classes=words.words,
            data=data.name,
            seed=options.seed,
            extra={"options": json.dumps(options.network_options())},
        ),
        title=f"{options.model} on {data.name}",
    )
    return trainer


if __name__ == "__main__":
    run_command(main, Options, defaults=recipes.defaults(Options, "scenes-attention", RECIPES))
