"""Embedded scenes: deterministic, consistent in themselves, and split without leaks."""

import pickle
from itertools import combinations as pairs
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from core.data.scenes import (
    BACKGROUNDS,
    COLOUR_NAMES,
    DIGITS,
    MNIST_DIGITS,
    RELATIONS,
    Description,
    Scene,
    Scenes,
    Thing,
    combination_split,
    parse_sentence,
    relation_between,
    write_sentence,
)
from core.data.scenes.sources import SPLITS, Split, load_digits
from core.data.scenes.text import INVERSE, PAIR_TEMPLATES, SINGLE_TEMPLATES

# labels, colours, boxes, mean colour of scene 3 of each split
GOLDEN: dict[Split, tuple[list[int], tuple[str, ...], list[list[int]], list[float]]] = {
    "train": (
        [3, 1, 2],
        ("white", "yellow", "white"),
        [[93, 13, 121, 56], [61, 95, 76, 123], [35, 20, 56, 49]],
        [160.2, 78.7, 67.7],
    ),
    "val": ([9], ("green",), [[43, 2, 67, 40]], [111.6, 79.0, 44.0]),
    "test": (
        [8, 9, 3, 0],
        ("purple", "orange", "orange", "orange"),
        [[2, 15, 35, 68], [68, 4, 90, 38], [22, 60, 54, 112], [67, 41, 99, 87]],
        [118.9, 94.9, 61.2],
    ),
}


@pytest.fixture(scope="module")
def train() -> Scenes:
    return Scenes("train", count=40)


def same(a: Scene, b: Scene) -> bool:
    arrays = ("picture", "boxes", "labels", "mask", "instances")
    return (a.id, a.colours, a.sentences) == (b.id, b.colours, b.sentences) and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays
    )


@pytest.mark.parametrize("split", SPLITS)
def test_the_name_means_these_scenes(split: Split) -> None:
    scenes = Scenes(split)
    labels, colours, boxes, mean = GOLDEN[split]
    scene = scenes[3]
    assert scenes.name == "scenes"
    assert scene.labels.tolist() == labels
    assert scene.colours == colours
    assert np.abs(scene.boxes - np.array(boxes)).max() <= 1
    assert np.abs(scene.picture.mean((0, 1)) - np.array(mean)).max() < 1


def test_same_scene_in_any_order_and_after_pickling(train: Scenes) -> None:
    backwards = [train[i] for i in (9, 5, 2)]
    longer = Scenes("train", count=100)
    copy = pickle.loads(pickle.dumps(longer))
    for scene, index in zip(backwards, (9, 5, 2), strict=True):
        assert same(scene, longer[index])
        assert same(scene, copy[index])
    assert not same(train[2], Scenes("train", seed=1)[2])


def test_length_indices_and_iteration(train: Scenes) -> None:
    assert len(train) == 40
    assert train[-1].id == "train-00039"
    assert [scene.id for scene in Scenes("val", count=2)] == ["val-00000", "val-00001"]
    with pytest.raises(IndexError, match="40 scenes"):
        train[40]


def test_parts_of_a_scene_agree(train: Scenes) -> None:
    for scene in train:
        n = len(scene.labels)
        assert 1 <= n <= 4 and len(scene.colours) == n
        assert scene.picture.dtype == np.uint8 and scene.picture.shape == (128, 128, 3)
        assert scene.boxes.dtype == np.float32 and scene.boxes.shape == (n, 4)
        assert scene.labels.dtype == np.int64
        assert set(np.unique(scene.instances)) == set(range(n + 1)), "a digit is hidden"
        expected = np.concatenate([[0], scene.labels + 1])[scene.instances]
        assert np.array_equal(scene.mask, expected)
        for number, box in enumerate(scene.boxes, 1):
            rows, columns = np.nonzero(scene.instances == number)
            tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == tight


def test_digits_are_large_apart_and_in_contrast(train: Scenes) -> None:
    for scene in train:
        heights = scene.boxes[:, 3] - scene.boxes[:, 1]
        assert heights.min() >= 18 and heights.max() <= 64
        for a, b in pairs(scene.boxes, 2):
            sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
            smaller = min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2]))
            assert (sides <= 0).any() or np.prod(sides) < 0.1 * smaller
        picture = scene.picture.astype(np.float32)
        for number, (x1, y1, x2, y2) in enumerate(scene.boxes.astype(int), 1):
            inside = scene.instances[y1:y2, x1:x2] == number
            outside = scene.instances[y1:y2, x1:x2] == 0
            area = picture[y1:y2, x1:x2]
            difference = np.median(area[inside], 0) - np.median(area[outside], 0)
            assert np.abs(difference).max() > 30


def test_options(train: Scenes) -> None:
    scene = Scenes("test", size=(96, 160), objects=(6, 6))[0]
    assert scene.picture.shape == (96, 160, 3)
    assert scene.mask.shape == (96, 160)
    assert len(scene.labels) == 6


