"""Write about held-out scenes: sentences beside the true ones, and where the network looked."""

from __future__ import annotations

from dataclasses import dataclass

from captioning.captioner import Captioner, load_captioner
from captioning.data import load
from captioning.evaluate import Decoding, judge, report
from captioning.features import inputs_of
from captioning.recipes import RECIPES
from captioning.train import Options as TrainingOptions
from captioning.train import train
from core import recipes
from core.cli import DemoOptions, resolve_device, run_command
from core.training.run import Run

# What the shipped weights keep; docs/results.md says what was to be reached.
PROMISED_BLEU, PROMISED_RIGHT = 0.90, 0.80
# Chosen on the validation split.
DECODING = Decoding(beam=8, length_penalty=0.7, views=8)
RECIPE = "scenes-attention"


@dataclass(frozen=True, kw_only=True)
class Options(DemoOptions):
    """Write about held-out scenes with the shipped weights; nothing is downloaded."""

    epochs: int = RECIPES[RECIPE].epochs
    """Epochs of the training, with --train."""


def main(options: Options) -> None:
    """Write, draw, and say how good it was; fails when what is promised is missed."""
    captioner = None if options.train else load_captioner("scenes", options.weights)
    run = Run.create(options.out, "captioning", "demo", options)
    if captioner is None:
        captioner = _train(run, options)
    captioner.net.to(resolve_device(options.device))
    bleu, right = show(run, captioner, options.count)
    # A handful of scenes says nothing about the promise.
    missed = bleu < PROMISED_BLEU or right < PROMISED_RIGHT
    if options.weights is None and options.count >= 100 and missed:
        raise RuntimeError(
            f"BLEU-4 is {bleu:.3f} and {right:.1%} of the sentences are right; the demo promises "
            f"{PROMISED_BLEU} and {PROMISED_RIGHT:.0%}"
        )


def _train(run: Run, options: Options) -> Captioner:
    return train(
        run,
        recipes.options(
            TrainingOptions,
            RECIPE,
            RECIPES,
            seed=options.seed,
            device=options.device,
            epochs=options.epochs,
            resume=options.resume,
        ),
    )[0]


def show(run: Run, captioner: Captioner, count: int) -> tuple[float, float]:
    """Write about `count` held-out scenes; BLEU-4, and the share of sentences that are true."""
    data = load("scenes", "test", count=count)
    data, inputs = inputs_of(captioner, data)
    judged = judge(captioner, data, inputs, DECODING)
    summary = run.finish(report(run, captioner, data, inputs, judged))
    return float(summary["BLEU-4"]), float(summary["all_right"])


if __name__ == "__main__":
    run_command(main, Options)
