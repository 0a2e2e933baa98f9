"""Whether a sentence about an embedded scene is true: read it back, and compare."""

from __future__ import annotations

from collections.abc import Sequence

from core.data.scenes.text import INVERSE, Description, parse_sentence


def right_parts(sentence: str, facts: Description) -> dict[str, bool]:
    """Which of objects, colours and relation a sentence says right of a scene of one or two things.

    The sentence may begin with either digit; it is compared in the order that suits it better. One
    that follows no template, or speaks of another number of digits, has nothing right.
    """
    said = parse_sentence(sentence)
    if said is None or (said.other is None) != (facts.other is None):
        return {"objects": False, "colours": False, "relation": False}
    if facts.relation is None or facts.other is None:
        return _compared(said, facts)
    turned = Description(facts.other, INVERSE[facts.relation], facts.subject)
    options = [_compared(said, facts), _compared(said, turned)]
    return max(options, key=lambda parts: (all(parts.values()), sum(parts.values())))


def _compared(said: Description, true: Description) -> dict[str, bool]:
    pairs = [(said.subject, true.subject)]
    if said.other is not None and true.other is not None:
        pairs.append((said.other, true.other))
    return {
        "objects": all(a.digit == b.digit for a, b in pairs),
        "colours": all(a.colour == b.colour for a, b in pairs),
        "relation": said.relation == true.relation,
    }


def shares(sentences: Sequence[str], facts: Sequence[Description]) -> dict[str, float]:
    """The share of sentences whose objects, colours, relation, and all of them, are right."""
    found = [right_parts(*pair) for pair in zip(sentences, facts, strict=True)]
    result = {
        f"{part}_right": sum(parts[part] for parts in found) / len(found)
        for part in ("objects", "colours", "relation")
    }
    result["all_right"] = sum(all(parts.values()) for parts in found) / len(found)
    return result