def test_splits_share_no_digit_and_no_photograph() -> None:
    for source in (BACKGROUNDS, DIGITS):
        for a, b in pairs(SPLITS, 2):
            assert not set(source[a]) & set(source[b])
    assert not set(MNIST_DIGITS["train"]) & set(MNIST_DIGITS["val"])
    assert sum(len(DIGITS[split]) for split in SPLITS) == 1797


def test_each_split_loads_its_own_digits() -> None:
    from sklearn.datasets import load_digits as load

    labels = load().target
    for split in SPLITS:
        found = load_digits(split)
        assert np.array_equal(found.labels, labels[list(DIGITS[split])])
        assert found.images.max() == 255
        assert set(found.labels) == set(range(10))


def test_sentences_tell_what_is_there(train: Scenes) -> None:
    for scene in train:
        things = [Thing(*pair) for pair in zip(scene.labels.tolist(), scene.colours, strict=True)]
        assert len(set(things)) == len(things), "a sentence could mean either of two"
        assert len(set(scene.sentences)) == 5
        for sentence in scene.sentences:
            said = parse_sentence(sentence)
            assert said is not None
            subject = things.index(said.subject)
            if len(things) == 1:
                assert said.relation is None
                continue
            assert said.other is not None
            other = things.index(said.other)
            boxes = scene.boxes
            assert said.relation == relation_between(boxes[subject], boxes[other])


def test_every_sentence_can_be_read_back() -> None:
    things = [Thing(digit, colour) for digit, colour in product(range(10), COLOUR_NAMES)]
    for number, thing in enumerate(things):
        other = things[number - 7]
        for relation, template in product(RELATIONS, range(len(PAIR_TEMPLATES))):
            description = Description(thing, relation, other)
            assert parse_sentence(write_sentence(description, template)) == description
        for template in range(len(SINGLE_TEMPLATES)):
            alone = Description(thing)
            assert parse_sentence(write_sentence(alone, template)) == alone


def test_sentences_as_written() -> None:
    description = Description(Thing(3, "red"), "left of", Thing(7, "orange"))
    assert [write_sentence(description, i) for i in range(5)] == [
        "a red three is to the left of an orange seven",
        "there is a red 3 to the left of an orange 7",
        "the red three is to the left of the orange seven",
        "to the left of an orange seven there is a red three",
        "an orange seven with a red three to its left",
    ]
    assert parse_sentence("A red three is  to the left of an orange seven.") == description
    assert parse_sentence("a red three is near an orange seven") is None
    with pytest.raises(ValueError, match="template must be 0 to 4"):
        write_sentence(description, 5)


def test_relations_follow_the_longer_axis() -> None:
    middle = (40, 40, 60, 60)
    assert relation_between((10, 50, 30, 70), middle) == "left of"
    assert relation_between((90, 20, 99, 60), middle) == "right of"
    assert relation_between((50, 0, 70, 20), middle) == "above"
    assert relation_between((30, 80, 50, 99), middle) == "below"


@pytest.mark.parametrize("split", SPLITS)
def test_held_out_combinations_stay_in_their_split(split: Split) -> None:
    scenes = Scenes(split, count=25, objects=(2, 2), held_out_combinations=True)
    for scene in scenes:
        for sentence in scene.sentences:
            said = parse_sentence(sentence)
            assert said is not None and said.relation is not None and said.other is not None
            assert combination_split(said.subject, said.relation) == split
            assert combination_split(said.other, INVERSE[said.relation]) == split


def test_every_digit_and_colour_can_be_learnt_in_every_relation() -> None:
    for relation in RELATIONS:
        seen = [
            thing
            for thing in (Thing(d, c) for d, c in product(range(10), COLOUR_NAMES))
            if combination_split(thing, relation) == "train"
        ]
        assert {thing.digit for thing in seen} == set(range(10))
        assert {thing.colour for thing in seen} == set(COLOUR_NAMES)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"split": "dev"}, "split must be one of train, val, test"),
        ({"digits": "svhn"}, "digits must be"),
        ({"count": -1}, "count must not be negative"),
        ({"size": (32, 128)}, "size must be"),
        ({"objects": (3, 2)}, "objects must be"),
        ({"objects": (1, 7)}, "objects must be"),
        ({"held_out_combinations": True}, r"needs objects=\(2, 2\)"),
    ],
)
def test_refuses_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scenes(**options)  # type: ignore[arg-type]


def test_mnist_that_is_absent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(split: str, data_root: object) -> None:
        raise FileNotFoundError(f"mnist {split} not under {data_root}")

    monkeypatch.setattr("core.data.idx.mnist", absent)
    with pytest.raises(FileNotFoundError, match="mnist test"):
        Scenes("test", digits="mnist", data_root=tmp_path)


@pytest.mark.data
def test_mnist_scenes(data_root: Path) -> None:
    scenes = Scenes("val", count=5, digits="mnist", data_root=data_root)
    assert scenes.name == "scenes-mnist"
    for scene in scenes:
        assert set(np.unique(scene.instances)) == set(range(len(scene.labels) + 1))
    assert not np.array_equal(scenes[0].picture, Scenes("val", count=5)[0].picture)
