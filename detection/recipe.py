"""The settings of a detector: how it looks at a picture, and how it learned to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from detection.crops import CONTEXT
from detection.proposals import SearchOptions
from detection.proposals.search import MODES

Flips = Literal["none", "horizontal", "dihedral"]


@dataclass(frozen=True)
class Recipe:
    """Everything that must be the same when a detector is used as when it was trained.

    Crops are `crop` pixels a side with a share of `context`; the network has `width` features.
    Boxes that overlap a better one of their class by more than `nms_iou` are dropped, and at
    most `max_detections` kept. `flips` are the mirror images that are the same object:
    "dihedral" means all eight symmetries of the square. Raises ValueError for settings that a
    detector's file could not be read back with.
    """

    crop: int = 48
    context: float = CONTEXT
    width: int = 256
    flips: Flips = "none"
    proposals: SearchOptions = field(default_factory=SearchOptions)
    nms_iou: float = 0.3
    max_detections: int = 100

    def __post_init__(self) -> None:
        search = self.proposals
        counts = [self.crop, self.width, self.max_detections]
        counts += [search.max_proposals, search.longest_side, search.seed]
        possible = (
            all(type(value) is int for value in counts)
            and all(type(v) in (int, float) for v in (self.context, self.nms_iou, search.min_size))
            and self.flips in get_args(Flips)
            and search.mode in MODES
            and min(self.width, self.max_detections) > 0
            and min(search.max_proposals, search.longest_side) > 0
            and self.crop >= 8
            and 0 <= self.context < 0.5
            and 0 <= self.nms_iou <= 1
        )
        if not possible:
            raise ValueError(f"this recipe is not possible: {asdict(self)}")


# What each data set is trained and used with; chosen on its validation split.
RECIPES = {
    "scenes": Recipe(crop=32, proposals=SearchOptions(max_proposals=300)),
    "scenes-mnist": Recipe(crop=32, proposals=SearchOptions(max_proposals=300)),
    "bccd": Recipe(crop=48, flips="dihedral"),
    "voc2007": Recipe(crop=64, flips="horizontal", proposals=SearchOptions(max_proposals=2000)),
    "voc2012": Recipe(crop=64, flips="horizontal", proposals=SearchOptions(max_proposals=2000)),
}
