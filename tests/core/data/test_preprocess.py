"""Raw pictures become what networks were trained on."""

from __future__ import annotations

import numpy as np
import pytest

from core.data.preprocess import Preprocessing

RNG = np.random.default_rng(0)


def colour(size: int, resize: int | None = None) -> Preprocessing:
    return Preprocessing(size=size, resize=resize, mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))


def picture(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def digit() -> np.ndarray:
    """A one in MNIST's form: 20 pixels high, its centre of mass in the middle."""
    form = np.zeros((28, 28), np.uint8)
    form[4:24, 12:16] = 255
    return form


def test_the_centre_is_cut_out_and_normalised() -> None:
    raw = picture(10, 13)
    x = colour(8)(raw)
    assert x.dtype == np.float32 and x.shape == (1, 3, 8, 8)
    cut = raw[1:9, 2:10].transpose(2, 0, 1) / 255
    expected = (cut - np.array([0.5, 0.25, 0])[:, None, None]) / np.array([0.5, 1, 2])[
        :, None, None
    ]
    np.testing.assert_allclose(x[0], expected, rtol=1e-6, atol=1e-6)


def test_several_pictures_of_several_sizes() -> None:
    x = colour(8, 10)([picture(20, 30), picture(9, 40), picture(4, 4)])
    assert x.shape == (3, 3, 8, 8)


def test_the_shorter_side_is_scaled_first_and_only_when_it_must_be() -> None:
    flat = np.full((40, 60, 3), 100, np.uint8)
    flat[:, 30:] = 200
    (view,) = colour(8, 10).views(flat)
    assert view.shape == (3, 8, 8)
    assert view[0, 0, 0] == 100 and view[0, 0, -1] == 200
    small = picture(8, 8)
    np.testing.assert_array_equal(colour(8, 8).views(small)[0], small.transpose(2, 0, 1))


def test_channels_are_made_and_mixed() -> None:
    grey = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
    three = colour(8).views(grey)
    assert three.shape == (1, 3, 8, 8)
    np.testing.assert_array_equal(three[0, 1], grey)
    one = Preprocessing(size=8).views(np.repeat(grey[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(one[0, 0], grey)


def test_ten_views_are_the_corners_the_centre_and_their_mirror_images() -> None:
    raw = picture(10, 12)
    views = colour(8, 10).views(raw, flip=True, crops=5)
    assert views.shape == (10, 3, 8, 8)
    np.testing.assert_array_equal(views[5:], views[:5, :, :, ::-1])
    places = [(1, 2), (0, 0), (0, 4), (2, 0), (2, 4)]
    for view, (top, left) in zip(views, places, strict=False):
        cut = raw[top : top + 8, left : left + 8]
        np.testing.assert_array_equal(view, cut.transpose(2, 0, 1))


def test_crops_make_themselves_room() -> None:
    views = colour(28, 28).views(picture(28, 28), crops=5)
    assert views.shape == (5, 3, 28, 28)
    assert not np.array_equal(views[1], views[4])
    with pytest.raises(ValueError, match="crops is 3, expected 1 or 5"):
        Preprocessing(size=28).views(picture(28, 28), crops=3)


INK = Preprocessing(size=28, resize=28, ink=True)


def test_mnist_s_own_pictures_stay_as_they_are() -> None:
    np.testing.assert_array_equal(INK.views(digit())[0, 0], digit())


@pytest.mark.parametrize("ground, ink", [(255, 0), (0, 255), (200, 60), (40, 160)])
def test_writing_is_brought_into_mnist_s_form(ground: int, ink: int) -> None:
    """Dark on light or light on dark, large, and not in the middle."""
    paper = np.full((300, 200, 3), ground, np.uint8)
    paper[20:120, 150:170] = ink
    (view,) = INK.views(paper)
    np.testing.assert_allclose(view[0].astype(float), digit(), atol=40)


def test_faint_shadows_are_paper() -> None:
    paper = np.full((100, 100), 230, np.uint8)
    paper[40:60, 48:52] = 10
    paper[:, :20] = 200
    (view,) = INK.views(paper)
    np.testing.assert_allclose(view[0].astype(float), digit(), atol=40)


def test_an_empty_page_has_no_writing() -> None:
    with pytest.raises(ValueError, match="no writing in the picture"):
        INK.views(np.full((50, 50, 3), 250, np.uint8))


def test_a_card_holds_it() -> None:
    transform = colour(8, 10)
    assert Preprocessing.of_header(transform.header(), "x") == transform
    assert Preprocessing.of_header({}, "x") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "{}",
        '{"size": 0, "mean": [0], "std": [1]}',
        '{"size": 8, "mean": 3, "std": [1]}',
        '{"size": 8, "mean": [0, 0], "std": [1, 1]}',
        '{"size": 8, "mean": [0], "std": [0]}',
    ],
)
def test_a_broken_card_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"net\.safetensors: broken header: preprocessing"):
        Preprocessing.of_header({"preprocessing": text}, "net.safetensors")
