"""CIDEr-D (Vedantam, Zitnick and Parikh 2015)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captioning.metrics.corpus import Hypotheses, References, check
from captioning.metrics.ngrams import LONGEST, ngrams

_SIGMA = 6.0

Weights = Mapping[tuple[str, ...], float]


def cider_d(hypotheses: Hypotheses, references: References) -> float:
    """The mean over pictures of how much n-grams agree, weighted by how telling they are; 0 to 10.

    tf-idf vectors of 1-grams to 4-grams, the idf from the pictures' references; the clipped cosine
    with each reference, times exp(-d^2 / 72) for lengths that differ by d words (section 7,
    sigma = 6). Raises ValueError as `check` does.
    """
    check("cider_d", hypotheses, references)
    frequency: Counter[tuple[str, ...]] = Counter()
    for sentences in references:
        frequency.update({g for s in sentences for n in _ORDERS for g in ngrams(s, n)})
    pictures = math.log(len(references))

    def described(words: Sequence[str]) -> _Description:
        vectors = [
            {g: count * (pictures - math.log(max(1, frequency[g]))) for g, count in grams.items()}
            for grams in (ngrams(words, n) for n in _ORDERS)
        ]
        return _Description(vectors, len(words))

    scores = []
    for words, sentences in zip(hypotheses, references, strict=True):
        own = described(words)
        agreement = [own.agreement(described(sentence)) for sentence in sentences]
        scores.append(10 * sum(agreement) / len(agreement))
    return sum(scores) / len(scores)


_ORDERS = range(1, LONGEST + 1)


@dataclass(frozen=True)
class _Description:
    """tf-idf vectors of a sentence, for each order of n-grams, and its length in words."""

    vectors: Sequence[Weights]
    length: int

    def agreement(self, reference: _Description) -> float:
        pairs = zip(self.vectors, reference.vectors, strict=True)
        gap = self.length - reference.length
        return sum(_clipped_cosine(a, b) for a, b in pairs) / LONGEST * _nearness(gap)


def _nearness(gap: int) -> float:
    return math.exp(-(gap**2) / (2 * _SIGMA**2))


def _clipped_cosine(own: Weights, reference: Weights) -> float:
    norms = math.hypot(*own.values()) * math.hypot(*reference.values())
    if not norms:
        return 0.0
    product = sum(min(w, reference[g]) * reference[g] for g, w in own.items() if g in reference)
    return product / norms
