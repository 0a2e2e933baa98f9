"""All metrics of a corpus in one table."""

from __future__ import annotations

from collections.abc import Sequence

Hypotheses = Sequence[Sequence[str]]
References = Sequence[Sequence[Sequence[str]]]


def check(name: str, hypotheses: Hypotheses, references: References) -> None:
    """Raise ValueError unless there is a hypothesis for each picture, and a reference for each."""
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"{name}: {len(hypotheses)} hypotheses for {len(references)} pictures, expected as many"
        )
    if not all(references):
        lacking = next(i for i, sentences in enumerate(references) if not sentences)
        raise ValueError(f"{name}: picture {lacking} has no reference")


def score(hypotheses: Hypotheses, references: References) -> dict[str, float]:
    """BLEU-1 to BLEU-4, ROUGE-L, METEOR and CIDEr-D, by their names.

    METEOR matches words and their stems, not synonyms or paraphrases as its later versions do.
    Raises ValueError as `check` does.
    """
    from captioning.metrics import bleu, cider_d, meteor, rouge_l

    figures = {f"BLEU-{n}": value for n, value in enumerate(bleu(hypotheses, references), 1)}
    figures["ROUGE-L"] = rouge_l(hypotheses, references)
    figures["METEOR (exact, stem)"] = meteor(hypotheses, references)
    figures["CIDEr-D"] = cider_d(hypotheses, references)
    return figures
