"""Words: how a sentence is cut into them, and the numbers that a network knows them by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

# The places of the four words that no sentence holds.
PAD, BEGIN, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<begin>", "<end>", "<unknown>")

_ENDING = re.compile(r"(n't|'(?:s|re|ve|ll|d|m))\b")
_PAIR = re.compile(r"\b(?:can(?=not\b)|(?:gon|wan)(?=na\b)|got(?=ta\b)|(?:lem|gim)(?=me\b))")
_WORD = re.compile(
    r"""
    '(?:s|re|ve|ll|d|m|em)\b | 'n\b'?        # endings, rock 'n' roll
    | (?<![^\W_]) (?:                        # what keeps its full stop:
        (?!i\.(?!\w))(?:[^\W\d_]\.)+         #   letters, u.s.a., but not I at the end
        | (?:mrs?|ms|dr|prof|sgt|lt|capt|col|gen|[js]r|st|ave|dept|co|inc|ltd|vs|etc)\.
        | no\.(?=\s*\d)
      ) (?![^\W_])
    | [^\W_]+(?:(?:[-.'/]|(?<=\d)[,:](?=\d))[^\W_]+)*
    | [&$%#]
    """,
    re.VERBOSE,
)


def tokenize(sentence: str) -> list[str]:
    """The words of a sentence in lower case, without punctuation.

    As the published evaluation does it (coco-caption: the Penn Treebank's rules, then marks are
    dropped): "The dog's toy, isn't it?" is the dog 's toy is n't it. Hyphenated words are one word,
    as are 1,000 and u.s.a.; cannot and gonna are two. `docs/captioning.md` says what differs.
    """
    text = _ENDING.sub(r" \1", sentence.lower().replace("’", "'"))
    return _WORD.findall(_PAIR.sub(r"\g<0> ", text))


@dataclass(frozen=True)
class Vocabulary:
    """The words that a network reads and writes; their places are their numbers.

    The first four are PAD, BEGIN, END and UNKNOWN. Raises ValueError for another beginning and for
    a word that stands twice.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise ValueError(f"a vocabulary begins with {', '.join(SPECIAL)}")
        if len(set(self.words)) < len(self.words):
            raise ValueError("a word stands twice in the vocabulary")

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """The words that occur at least `min_count` times, the most frequent first.

        Raises ValueError when none does.
        """
        counts = Counter(word for sentence in sentences for word in sentence)
        kept = sorted((word for word in counts if counts[word] >= min_count), key=str)
        if not kept:
            raise ValueError(f"no word occurs {min_count} times")
        return cls((*SPECIAL, *sorted(kept, key=lambda word: -counts[word])))

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def __contains__(self, word: str) -> bool:
        return word in self._numbers

    def encode(self, words: Iterable[str]) -> list[int]:
        """The numbers of words, between BEGIN and END; UNKNOWN for a word that is not known."""
        return [BEGIN, *(self._numbers.get(word, UNKNOWN) for word in words), END]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The words of numbers up to END, without BEGIN and PAD."""
        words = []
        for number in numbers:
            if number == END:
                break
            if number not in (PAD, BEGIN):
                words.append(self.words[number])
        return words
