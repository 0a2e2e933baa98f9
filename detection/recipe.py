"""The settings of a detector: how it looks at a picture, and how it learned to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from detection.crops import CONTEXT
from detection.proposals import SearchOptions

Flips = Literal["none", "horizontal", "dihedral"]


@dataclass(frozen=True)
class Recipe:
    """Everything that must be the same when a detector is used as when it was trained.

    Crops are `crop` pixels a side with a share of `context`; the network has `width` features.
    Boxes that overlap a better one of their class by more than `nms_iou` are dropped, and at
    most `max_detections` kept. `flips` are the mirror images that are the same object:
    "dihedral" means all eight symmetries of the square.
    """

    crop: int = 48
    context: float = CONTEXT
    width: int = 256
    flips: Flips = "none"
    proposals: SearchOptions = field(default_factory=SearchOptions)
    nms_iou: float = 0.3
    max_detections: int = 100


# What each data set is trained and used with; chosen on its validation split.
RECIPES = {
    "scenes": Recipe(crop=32, proposals=SearchOptions(max_proposals=300)),
    "scenes-mnist": Recipe(crop=32, proposals=SearchOptions(max_proposals=300)),
    "bccd": Recipe(crop=48, flips="dihedral"),
    "voc2007": Recipe(crop=64, flips="horizontal", proposals=SearchOptions(max_proposals=2000)),
    "voc2012": Recipe(crop=64, flips="horizontal", proposals=SearchOptions(max_proposals=2000)),
}
