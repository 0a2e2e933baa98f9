"""What the options of a command are checked for, in the words of its flags."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any


def need_positive(options: object, *names: str) -> None:
    """Raise ValueError, naming the flag, when one of these counts is below 1; None passes."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"{flag_of(name)} is {value}; expected 1 or more")


def refuse_idle(options: Any, names: Collection[str], reason: str) -> None:
    """Raise ValueError when one of these fields of a dataclass was set, and so would do nothing.

    The message is "--flag has no meaning" and the reason.
    """
    for one in fields(options):
        if one.name in names and getattr(options, one.name) != one.default:
            raise ValueError(f"{flag_of(one.name)} has no meaning {reason}; leave it out")


def flag_of(name: str) -> str:
    """The flag of a field: --batch-size of batch_size."""
    return f"--{name.replace('_', '-')}"
