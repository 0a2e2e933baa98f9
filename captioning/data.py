"""The data sets that a network can be trained on: pictures with several sentences each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from captioning.published import read_coco, read_flickr8k
from captioning.words import tokenize
from core.data.images import Picture
from core.data.roots import find
from core.data.scenes import Scene, Scenes
from core.data.scenes.text import INVERSE, Description, parse_sentence, write_sentence

NAMES = ("scenes", "flickr8k")
SPLITS = ("train", "val", "test")
SCENE_COUNTS = {"train": 12000, "val": 200, "test": 200}
TEMPLATES = 5

_FLICKR_ORIGIN = "Hodosh, Young and Hockenmaier 2013, Flickr8k (Flickr8k_Dataset, Flickr8k_text)"
_FLICKR_SPLITS = {"train": "trainImages", "val": "devImages", "test": "testImages"}


class Captioned(Protocol):
    """A picture that sentences are known of."""

    @property
    def id(self) -> int | str: ...

    @property
    def captions(self) -> Sequence[str]: ...

    def read(self) -> Picture: ...


@dataclass(frozen=True)
class CaptionData:
    """The captioned pictures of one split; what could not be used is named in `skipped`."""

    name: str
    split: str
    pictures: Sequence[Captioned]
    skipped: Sequence[str] = field(default_factory=tuple)

    @property
    def ids(self) -> list[int | str]:
        """What the data set calls the pictures: COCO's numbers, otherwise names."""
        return [picture.id for picture in self.pictures]

    def sentences(self) -> Iterator[list[list[str]]]:
        """For each picture its captions, cut into words."""
        for picture in self.pictures:
            yield [tokenize(caption) for caption in picture.captions]


class SceneWithTruths:
    """An embedded scene of one or two digits, and what the templates say of it.

    `captions` are the five sentences that the scene comes with, which begin with a digit drawn by
    chance; with `all_truths` each of the five templates begins with either of two digits, which
    makes ten. `facts` is what they say.
    """

    def __init__(self, scene: Scene, *, all_truths: bool) -> None:
        facts = parse_sentence(scene.sentences[0])
        assert facts is not None
        self.id = scene.id if facts.other else f"{scene.id}-alone"
        # Kept, for painting it again takes 2 ms.
        self._picture = scene.picture
        self.facts = facts
        self.captions: Sequence[str] = scene.sentences
        if not all_truths:
            return
        assert facts.relation is not None and facts.other is not None
        turned = Description(facts.other, INVERSE[facts.relation], facts.subject)
        self.captions = tuple(
            write_sentence(one, template)
            for one in (facts, turned)
            for template in range(TEMPLATES)
        )

    def read(self) -> Picture:
        return self._picture


def load(
    name: str, split: str, *, count: int | None = None, data_root: Path | None = None
) -> CaptionData:
    """The captioned pictures of a split; only so many of them with `count`.

    `name` is "scenes" (embedded; a digit, its colour and its relation occur together in one split
    only; a third of the training scenes show one digit), "flickr8k" (published splits, dev is
    val), or the path of a COCO captions file, whose pictures lie beside it or in a folder named as
    its "file_name" says; every tenth picture of such a file is val, every tenth test. Pictures
    without a sentence, sentences without a picture and the like are left out and named. Raises
    ValueError for a broken file or when nothing is left, and FileNotFoundError in one line when
    files are missing.
    """
    if split not in SPLITS:
        raise ValueError(f"{name} has no split {split!r}; expected one of {', '.join(SPLITS)}")
    if name == "scenes":
        return _scenes(split, count)
    if name == "flickr8k":
        files = ["Flickr8k_text/Flickr8k.token.txt", *_split_files(split)]
        root = find(name, files, data_root, origin=_FLICKR_ORIGIN)
        found, skipped = read_flickr8k(root, root / _split_files(split)[0])
    elif name.endswith(".json"):
        everything, skipped = read_coco(Path(name))
        digit = {"val": (8,), "test": (9,), "train": range(8)}[split]
        found = [picture for n, picture in enumerate(everything) if n % 10 in digit]
    else:
        raise ValueError(f"--data {name!r} is no COCO file (.json), and none of {', '.join(NAMES)}")
    pictures = found[:count]
    if not pictures:
        raise ValueError(f"{name}: no captioned picture is left for split {split!r}")
    return CaptionData(name if name in NAMES else Path(name).stem, split, pictures, skipped)


def tell(data: CaptionData) -> None:
    """Print what of the data is not used: the first five, and how many."""
    for line in data.skipped[:5]:
        print(f"skipped: {line}", flush=True)
    if len(data.skipped) > 5:
        print(f"skipped: {len(data.skipped)} in all, of {data.name}/{data.split}", flush=True)


def _split_files(split: str) -> list[str]:
    return [f"Flickr8k_text/Flickr_8k.{_FLICKR_SPLITS[split]}.txt"]


def _scenes(split: str, count: int | None) -> CaptionData:
    count = SCENE_COUNTS[split] if count is None else count
    training = split == "train"
    # A digit alone has any colour, and no relation: it tells the one from the other.
    alone = count // 3 if training else 0
    several = (
        Scenes(split, count=count - alone, objects=(2, 2), held_out_combinations=True),  # type: ignore[arg-type]  # checked by load
        Scenes(split, count=alone, objects=(1, 1), seed=1),  # type: ignore[arg-type]
    )
    pictures = [
        SceneWithTruths(scene, all_truths=not training) for scenes in several for scene in scenes
    ]
    return CaptionData("scenes", split, pictures)
