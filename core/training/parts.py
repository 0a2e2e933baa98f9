"""Runs of many short trainings: each is a line of the metrics, and is not done twice."""

from __future__ import annotations

from collections.abc import Iterator

from core.training import checkpoint
from core.training.run import LAST, Run


def finished_parts(run: Run) -> int:
    """How many parts the run to resume has behind it.

    Raises ValueError when its checkpoint is of another kind of run.
    """
    done = checkpoint.load(run.path(LAST)).get("parts")
    if not isinstance(done, int):
        raise ValueError(f"{run.path(LAST)}: cannot continue from it: it is of one training")
    run.rewind(done)
    return done


def parts(run: Run, done: int, count: int) -> Iterator[int]:
    """The numbers of the parts that are left, done + 1 to count.

    The body of the loop logs the part; a run that is killed before its end repeats it.
    """
    for number in range(done + 1, count + 1):
        yield number
        checkpoint.save(run.path(LAST), {"parts": number})
