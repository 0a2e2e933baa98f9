"""BLEU (Papineni et al. 2002)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from captioning.metrics.corpus import Hypotheses, References, check
from captioning.metrics.ngrams import LONGEST, ngrams


def bleu(hypotheses: Hypotheses, references: References) -> tuple[float, float, float, float]:
    """BLEU-1 to BLEU-4 of a corpus, 0 to 1, not smoothed.

    BLEU-n is the geometric mean of the clipped precisions of 1-grams to n-grams over the whole
    corpus, times exp(1 - r / c) where the hypotheses' length c is below r, the sum of the closest
    references' lengths; of two that are as close, the shorter (section 2.3). Raises ValueError
    as `check` does.
    """
    check("bleu", hypotheses, references)
    length = closest = 0
    matched, found = [0] * LONGEST, [0] * LONGEST
    for words, sentences in zip(hypotheses, references, strict=True):
        length += len(words)
        closest += min((abs(len(s) - len(words)), len(s)) for s in sentences)[1]
        for n in range(LONGEST):
            own = ngrams(words, n + 1)
            found[n] += own.total()
            matched[n] += (own & _most(sentences, n + 1)).total()
    penalty = 1.0 if length >= closest else math.exp(1 - closest / max(length, 1))
    scores, logarithm = [], 0.0
    for n in range(LONGEST):
        logarithm += math.log(matched[n] / found[n]) if matched[n] else -math.inf
        scores.append(penalty * math.exp(logarithm / (n + 1)))
    return scores[0], scores[1], scores[2], scores[3]


def _most(sentences: Sequence[Sequence[str]], n: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram may be matched: as often as in the reference that has it most."""
    most: Counter[tuple[str, ...]] = Counter()
    for sentence in sentences:
        most |= ngrams(sentence, n)
    return most
