"""Metrics on cases computed by hand, and beside the published implementations."""

from __future__ import annotations

import math

import pytest

from captioning.metrics import bleu, cider_d, meteor, rouge_l, score
from captioning.metrics.meteor import align
from captioning.metrics.rouge import longest_common

METRICS = (bleu, cider_d, meteor, rouge_l, score)


def words(*sentences: str) -> list[list[str]]:
    return [sentence.split() for sentence in sentences]


def test_bleu_counts_a_word_as_often_as_a_reference_has_it() -> None:
    # Papineni et al. 2002, example 2: the precision is 2 / 7, not 7 / 7.
    references = [words("the cat is on the mat", "there is a cat on the mat")]
    scores = bleu(words("the the the the the the the"), references)
    assert scores == pytest.approx((2 / 7, 0, 0, 0))


def test_bleu_punishes_short_sentences_by_the_closest_length() -> None:
    references = [words("a b c d", "a b c d e f g")]
    one, two, three, four = bleu(words("a b c"), references)
    assert one == pytest.approx(math.exp(1 - 4 / 3))
    assert (two, three, four) == pytest.approx((one, one, 0))
    # Of lengths 2 and 4, as close to 3 as each other, the shorter counts.
    assert bleu(words("a b c"), [words("a b", "a b c d")])[2] == 1


def test_bleu_is_of_the_corpus_not_the_mean_of_sentences() -> None:
    # 1-grams: (2 + 1) of (2 + 4); 2-grams: (1 + 0) of (1 + 3).
    scores = bleu(words("a b", "a x y z"), [words("a b"), words("a b c d")])
    assert scores[0] == pytest.approx(3 / 6)
    assert scores[1] == pytest.approx(math.sqrt(3 / 6 * 1 / 4))
    assert bleu([[], []], [words("a"), words("b")]) == (0, 0, 0, 0)


def test_rouge_l_on_the_papers_sentences() -> None:
    # Lin 2004, section 3.1: S2 has 3 of 4 words in order, S3 2 of 4.
    reference = words("police killed the gunman")
    assert rouge_l(words("police kill the gunman"), [reference]) == pytest.approx(3 / 4)
    assert rouge_l(words("the gunman kill police"), [reference]) == pytest.approx(2 / 4)
    # P = 1, R = 1 / 2: (1 + 1.44) P R / (R + 1.44 P).
    assert rouge_l(words("a b"), [words("a b c d")]) == pytest.approx(2.44 * 0.5 / (0.5 + 1.44))
    assert rouge_l([[]], [words("a")]) == 0
    assert longest_common("abcbdab", "bdcaba") == 4


def test_meteor_matches_stems_and_counts_chunks() -> None:
    same = align(*words("the cat sat on the mat", "the cat sat on the mat"))
    assert (same.matches, same.chunks) == (6, 1)
    assert same.score() == pytest.approx(1 - 0.5 / 6**3)
    moved = align(*words("on the mat sat the cat", "the cat sat on the mat"))
    assert (moved.matches, moved.chunks) == (6, 3)
    stems = align(*words("dogs running", "the dog runs"))
    assert (stems.matches, stems.chunks, stems.reference) == (2, 1, 3)
    # P = 1, R = 2 / 3; F = 10 P R / (R + 9 P); less half of (1 / 2) cubed.
    assert stems.score() == pytest.approx(10 * 2 / 3 / (2 / 3 + 9) * (1 - 0.5 / 8))
    assert align(["a"], ["b"]).score() == 0


def test_meteor_takes_the_best_reference_and_sums_counts() -> None:
    references = [words("a b", "x y z"), words("c d")]
    # Matches 2 + 1 of 2 + 2 words, references of 2 + 2, chunks 1 + 1.
    mean = 10 * (3 / 4) ** 2 / (3 / 4 + 9 * 3 / 4)
    expected = mean * (1 - 0.5 * (2 / 3) ** 3)
    assert meteor(words("a b", "c x"), references) == pytest.approx(expected)


