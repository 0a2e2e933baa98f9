"""ROUGE-L (Lin 2004)."""

from __future__ import annotations

from collections.abc import Sequence

from captioning.metrics.corpus import Hypotheses, References, check

_BETA = 1.2


def rouge_l(hypotheses: Hypotheses, references: References) -> float:
    """The mean over pictures of the F score of the longest common subsequence, 0 to 1.

    Precision and recall are each the best of any reference, and recall weighs beta = 1.2 times as
    much, as coco-caption has it (Chen et al. 2015, section 3.2). Raises ValueError as `check`
    does.
    """
    check("rouge_l", hypotheses, references)
    scores = [_f_score(w, s) for w, s in zip(hypotheses, references, strict=True)]
    return sum(scores) / len(scores)


def _f_score(words: Sequence[str], sentences: Sequence[Sequence[str]]) -> float:
    common = [(longest_common(words, sentence), len(sentence)) for sentence in sentences]
    precision = max(length for length, _ in common) / max(len(words), 1)
    recall = max(length / max(total, 1) for length, total in common)
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def longest_common(words: Sequence[str], others: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(others) + 1)
    for word in words:
        diagonal = 0
        for i, other in enumerate(others, 1):
            longer = diagonal + 1 if word == other else max(row[i], row[i - 1])
            diagonal, row[i] = row[i], longer
    return row[-1]
