"""Try beam widths, length penalties and consensus on the validation split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from captioning.captioner import Decoding, load_captioner
from captioning.data import load, tell
from captioning.evaluate import judge
from captioning.features import inputs_of
from core.cli import CommonOptions, resolve_device, run_command
from core.options import need_positive
from core.training.run import Run

_CHOSEN = ("beam", "length_penalty", "consensus")
_SHOWN = ("BLEU-1", "BLEU-4", "METEOR (exact, stem)", "CIDEr-D")


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Score a network with every beam width, length penalty and consensus; the test split stays
    unseen."""

    data: str = "scenes"
    """scenes (embedded), flickr8k, or the path of a COCO captions file (.json)."""

    beams: tuple[int, ...] = (1, 2, 3, 5, 8)
    """Beam widths to try."""

    length_penalties: tuple[float, ...] = (0.0, 0.5, 0.7, 1.0)
    """Length penalties to try."""

    consensus: tuple[float, ...] = ()
    """Values of --consensus to try, besides none."""

    by: str = "BLEU-4"
    """The figure that decides."""

    count: int | None = None
    """Score only so many pictures."""

    cache: Path | None = None
    """Folder for features; by default in the user's cache."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beams or not self.length_penalties:
            raise ValueError("--beams and --length-penalties: expected one or more of each")
        for consensus in self.consensus:
            Decoding(beam=max(self.beams), consensus=consensus)
        self.settings()
        need_positive(self, "count")

    def settings(self) -> list[Decoding]:
        """Every way of writing to try. Raises ValueError for one that is out of range."""
        every = [
            Decoding(beam=beam, length_penalty=penalty)
            for beam in self.beams
            for penalty in self.length_penalties
        ]
        return [
            replace(one, consensus=consensus)
            for one in every
            for consensus in (None, *self.consensus)
            # Of one sentence to choose from, they change nothing.
            if one.beam > 1
            or (one.length_penalty == self.length_penalties[0] and consensus is None)
        ]


def main(options: Options) -> dict[str, Any]:
    """Score each setting, and write all to the run folder, the best first."""
    data = load(options.data, "val", count=options.count, data_root=options.data_root)
    tell(data)
    captioner = load_captioner(options.data, options.weights, data_root=options.data_root)
    captioner.net.to(resolve_device(options.device))
    run = Run.create(options.out, "captioning", "search", options)
    data, inputs = inputs_of(captioner, data, options.cache)
    tried = []
    for setting in options.settings():
        figures = judge(captioner, data, inputs, setting).figures
        if options.by not in figures:
            raise ValueError(f"--by {options.by!r} is none of {', '.join(figures)}")
        chosen = {name: getattr(setting, name) for name in _CHOSEN}
        tried.append({**chosen, **figures})
        shown = ", ".join(f"{name} {figures[name]:.3f}" for name in _SHOWN)
        how = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in chosen.items())
        print(f"{how}: {shown}", flush=True)
    tried.sort(key=lambda one: -one[options.by])
    return run.finish({"data": data.name, "split": "val", "best": tried[0], "tried": tried})


if __name__ == "__main__":
    run_command(main, Options)
