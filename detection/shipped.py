"""The trained detectors that come with the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from detection.detector import Detector


def shipped_names() -> list[str]:
    """The data sets for which trained weights are shipped."""
    folder = files("detection") / "weights"
    if not folder.is_dir():
        return []
    names = (entry.name for entry in folder.iterdir())
    return sorted(
        name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors")
    )


def load_detector(name: str, weights: Path | None = None) -> Detector:
    """The detector in the file `weights`, or the shipped one trained on the data set `name`.

    Raises FileNotFoundError in one line when there is none.
    """
    if weights is not None:
        if not weights.is_file():
            raise FileNotFoundError(f"{weights}: no such weights")
        return Detector.load(weights)
    if name not in shipped_names():
        there = ", ".join(shipped_names()) or "none"
        raise FileNotFoundError(
            f"no weights for {name!r} are shipped (there are: {there}); "
            "train some with `python -m detection.train` and pass --weights"
        )
    with as_file(files("detection") / "weights" / f"{name}.safetensors") as path:
        return Detector.load(path)
