"""What the pictures show: copies, traits, what excites a filter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core import viz
from core.data.dataset import ArrayDataset
from dcgan import pictures
from dcgan.data import load
from tests.dcgan.conftest import MakeArtist


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Any], list[str]]]:
    """The pictures and titles of each grid that is drawn."""
    drawn: list[tuple[list[Any], list[str]]] = []
    monkeypatch.setattr(
        viz, "image_grid", lambda shown, titles, **_: drawn.append((list(shown), list(titles)))
    )
    return drawn


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_copy_of_any_picture_is_found(grids: list[Any], mirrored: bool) -> None:
    data = load("digits", "train", 32)
    copy = data.images[-1, 0, :, ::-1] if mirrored else data.images[-1, 0]
    pictures.neighbours([copy], data.images)
    assert len(data) - 1 in pictures._nearest_pixels(copy[None], data.images)[0]
    shown, titles = grids[0]
    if not mirrored:
        np.testing.assert_array_equal(shown[1], copy)
        assert titles[:2] == ["sample", "0.0"] and float(titles[2]) > 0


def test_traits_are_what_they_are_called() -> None:
    upright = np.zeros((3, 9, 9), np.uint8)
    upright[:, 1:8, 4] = 200
    upright[1, 1:8, 3:6] = 200
    upright[2] = 200 * np.eye(9, dtype=np.uint8)[::-1]
    bold, lean = pictures.traits_of(upright)
    assert bold.values.argmax() == 1 and (bold.more, bold.less) == ("bold", "thin")
    # Each row up is one column to the right.
    np.testing.assert_allclose(lean.values, [0, 0, 1], atol=1e-6)
    red = np.zeros((2, 4, 4, 3), np.uint8)
    red[0, ..., 0], red[1, ..., 2] = 100, 220
    bright, warm = pictures.traits_of(red)
    assert bright.values.argmax() == 1 and warm.values.argmax() == 0


@pytest.mark.parametrize("options", [{"size": 16, "classes": 5}, {"size": 16, "channels": 3}])
def test_sums_are_of_samples_with_the_traits(
    make_artist: MakeArtist, grids: list[Any], options: dict[str, int]
) -> None:
    pictures.sums(make_artist(**options), 0)
    shown, titles = grids[0]
    assert len(shown) == len(titles) == 16
    first, second = ("bold", "leaning right") if "classes" in options else ("bright", "warm")
    assert titles[:4] == [first, "- middling", f"+ {second}", "="]
    trait = pictures.traits_of(np.stack(shown))[0].values
    assert trait[0] > trait[8]  # most of it, and least


def test_a_conditional_discriminator_is_told_the_classes_of_real_pictures(
    make_artist: MakeArtist, grids: list[Any]
) -> None:
    artist = make_artist(classes=3)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (250, 1, 8, 8)).astype(np.uint8)
    data = ArrayDataset(images, np.sort(rng.integers(0, 3, 250)), ("a", "b", "c"))
    pictures.filters(artist, data, count=1, each=3)
    strength = artist.maps(images, data.labels)[-1].numpy().max(axis=(2, 3))
    place = int(grids[0][1][0].removeprefix("filter "))
    assert place == strength.std(axis=0).argmax()
    for shown, index in zip(grids[0][0], np.argsort(-strength[:, place])[:3], strict=True):
        np.testing.assert_array_equal(shown, images[index, 0])
