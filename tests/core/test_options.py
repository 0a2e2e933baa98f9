"""The checks that commands share: counts, and flags that would do nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from core.options import flag_of, need_positive, refuse_idle


@dataclass(frozen=True)
class Options:
    batch_size: int = 2
    count: int | None = None
    blend: float = 1.0


def test_counts_are_one_or_more_or_not_given() -> None:
    need_positive(Options(), "batch_size", "count")
    for options, message in (
        (Options(batch_size=0), "--batch-size is 0; expected 1 or more"),
        (Options(count=-3), "--count is -3; expected 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            need_positive(options, "batch_size", "count")


def test_only_what_was_set_is_refused() -> None:
    refuse_idle(Options(count=3), ("blend", "batch_size"), "with --mask")
    with pytest.raises(ValueError, match="--blend has no meaning with --mask; leave it out"):
        refuse_idle(Options(blend=2.0), ("blend", "batch_size"), "with --mask")
    assert flag_of("batch_size") == "--batch-size"
