"""n-grams of a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

LONGEST = 4


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of `n` words occurs."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
