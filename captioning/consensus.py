"""The sentence that the others of a beam agree with most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Grams = Counter[tuple[str, ...]]

_LONGEST = 4  # words side by side, as in BLEU-4


def agreement(
    sentences: Sequence[Sequence[str]], log_probabilities: Sequence[float], temperature: float
) -> NDArray[np.float64]:
    """How much each sentence has in common with all of them: its mean likeness to them, 0 to 1.

    The likeness is the F1 score of the n-grams of one to four words; a sentence counts by its
    probability to the power 1 / temperature. The best is that of least expected loss (Kumar and
    Byrne 2004, "Minimum Bayes-risk decoding"; for captions Devlin et al. 2015, "consensus").
    """
    grams = [_grams(words) for words in sentences]
    scores = np.array(log_probabilities) / temperature
    weights = np.exp(scores - scores.max())
    alike = np.array([[_likeness(one, other) for other in grams] for one in grams])
    return alike @ (weights / weights.sum())


def _grams(words: Sequence[str]) -> Grams:
    return Counter(
        tuple(words[start : start + length])
        for length in range(1, _LONGEST + 1)
        for start in range(len(words) - length + 1)
    )


def _likeness(one: Grams, other: Grams) -> float:
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0
