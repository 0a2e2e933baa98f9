"""The sentence that the others of a beam agree with most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LONGEST = 4  # words side by side, as in BLEU-4


def agreement(
    sentences: Sequence[Sequence[str]], log_probabilities: Sequence[float], temperature: float
) -> NDArray[np.float64]:
    """How much each of n sentences has in common with all of them, (n,): a mean from 0 to 1.

    The likeness is the F1 score of the n-grams of one to four words; a sentence counts by its
    probability to the power 1 / temperature. The best is that of least expected loss (Kumar and
    Byrne 2004, "Minimum Bayes-risk decoding"; for captions Devlin et al. 2015, "consensus").
    """
    counts = _counts(sentences)
    lengths = counts.sum(axis=1)
    scores = np.array(log_probabilities) / temperature
    weights = np.exp(scores - scores.max())
    common = np.array([np.minimum(one, counts).sum(axis=1) for one in counts])
    total = lengths[:, None] + lengths
    # Two sentences without a word are alike.
    alike = np.where(total > 0, 2 * common / np.maximum(total, 1), 1)
    return alike @ (weights / weights.sum())


def _counts(sentences: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """(n, G): how often each sentence has each n-gram of any of them."""
    grams = [
        Counter(
            tuple(words[start : start + length])
            for length in range(1, _LONGEST + 1)
            for start in range(len(words) - length + 1)
        )
        for words in sentences
    ]
    known = sorted(set().union(*grams))
    return np.array([[one[gram] for gram in known] for one in grams], np.int64)
