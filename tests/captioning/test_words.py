"""Words and their numbers."""

from __future__ import annotations

import pytest

from captioning.words import BEGIN, END, PAD, SPECIAL, UNKNOWN, Vocabulary, tokenize


@pytest.mark.parametrize(
    "sentence, words",
    [
        ("A dog , running .", ["a", "dog", "running"]),
        ("The dog's toy isn't here!", ["the", "dog", "'s", "toy", "is", "n't", "here"]),
        ("a man 's hat", ["a", "man", "'s", "hat"]),
        ("a tri-colored dog -- 3.5 m", ["a", "tri-colored", "dog", "3.5", "m"]),
        ("it’s U.S.A. (sunny)", ["it", "'s", "u.s.a", "sunny"]),
        ("über Café 犬", ["über", "café", "犬"]),
        (" . ?! ", []),
        ("", []),
    ],
)
def test_sentences_are_cut_as_in_the_published_evaluation(sentence: str, words: list[str]) -> None:
    assert tokenize(sentence) == words


def test_rare_words_are_unknown_and_frequent_ones_come_first() -> None:
    sentences = [["a", "dog"], ["a", "cat"], ["a", "dog", "barks"]]
    vocabulary = Vocabulary.of(sentences, min_count=2)
    assert vocabulary.words == (*SPECIAL, "a", "dog")
    assert vocabulary.encode(["a", "cat"]) == [BEGIN, 4, UNKNOWN, END]
    assert vocabulary.decode([BEGIN, 4, 5, PAD, END, 4]) == ["a", "dog"]
    assert "dog" in vocabulary and "cat" not in vocabulary and len(vocabulary) == 6


def test_vocabularies_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="begins with <pad>, <begin>, <end>, <unknown>"):
        Vocabulary(("a", "dog"))
    with pytest.raises(ValueError, match="stands twice"):
        Vocabulary((*SPECIAL, "a", "a"))
    with pytest.raises(ValueError, match="no word occurs 3 times"):
        Vocabulary.of([["a"], ["a"]], min_count=3)
