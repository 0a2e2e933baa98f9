"""Words and their numbers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from captioning.words import BEGIN, END, PAD, SPECIAL, UNKNOWN, Vocabulary, tokenize


@pytest.mark.parametrize(
    "sentence, words",
    [
        ("A dog , running .", ["a", "dog", "running"]),
        ("The dog's toy isn't here!", ["the", "dog", "'s", "toy", "is", "n't", "here"]),
        ("a man 's hat", ["a", "man", "'s", "hat"]),
        ("a tri-colored dog -- 3.5 m", ["a", "tri-colored", "dog", "3.5", "m"]),
        ("it’s U.S.A. (sunny)", ["it", "'s", "u.s.a.", "sunny"]),
        ("Mr. X met Dr. Y, etc.", ["mr.", "x", "met", "dr.", "y", "etc."]),
        ("1,000 men at 5:30, 12, 3.", ["1,000", "men", "at", "5:30", "12", "3"]),
        (
            "a 1/2 cup and/or $5 & 20% #7",
            ["a", "1/2", "cup", "and/or", "$", "5", "&", "20", "%", "#", "7"],
        ),
        ("I cannot. Gonna wanna gotta", ["i", "can", "not", "gon", "na", "wan", "na", "got", "ta"]),
        ("a canning gonnard", ["a", "canning", "gonnard"]),
        ("slip 'n' slide and I.", ["slip", "'n'", "slide", "and", "i"]),
        ("under_score a@b.com [x] = + *", ["under", "score", "a", "b.com", "x"]),
        ("über Café 犬", ["über", "café", "犬"]),
        (" . ?! ", []),
        ("", []),
    ],
)
def test_sentences_are_cut_as_in_the_published_evaluation(sentence: str, words: list[str]) -> None:
    assert tokenize(sentence) == words


def published(sentences: Sequence[str]) -> list[list[str]]:
    """What coco-caption makes of sentences: Stanford's tokenizer, without its punctuation."""
    tokenizer = pytest.importorskip(
        "pycocoevalcap.tokenizer.ptbtokenizer",
        reason="pycocoevalcap (the bench extra) is not installed",
    )
    if shutil.which("java") is None:
        pytest.skip("no Java, which the published tokenizer runs on")
    jar = Path(tokenizer.__file__).with_name(tokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    done = subprocess.run(
        [*command, "-preserveLines", "-lowerCase"],
        input="\n".join(sentences),
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        [word for word in line.split() if word not in tokenizer.PUNCTUATIONS]
        for line in done.stdout.splitlines()
    ]


@pytest.mark.peer
def test_words_are_those_of_the_published_tokenizer() -> None:
    sentences = """
        A little girl in a pink dress , climbing up a set of stairs .
        The dog's toy isn't here, they're sure; we've seen it: he'd say it won't!
        The dogs' bowls and James's well-known 10-year-old t-shirt - really -- yes.
        1,000 men at 5:30 saw 3.5 miles, 1,000,000 dogs. 10:45:30 is 12,345.5
        A 1/2 cup of red/blue and/or $5.50 for 20% # 7 & 50 % of the #8 jersey at at&t
        I cannot go, I'm gonna, wanna, gotta: gimme and lemme. CANNOT Gonna.
        The U.S.A. and the u.s.a. won in L.A. at 5 a.m., e.g. in Washington D.C.
        The S.C.U.B.A. diver watches t.v. on a TV. The letter " P. "
        Mr. and Mrs. Smith met Dr. Jones, Jr. on Main St. vs. Sgt. Pepper, etc.
        a slip 'n' slide and rock 'n roll, 'em too
        No. 5 is here and he said no.
        "quoted" 'single quote' what is this ...
        """.strip().splitlines()
    sentences = [sentence.strip() for sentence in sentences]
    for sentence, words in zip(sentences, published(sentences), strict=True):
        assert tokenize(sentence) == words
        assert tokenize(" ".join(words)) == words


@pytest.mark.peer
@pytest.mark.data
def test_words_of_flickr8k_are_those_of_the_published_tokenizer(data_root: Path) -> None:
    file = data_root / "flickr8k" / "Flickr8k_text" / "Flickr8k.token.txt"
    if not file.is_file():
        pytest.skip(f"no {file}")
    lines = file.read_text("utf-8").splitlines()
    sentences = [line.split("\t")[1] for line in lines if line.isascii()]
    pairs = zip(sentences, published(sentences), strict=True)
    others = [sentence for sentence, words in pairs if tokenize(sentence) != words]
    # Brackets are words there, and so is the mark in "RIF=ding".
    assert len(others) == 7
    assert all("(" in sentence or "=" in sentence for sentence in others)


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
