"""Say what is in your own pictures with a trained network: a handwritten digit by default."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core import viz
from core.cli import resolve_device, run_command
from core.data.folder import named_pictures
from core.data.images import Picture, read_image
from core.io.files import write_json
from core.models import Pretrained
from core.options import need_positive
from core.training.evaluation import load_networks, probabilities


@dataclass(frozen=True, kw_only=True)
class Options:
    """The likeliest classes of pictures (JPEG, PNG, WebP, GIF), with their probabilities."""

    pictures: tuple[Path, ...]
    """Pictures, or folders of them."""

    weights: tuple[str, ...] = ("digits",)
    """Names of pretrained networks, or files (safetensors, .pth); several are averaged."""

    model: str | None = None
    """The network that a file fits which does not say it itself, such as vgg16."""

    top: int = 5
    """How many classes to name."""

    flip: bool = False
    """Average over each picture and its mirror image."""

    crops: Literal[1, 5] = 1
    """Average over five crops, the corners and the centre, instead of the centre alone."""

    data_root: Path | None = None
    """Folder of the data sets; by default $OPENBOOK_DATA, else the user cache."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""

    out: Path | None = None
    """Folder for predictions.json and a picture of them; by default they are only printed."""

    def __post_init__(self) -> None:
        need_positive(self, "top")


def main(options: Options) -> list[dict[str, Any]]:
    """Print what each picture is; one that cannot be read is named, and the others go on."""
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out} is a file; expected a folder")
    paths = named_pictures(options.pictures)
    networks = load_networks(
        options.weights,
        architecture=options.model,
        data_root=options.data_root,
        device=resolve_device(options.device),
    )
    results: list[dict[str, Any]] = []
    shown: list[Picture] = []
    failures = []
    for path in paths:
        try:
            picture = read_image(path)
            said = _likeliest(networks, picture, options)
        except (ValueError, OSError) as error:
            text = str(error)
            failures.append(text if str(path) in text else f"{path}: {text}")
            continue
        results.append({"picture": str(path), "predictions": said})
        print(json.dumps(results[-1], indent=2, ensure_ascii=False), flush=True)
        shown.append(picture)
    if options.out is not None and results:
        _write(options.out, results, shown)
    if failures:
        raise ValueError("; ".join(failures))
    return results


def _likeliest(
    networks: Sequence[Pretrained], picture: Picture, options: Options
) -> list[dict[str, Any]]:
    each = []
    for network in networks:
        said = probabilities(network, [picture], flip=options.flip, crops=options.crops)[0]
        if not np.isfinite(said).all():
            # No other picture would fare better.
            raise RuntimeError(
                f"--weights {network.name}: its probabilities are no numbers; the weights are "
                "broken"
            )
        each.append(said)
    mean = np.mean(each, axis=0)
    order = np.argsort(-mean, kind="stable")[: options.top]
    classes = networks[0].classes
    return [{"class": classes[i], "probability": round(float(mean[i]), 4)} for i in order]


def _write(out: Path, results: list[dict[str, Any]], pictures: Sequence[Picture]) -> None:
    write_json(out / "predictions.json", results)
    first = [result["predictions"][0] for result in results]
    titles = [f"{p['class'].partition(',')[0]}, {p['probability']:.0%}" for p in first]
    viz.save(viz.image_grid(pictures, titles, size=1.8), out / "predictions.png")


if __name__ == "__main__":
    run_command(main, Options)
