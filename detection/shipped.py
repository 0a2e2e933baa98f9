"""The trained detectors that come with the package."""

from __future__ import annotations

from pathlib import Path

from core.io import weights
from detection.detector import Detector


def load_detector(name: str, path: Path | None = None) -> Detector:
    """The detector in the file `path`, or the shipped one trained on the data set `name`.

    Raises FileNotFoundError in one line when there is none.
    """
    with weights.chosen("detection", name, path) as file:
        return Detector.load(file)
