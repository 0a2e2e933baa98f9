"""Beam search against all sentences there are, and sampling against the probabilities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import core
from captioning.decoders import NIC, Decoder, build
from captioning.words import BEGIN, END, UNKNOWN
from captioning.writing import Sentence, beam_search, sample
from core import Tensor
from core import functional as F

FREE = (4, 5, 6)
LONGEST = 4


def decoder(model: str = "nic", seed: int = 0) -> Decoder:
    core.seed(seed)
    net = build(model, 7, channels=3, width=5)
    # Small networks are sure of nothing: let words depend on what came before.
    net.scores.weight.copy_(40 * net.scores.weight.numpy())
    net.eval()
    return net


def pictures(count: int, seed: int = 1) -> Tensor:
    rng = np.random.default_rng(seed)
    return Tensor(rng.standard_normal((count, 3, 2, 2), np.float32))


def log_probability(net: Decoder, features: Tensor, words: tuple[int, ...]) -> float:
    """Of a whole sentence with its end, from the network's forward pass."""
    with core.no_grad():
        logits = net(features, np.array([[BEGIN, *words]])).logits
        chances = F.log_softmax(logits, 2).numpy()[0].astype(np.float64)
    return float(sum(chances[t, word] for t, word in enumerate([*words, END])))


def all_sentences(net: Decoder, features: Tensor) -> dict[tuple[int, ...], float]:
    return {
        words: log_probability(net, features, words)
        for length in range(LONGEST)
        for words in itertools.product(FREE, repeat=length)
    }


@pytest.mark.parametrize("model", ["nic", "attention"])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_sentences(model: str, penalty: float) -> None:
    net, features = decoder(model), pictures(3)
    found = beam_search(net, features, width=27, max_words=LONGEST, length_penalty=penalty)
    for n, sentences in enumerate(found):
        every = all_sentences(net, features[n : n + 1])
        ranked = sorted(every, key=lambda w: -every[w] / (len(w) + 1) ** penalty)
        assert [one.words for one in sentences[:5]] == ranked[:5]
        for one in sentences[:5]:
            assert one.log_probability == pytest.approx(every[one.words], abs=1e-4)
            score = one.log_probability / (len(one.words) + 1) ** penalty
            assert one.score == pytest.approx(score)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 3.0])
def test_a_beam_of_one_takes_the_likeliest_word_each_time(penalty: float) -> None:
    net, features = decoder(seed=6), pictures(12)
    ended = 0
    several = beam_search(net, features, width=1, max_words=6, length_penalty=penalty)
    for n, (found,) in enumerate(several):
        words: list[int] = []
        while len(words) < 5:
            with core.no_grad():
                logits = net(features[n : n + 1], np.array([[BEGIN, *words]])).logits
            scores = logits.numpy()[0, -1]
            scores[[0, BEGIN, UNKNOWN]] = -np.inf
            if scores.argmax() == END:
                ended += 1
                break
            words.append(int(scores.argmax()))
        assert found.words == tuple(words)
    # Some end early, where a longer sentence could rank higher; some are cut.
    assert 0 < ended < 12


def test_a_wider_beam_is_never_less_likely_and_batches_change_nothing() -> None:
    net, features = decoder(seed=4), pictures(6)
    narrow, wide = (beam_search(net, features, width=width, max_words=8) for width in (1, 5))
    for one, several in zip(narrow, wide, strict=True):
        assert several[0].log_probability >= one[0].log_probability - 1e-6
        assert len(several) == 5
        assert len({s.words for s in several}) == 5
    alone = [beam_search(net, features[n : n + 1], width=5, max_words=8)[0] for n in range(6)]
    assert [[s.words for s in several] for several in alone] == [
        [s.words for s in several] for several in wide
    ]


def test_a_sentence_without_an_end_is_cut_at_the_most_words() -> None:
    net = decoder()
    assert net.scores.bias is not None
    net.scores.bias.copy_(np.array([0, 0, -1000, 0, 0, 0, 0], np.float32))
    for longest in (1, 3):
        for found, *_ in beam_search(net, pictures(2), width=2, max_words=longest):
            assert len(found.words) == longest - 1
            assert found.log_probability < -900
        for drawn in sample(net, pictures(2), np.random.default_rng(0), max_words=longest):
            assert len(drawn.words) == longest - 1
            assert drawn.log_probability < -900


def test_words_are_drawn_by_their_probability() -> None:
    net, features = decoder(seed=2), pictures(1)
    many = Tensor(np.repeat(features.numpy(), 4000, axis=0))
    drawn = sample(net, many, np.random.default_rng(0), max_words=2)
    with core.no_grad():
        logits = net(features, np.array([[BEGIN]])).logits.numpy()[0, 0].astype(np.float64)
    allowed = [END, *FREE]
    chances = np.exp(logits[allowed] - logits[allowed].max())
    chances /= chances.sum()
    firsts = [one.words[0] if one.words else END for one in drawn]
    shares = [firsts.count(word) / len(firsts) for word in allowed]
    np.testing.assert_allclose(shares, chances, atol=0.03)


def test_a_low_temperature_and_one_word_to_choose_from_are_greedy() -> None:
    net, features = decoder(seed=3), pictures(5)
    greedy = [found[0].words for found in beam_search(net, features, width=1, max_words=6)]
    for settings in ({"temperature": 1e-3}, {"top_k": 1}):
        rng = np.random.default_rng(1)
        drawn = [one.words for one in sample(net, features, rng, max_words=6, **settings)]
        assert drawn == greedy


def test_settings_out_of_range() -> None:
    net, features = decoder(), pictures(1)
    with pytest.raises(ValueError, match="width 0"):
        beam_search(net, features, width=0)
    with pytest.raises(ValueError, match="temperature 0"):
        sample(net, features, np.random.default_rng(0), temperature=0)
    with pytest.raises(ValueError, match="max_words 0"):
        sample(net, features, np.random.default_rng(0), max_words=0)
    assert isinstance(net, NIC)
    assert Sentence((4,), -1.0, -1.0).words == (4,)
