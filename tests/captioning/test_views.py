"""Several views of a picture: what is averaged, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import core
from captioning.captioner import Captioner, Decoding
from captioning.decoders import build
from captioning.views import ManyViews, views_of
from captioning.words import BEGIN, Vocabulary
from captioning.writing import beam_search
from core import Tensor
from core import functional as F


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, 3, 64, 64)).astype(np.uint8)


def test_the_first_view_is_the_picture_and_the_others_are_near_it(pictures: np.ndarray) -> None:
    smooth = np.linspace(0, 255, 64, dtype=np.uint8) * np.ones((3, 3, 64, 1), np.uint8)
    views = views_of(smooth, 4)
    assert views.shape == (3, 4, 3, 64, 64) and views.dtype == np.uint8
    np.testing.assert_array_equal(views[:, 0], smooth)
    for view in range(1, 4):
        middle = views[:, view, :, 16:48, 16:48].astype(float)
        gap = np.abs(middle - smooth[..., 16:48, 16:48]).mean()
        assert 1 < gap < 80
    # Whatever other pictures there are.
    np.testing.assert_array_equal(views_of(pictures, 3)[1], views_of(pictures[1:2], 3)[0])


@pytest.mark.parametrize(
    "name, options", [("nic", {}), ("attention", {"attend": "after"}), ("attention", {})]
)
def test_probabilities_are_the_mean_of_those_of_each_view(
    name: str, options: dict[str, str]
) -> None:
    core.seed(0)
    decoder = build(name, 20, channels=6, width=8, **options).eval()
    features = Tensor(np.random.default_rng(0).standard_normal((2, 3, 6, 3, 4), np.float32))
    many = ManyViews(decoder)
    words = [np.full(2, BEGIN), np.array([5, 9])]
    with core.no_grad():
        memory, state = many.look(features), many.first(features)
        for read in words:
            logits, state, _ = many.step(read, state, memory)
        single = []
        for view in range(3):
            seen = features[:, view]
            memory, own = decoder.look(seen), decoder.first(seen)
            for read in words:
                one, own, _ = decoder.step(read, own, memory)
            single.append(F.softmax(one, 1).numpy())
    np.testing.assert_allclose(np.exp(logits.numpy()), np.mean(single, axis=0), rtol=1e-4)


def test_alike_views_write_what_one_would() -> None:
    core.seed(1)
    decoder = build("attention", 20, channels=6, width=8).eval()
    features = Tensor(np.random.default_rng(1).standard_normal((4, 1, 6, 3, 4), np.float32))
    same = Tensor(np.repeat(features.numpy(), 3, axis=1))
    plain = beam_search(decoder, features[:, 0], width=3, max_words=6)
    many = beam_search(ManyViews(decoder), same, width=3, max_words=6)
    for one, other in zip(plain, many, strict=True):
        assert [s.words for s in one] == [s.words for s in other]
        for a, b in zip(one, other, strict=True):
            assert a.log_probability == pytest.approx(b.log_probability, abs=1e-4)


def test_a_captioner_looks_again_at_pictures_only(pictures: np.ndarray) -> None:
    core.seed(0)
    captioner = Captioner.new(
        "attention",
        Vocabulary.of([["a", "red", "three"]], 1),
        "small",
        options={"width": 8},
        encoder_options={"width": 4, "size": 64},
        frozen=False,
        pretrained=False,
    )
    plain, many, again = (
        captioner.write(part, Decoding(views=views))
        for part, views in ((pictures, 1), (pictures, 5), (pictures[1:], 5))
    )
    chances = [[several[0].log_probability for several in found] for found in (plain, many, again)]
    assert len(many) == 3 and chances[0] != chances[1]
    assert chances[1][1:] == pytest.approx(chances[2], abs=1e-5)
    with pytest.raises(ValueError, match="--views is 2: the features of small are computed once"):
        captioner.write(np.zeros((1, 16, 4, 4), np.float16), Decoding(views=2))
    for views in (0, 51):
        with pytest.raises(ValueError, match=f"--views is {views}; expected 1 to 50"):
            Decoding(views=views)
