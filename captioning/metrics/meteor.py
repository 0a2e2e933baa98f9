"""METEOR with exact and stem matches (Banerjee and Lavie 2005)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from captioning.metrics.corpus import Hypotheses, References, check


@dataclass(frozen=True)
class Alignment:
    """Words of a hypothesis matched with words of one reference, in `chunks` runs."""

    matches: int
    chunks: int
    hypothesis: int
    reference: int

    def score(self) -> float:
        """F mean with recall nine times as heavy, less up to half for scattered matches."""
        if not self.matches:
            return 0.0
        precision, recall = self.matches / self.hypothesis, self.matches / self.reference
        mean = 10 * precision * recall / (recall + 9 * precision)
        return mean * (1 - 0.5 * (self.chunks / self.matches) ** 3)

    def __add__(self, other: Alignment) -> Alignment:
        return Alignment(
            self.matches + other.matches,
            self.chunks + other.chunks,
            self.hypothesis + other.hypothesis,
            self.reference + other.reference,
        )


def meteor(hypotheses: Hypotheses, references: References) -> float:
    """METEOR of a corpus, 0 to 1, from the counts of all pictures' best references (section 2.2).

    Words match, then stems (Porter's); synonyms and paraphrases do not, and the parameters are
    those of 2005: figures of later versions are not comparable. Raises ValueError as `check` does.
    """
    check("meteor", hypotheses, references)
    total = Alignment(0, 0, 0, 0)
    for words, sentences in zip(hypotheses, references, strict=True):
        total += max((align(words, s) for s in sentences), key=Alignment.score)
    return total.score()


def align(hypothesis: Sequence[str], reference: Sequence[str]) -> Alignment:
    """Match each word with at most one, first equal words, then equal stems.

    Where a word has a choice it takes the place that carries on the run before it, else the one
    nearest to its own: a close guess at the alignment with the fewest crossings.
    """
    places: dict[int, int] = {}
    stems = [_stem(word) for word in hypothesis], [_stem(word) for word in reference]
    for own, others in ((hypothesis, reference), stems):
        free = set(range(len(others))) - set(places.values())
        for i, word in enumerate(own):
            if i in places:
                continue
            options = [j for j in free if others[j] == word]
            if options:
                follows = places.get(i - 1, -2) + 1
                places[i] = min(options, key=lambda j: (j != follows, abs(j - i), j))
                free.remove(places[i])
    chunks = sum(places.get(i - 1, -2) + 1 != j for i, j in places.items())
    return Alignment(len(places), chunks, len(hypothesis), len(reference))


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    stem: str = _stemmer().stemWord(word)
    return stem


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("porter")
