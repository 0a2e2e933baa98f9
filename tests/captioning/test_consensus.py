"""Agreement of sentences, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from captioning.captioner import Decoding, load_captioner
from captioning.consensus import agreement

SENTENCES = [["a", "cat"], ["a", "dog"], ["a", "dog", "runs"]]


def test_agreement_by_hand() -> None:
    # N-grams: 3, 3 and 6; in common: 1 (a) of the first two, 1 of first and last, 3 of the others.
    found = agreement(SENTENCES, np.log([0.5, 0.25, 0.25]).tolist(), 1.0)
    first = 0.5 + 0.25 * 2 / 6 + 0.25 * 2 / 9
    second = 0.5 * 2 / 6 + 0.25 + 0.25 * 6 / 9
    third = 0.5 * 2 / 9 + 0.25 * 6 / 9 + 0.25
    np.testing.assert_allclose(found, [first, second, third], rtol=1e-12)
    # Asked alike, the two dogs agree.
    assert agreement(SENTENCES, np.log([0.5, 0.25, 0.25]).tolist(), 1e6).argmax() == 1


def test_a_sentence_without_words_agrees_with_its_like_alone() -> None:
    np.testing.assert_allclose(agreement([[], ["a"]], [0.0, 0.0], 1.0), [0.5, 0.5])


def test_tiny_probabilities_do_not_vanish() -> None:
    likely = agreement(SENTENCES, [-1e4, -1e4, -2e4], 1.0)
    assert np.isfinite(likely).all()
    assert likely[0] == pytest.approx(0.5 + 0.5 / 3)


def test_a_captioner_reorders_its_beam() -> None:
    captioner = load_captioner("scenes")
    size = captioner.net.eyes.size
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, size, size), np.uint8)
    beam = captioner.write(pictures, Decoding(beam=6))
    agreed = captioner.write(pictures, Decoding(beam=6, consensus=6.0))
    for before, after in zip(beam, agreed, strict=True):
        assert {one.words for one in before} == {one.words for one in after}
        scores = agreement([o.words for o in after], [o.log_probability for o in after], 6.0)
        assert (np.diff(scores) <= 1e-12).all()


@pytest.mark.parametrize(
    "given",
    [
        {"consensus": 0.0},
        {"consensus": 1e-320},
        {"consensus": 2.0, "temperature": 1.0},
        {"consensus": 2.0, "beam": 1},
    ],
)
def test_a_consensus_needs_a_positive_number_and_a_beam(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="--consensus is"):
        Decoding(**given)  # type: ignore[arg-type]
