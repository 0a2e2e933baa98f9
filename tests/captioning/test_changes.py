"""What the loader changes: pictures of a batch, and the words that are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from captioning.batches import Batch, padded
from captioning.changes import Changed, with_words_dropped
from captioning.recipes import Recipe
from captioning.words import BEGIN, END, PAD, UNKNOWN, Vocabulary, tokenize
from core.data.rng import Draws
from core.data.scenes.paint import RGB

SENTENCES = ("a red five is above an orange two", "the orange two is below the red five")
VOCABULARY = Vocabulary.of([tokenize(sentence) for sentence in SENTENCES])


def batch(pictures: int = 30) -> Batch:
    """Both sentences about each of some pictures of noise."""
    words = padded([VOCABULARY.encode(tokenize(sentence)) for sentence in SENTENCES] * pictures)
    noise = np.random.default_rng(0).integers(0, 256, (pictures, 3, 32, 32)).astype(np.uint8)
    return Batch(words, np.repeat(np.arange(pictures), 2), noise, words[:, :-1])


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(seed, 0, np.arange(count))


def changed(toys: Batch, **settings: Any) -> Batch:
    return Changed(Recipe(**settings))(toys, draws(len(toys.words)))


def test_nothing_changes_unless_it_is_asked_for() -> None:
    toys = batch()
    for one, same in zip(changed(toys), toys, strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize(
    "settings", [{"augment": "affine"}, {"augment": "elastic"}, {"jitter": 0.2}]
)
def test_a_picture_changes_alike_in_any_batch(settings: dict[str, Any]) -> None:
    toys = batch()
    found = changed(toys, **settings)
    assert (found.inputs != toys.inputs).any(axis=(1, 2, 3)).all()
    last = Batch(toys.words[58:], np.array([0, 0]), toys.inputs[29:], toys.read[58:])
    alone = Changed(Recipe(**settings))(last, Draws(0, 0, np.array([58, 59])))
    np.testing.assert_array_equal(alone.inputs[0], found.inputs[29])
    np.testing.assert_array_equal(found.words, toys.words)


def test_jitter_changes_the_light_and_leaves_colours_apart() -> None:
    toys = batch(200)
    colours = np.array([RGB["orange"], RGB["yellow"]], np.uint8)
    toys.inputs[...] = np.repeat(colours, 16, axis=0).T[:, None]
    found = changed(toys, jitter=0.2).inputs.astype(float)
    assert np.ptp(found.mean(axis=(1, 2, 3))) > 30
    # Green over red.
    orange, yellow = (found[:, 1, 0, n] / found[:, 0, 0, n] for n in (0, 16))
    assert orange.max() < yellow.min()


def test_word_dropout_hides_words_by_its_share() -> None:
    toys = batch(100)
    read = with_words_dropped(toys, 0.4, draws(200)).read
    truth = toys.words[:, :-1]
    kept = np.isin(truth, (BEGIN, END, PAD))
    np.testing.assert_array_equal(read[kept], truth[kept])
    hidden = read == UNKNOWN
    assert hidden[~kept].mean() == pytest.approx(0.4, abs=0.05)
    np.testing.assert_array_equal(read[~hidden], truth[~hidden])


def test_words_and_pictures_take_different_random_numbers() -> None:
    toys = batch()
    both, words = (changed(toys, augment=how, word_dropout=0.4) for how in ("affine", "none"))
    np.testing.assert_array_equal(both.read, words.read)
    pictures = changed(toys, augment="affine")
    assert (both.inputs != pictures.inputs).any(axis=(1, 2, 3)).all()
