"""Predictions in COCO's results format, which other tools can score again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from core.io.files import write_text
from detection.metrics import Predictions


class CocoResult(TypedDict):
    """One detection of a COCO results file; ``bbox`` is x, y, width, height in pixels."""

    image_id: int | str
    category_id: int
    bbox: list[float]
    score: float


def to_coco(
    predictions: Sequence[Predictions],
    image_ids: Sequence[int | str],
    category_ids: Sequence[int] | None = None,
) -> list[CocoResult]:
    """Return the predictions of all pictures as a list of COCO results.

    ``category_ids`` gives each label's COCO category; without it label 0 becomes category 1, as
    categories count from 1. Raises ValueError when there is not one id for each picture.
    """
    if len(predictions) != len(image_ids):
        raise ValueError(f"to_coco: {len(predictions)} pictures but {len(image_ids)} ids")
    results: list[CocoResult] = []
    for found, image_id in zip(predictions, image_ids, strict=True):
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            x1, y1, x2, y2 = (float(value) for value in box)
            category = int(label) + 1 if category_ids is None else category_ids[int(label)]
            results.append(
                {
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)],
                    "score": round(float(score), 6),
                }
            )
    return results


def write_coco(path: str | Path, results: list[CocoResult]) -> None:
    """Write COCO results as JSON, whole or not at all."""
    write_text(path, json.dumps(results))
