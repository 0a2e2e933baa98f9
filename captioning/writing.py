"""How a sentence is written word by word: beam search, of which greedy is width 1, and sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import core
from captioning.decoders import State, rows
from captioning.words import BEGIN, END, PAD, UNKNOWN
from core import Tensor
from core import functional as F

MAX_WORDS = 30


@dataclass(frozen=True)
class Sentence:
    """Numbers of words without BEGIN and END, and the natural logarithm of its probability."""

    words: tuple[int, ...]
    log_probability: float
    score: float
    """What it was ranked by: log_probability over (words + 1) ** length_penalty."""


class Writer(Protocol):
    """What is asked word by word: a decoder, or several views of a picture through one."""

    def look(self, features: Tensor, /) -> State: ...

    def first(self, features: Tensor, /) -> State: ...

    def step(
        self, words: Any, state: State, memory: State, /
    ) -> tuple[Tensor, State, Tensor | None]: ...


def beam_search(
    decoder: Writer,
    features: Tensor,
    *,
    width: int = 3,
    max_words: int = MAX_WORDS,
    length_penalty: float = 0.0,
) -> list[list[Sentence]]:
    """For each row of the features (N, C, h, w) up to `width` sentences, the best first.

    The `width` best beginnings are carried on; a sentence is ranked by its log-probability over
    its length (END counts) to the power `length_penalty` (Wu et al. 2016, without the constant).
    With a width of 1 the likeliest word is taken each time, whatever the penalty. UNKNOWN is never
    written. All pictures are searched at once. A sentence has at most `max_words` words, END among
    them: it is cut where it has not ended. The decoder should be in evaluation mode. Raises
    ValueError for a width or a length below 1, and for a network that holds NaN.
    """
    if width < 1 or max_words < 1:
        raise ValueError(f"beam_search: width {width}, max_words {max_words}; expected 1 or more")
    with core.no_grad():
        return _beams(decoder, features, width, max_words, length_penalty)


def _beams(
    decoder: Writer, features: Tensor, width: int, max_words: int, length_penalty: float
) -> list[list[Sentence]]:
    count = len(features)
    each = np.repeat(np.arange(count), width)
    memory, state = rows(decoder.look(features), each), rows(decoder.first(features), each)
    words = np.full((count * width, 1), BEGIN)
    # Only one of the equal beginnings may go on.
    total = np.tile(np.where(np.arange(width) == 0, 0.0, -np.inf), (count, 1))
    done: list[list[Sentence]] = [[] for _ in range(count)]
    for length in range(1, max_words + 1):
        logits, state, _ = decoder.step(words[:, -1], state, memory)
        chances = total[:, :, None] + _log_chances(logits).reshape(count, width, -1)
        if length == max_words:
            # What has no end by now is left out, unless there is nothing else.
            ends = chances[:, :, END]
            for n, several in enumerate(done):
                beams = words[n * width : (n + 1) * width, 1:]
                several += _ended(beams, ends[n], length, length_penalty)
            break
        best, total, parents, following = _continued(chances, width)
        for n, several in enumerate(done):
            for beam, chance in best[n]:
                beginning = words[n * width + beam, None, 1:]
                several += _ended(beginning, [chance], length, length_penalty)
        if width == 1:
            # Greedy: the first end is the end, however a longer sentence would rank.
            total[[bool(several) for several in done]] = -np.inf
        if all(
            _settled(d, t, width, max_words, length_penalty)
            for d, t in zip(done, total, strict=True)
        ):
            break
        taken = (np.arange(count)[:, None] * width + parents).ravel()
        words = np.concatenate([words[taken], following.reshape(-1, 1)], axis=1)
        state = rows(state, taken)
    return [sorted(d, key=lambda s: -s.score)[:width] for d in done]


def _log_chances(logits: Tensor) -> NDArray[np.float64]:
    chances = F.log_softmax(logits, 1).numpy().astype(np.float64)
    if np.isnan(chances).any():
        raise ValueError(
            "the next word has no probabilities: the network's weights, or what it is shown, hold "
            "NaN or infinity; expected numbers"
        )
    chances[:, [PAD, BEGIN, UNKNOWN]] = -np.inf
    return chances


def _continued(
    chances: NDArray[np.float64], width: int
) -> tuple[
    list[list[tuple[int, float]]], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]
]:
    """Of (N, width, V): the ends among the best, and the totals, beams and words that go on.

    An end competes with the beginnings for its place among the best `width`.
    """
    count, _, vocabulary = chances.shape
    flat = chances.reshape(count, -1)
    # As many ends as there are beams may stand before the last that goes on.
    some = min(2 * width, flat.shape[1])
    order = np.argpartition(-flat, some - 1, axis=1)[:, :some]
    ranked = np.take_along_axis(
        order, np.argsort(-np.take_along_axis(flat, order, 1), axis=1, kind="stable"), 1
    )
    values = np.take_along_axis(flat, ranked, 1)
    beams, words = np.divmod(ranked, vocabulary)
    is_end = words == END
    ends = [
        [(int(b), float(v)) for b, v, e in zip(*row, strict=True) if e and np.isfinite(v)]
        for row in zip(beams[:, :width], values[:, :width], is_end[:, :width], strict=True)
    ]
    going = np.argsort(is_end, axis=1, kind="stable")[:, :width]
    total, beams, words = (np.take_along_axis(a, going, 1) for a in (values, beams, words))
    return ends, np.where(words == END, -np.inf, total), beams, words


def _ended(
    beginnings: NDArray[np.int64], chances: Sequence[float], length: int, penalty: float
) -> list[Sentence]:
    return [
        Sentence(tuple(int(w) for w in words), float(chance), float(chance) / length**penalty)
        for words, chance in zip(beginnings, chances, strict=True)
        if np.isfinite(chance)
    ]


def _settled(
    done: Sequence[Sentence],
    total: NDArray[np.float64],
    width: int,
    max_words: int,
    penalty: float,
) -> bool:
    """Whether no beginning can end better than the worst of `width` sentences."""
    if len(done) < width:
        return False
    kept = sorted(sentence.score for sentence in done)[-width]
    # Probabilities only fall; the longest possible sentence is divided by most.
    return bool(np.max(total) / max_words**penalty <= kept)


def sample(
    decoder: Writer,
    features: Tensor,
    rng: np.random.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    max_words: int = MAX_WORDS,
) -> list[Sentence]:
    """For each row of the features one sentence, each word drawn by its probability.

    Probabilities to the power 1 / `temperature`, and only the `top_k` best words if given. Of
    `max_words` the last is END, as in `beam_search`. `log_probability` is the network's own. Raises
    ValueError for a temperature of 0 or less, `top_k` or a length below 1, and for a network that
    holds NaN.
    """
    if not temperature > 0 or (top_k is not None and top_k < 1) or max_words < 1:
        raise ValueError(
            f"sample: temperature {temperature}, top_k {top_k}, max_words {max_words}; expected "
            "more than 0, 1 or more, 1 or more"
        )
    with core.no_grad():
        memory, state = decoder.look(features), decoder.first(features)
        count = len(features)
        words, total = np.full((count, 1), BEGIN), np.zeros(count)
        for length in range(1, max_words + 1):
            logits, state, _ = decoder.step(words[:, -1], state, memory)
            chances = _log_chances(logits)
            drawn = _drawn(chances, rng, temperature, top_k)
            over = (words == END).any(axis=1)
            drawn = np.where(over | (length == max_words), END, drawn)
            total += np.where(over, 0.0, chances[np.arange(count), drawn])
            words = np.concatenate([words, drawn[:, None]], axis=1)
            if (words == END).any(axis=1).all():
                break
    return [
        Sentence(tuple(int(w) for w in row[1:] if w != END), float(chance), float(chance))
        for row, chance in zip(words, total, strict=True)
    ]


def _drawn(
    chances: NDArray[np.float64], rng: np.random.Generator, temperature: float, top_k: int | None
) -> NDArray[np.int64]:
    scaled = chances / temperature
    if top_k is not None and top_k < scaled.shape[1]:
        least = np.partition(scaled, -top_k, axis=1)[:, -top_k, None]
        scaled = np.where(scaled >= least, scaled, -np.inf)
    # The largest of values with Gumbel's noise is drawn by their softmax.
    return np.asarray((scaled + rng.gumbel(size=scaled.shape)).argmax(axis=1))