def test_cider_d_of_two_pictures() -> None:
    # Every n-gram is in one picture of two, so all weigh log 2. The first picture agrees in
    # 1-grams and 2-grams and has no longer ones: 10 * 2 / 4. The second in one word of two.
    assert cider_d(words("a b", "a d"), [words("a b"), words("c d")]) == pytest.approx(
        (10 * 2 / 4 + 10 * 0.5 / 4) / 2
    )
    # What both pictures say tells nothing.
    assert cider_d(words("a", "a"), [words("a"), words("a")]) == 0


def test_cider_d_punishes_other_lengths_and_repeated_words() -> None:
    once, thrice = (cider_d([h, ["x"]], [words("a b"), words("x")]) for h in words("a", "a a a"))
    # cos(a; a b) = 1 / sqrt 2 for both before lengths and clipping; the lengths differ by one.
    other = 10 / 4
    factor = math.exp(-1 / 72)
    assert once == pytest.approx((10 / 4 / math.sqrt(2) * factor + other) / 2)
    assert thrice == pytest.approx((10 / 4 / math.sqrt(2) / 3 * factor + other) / 2)


@pytest.mark.parametrize("metric", METRICS)
def test_pictures_without_a_reference_and_missing_sentences(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="1 hypotheses for 2 pictures"):
        metric(words("a"), [words("a"), words("b")])
    with pytest.raises(ValueError, match="picture 1 has no reference"):
        metric(words("a", "b"), [words("a"), []])
    with pytest.raises(ValueError, match="0 hypotheses"):
        metric([], [])


_TEXT = "a man dog runs running through the snowy park with red ball and two dogs"


def _corpus() -> tuple[list[list[str]], list[list[list[str]]]]:
    import numpy as np

    rng = np.random.default_rng(5)

    def sentence() -> list[str]:
        return [str(w) for w in rng.choice(_TEXT.split(), size=rng.integers(1, 12))]

    references = [[sentence() for _ in range(5)] for _ in range(60)]
    # A reference with some words replaced: long n-grams agree too.
    hypotheses = [
        [w if rng.random() < 0.8 else str(rng.choice(_TEXT.split())) for w in several[0]]
        for several in references
    ]
    return hypotheses, references


@pytest.mark.peer
def test_scores_are_those_of_the_published_implementation() -> None:
    pytest.importorskip("pycocoevalcap", reason="pycocoevalcap (the bench extra) is not installed")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    hypotheses, references = _corpus()
    results = {i: [" ".join(h)] for i, h in enumerate(hypotheses)}
    truths = {i: [" ".join(r) for r in several] for i, several in enumerate(references)}
    ours = score(hypotheses, references)
    theirs = Bleu(4).compute_score(truths, results, verbose=0)[0]
    assert [ours[f"BLEU-{n}"] for n in range(1, 5)] == pytest.approx(theirs, rel=1e-6)
    assert ours["ROUGE-L"] == pytest.approx(Rouge().compute_score(truths, results)[0])
    assert ours["CIDEr-D"] == pytest.approx(Cider().compute_score(truths, results)[0])


@pytest.mark.peer
def test_meteor_is_nltks_where_no_word_repeats() -> None:
    pytest.importorskip("nltk", reason="nltk (the bench extra) is not installed")
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import single_meteor_score

    class NoSynonyms:
        def synsets(self, word: str) -> list[str]:
            return []

    stemmer = PorterStemmer(mode="ORIGINAL_ALGORITHM")
    hypotheses, references = _corpus()
    pairs = [(h, r) for h, several in zip(hypotheses, references, strict=True) for r in several]
    # With a word to choose from, each program guesses in its own way.
    plain = [pair for pair in pairs if all(len({*map(stemmer.stem, s)}) == len(s) for s in pair)]
    assert len(plain) > 20
    for hypothesis, reference in plain:
        theirs = single_meteor_score(reference, hypothesis, stemmer=stemmer, wordnet=NoSynonyms())
        assert align(hypothesis, reference).score() == pytest.approx(theirs)
