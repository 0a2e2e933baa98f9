"""Write sentences about your own pictures with a trained network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from captioning import pictures
from captioning.captioner import Captioner, Decoding, load_captioner
from captioning.evaluate import decoding_of
from core import viz
from core.cli import resolve_device, run_command
from core.data.folder import distinct_stems, named_pictures
from core.data.images import Picture, read_image


@dataclass(frozen=True, kw_only=True)
class Options(Decoding):
    """Write about pictures (JPEG, PNG, WebP); prints the best sentences of each."""

    pictures: tuple[Path, ...]
    """The pictures to look at; a folder stands for all in it."""

    data: str = "scenes"
    """The data set that the shipped weights were trained on."""

    data_root: Path | None = None
    """Folder of the data sets, for the weights of a published encoder."""

    weights: Path | None = None
    """Weights (safetensors) to use instead of the shipped ones."""

    out: Path = Path("runs") / "captioning-predict"
    """Folder for the pictures of where the network looked."""

    seed: int = 0
    """Seed of sentences that are drawn (--temperature)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU when there is one."""

    def __post_init__(self) -> None:
        Decoding.__post_init__(self)
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; expected 0 or more")


def main(options: Options) -> None:
    """Write about every picture; one that cannot be read is named, and the others go on."""
    paths = named_pictures(options.pictures)
    targets = _targets(paths, options.out)
    captioner = load_captioner(options.data, options.weights, data_root=options.data_root)
    captioner.net.to(resolve_device(options.device))
    print(
        f"these weights know {_domain(captioner.data)}: other pictures are described as if they "
        "were such"
    )
    failures = []
    for path, target in zip(paths, targets, strict=True):
        try:
            picture = read_image(path)
        except (ValueError, OSError) as error:
            failures.append(str(error))
            continue
        print(json.dumps(_described(captioner, path, picture, options, target)), flush=True)
    if failures:
        raise ValueError("; ".join(failures))


def _targets(paths: Sequence[Path], out: Path) -> list[Path]:
    """Where each picture of attention goes. Raises ValueError rather than overwrite a picture."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; expected a folder")
    targets = [out / f"{stem}-attention.png" for stem in distinct_stems(paths)]
    originals = {path.resolve() for path in paths}
    for target in targets:
        if target.resolve() in originals:
            raise ValueError(f"{target} would be overwritten; choose another --out")
    return targets


def _domain(data: str) -> str:
    """What the pictures of a data set show."""
    known = {
        "scenes": "one or two coloured digits on a photograph",
        "flickr8k": "photographs of people and dogs, mostly (Flickr8k)",
    }
    return known.get(data, data or "nothing that they name")


def _described(
    captioner: Captioner, path: Path, picture: Picture, options: Options, target: Path
) -> dict[str, Any]:
    inputs = captioner.prepare([picture])
    found = captioner.write(inputs, decoding_of(options), seed=options.seed)[0]
    result: dict[str, Any] = {
        "picture": str(path),
        "captions": [
            {"caption": str(one), "log_probability": round(one.log_probability, 3)} for one in found
        ],
    }
    weights = captioner.attention(inputs, found[0])
    if weights is not None:
        viz.save(pictures.attention(picture, found[0].words, weights), target)
        result["attention"] = str(target)
    return result


if __name__ == "__main__":
    run_command(main, Options)
