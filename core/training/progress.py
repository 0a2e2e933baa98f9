"""Progress of long work: a bar on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, Self, TextIO, TypeVar

T = TypeVar("T")


class Progress:
    """The progress of a training run, on stderr (stdout stays free for results).

        with Progress(epochs=3, steps_per_epoch=100) as progress:
            progress.step({"loss": 0.7})
            progress.epoch(1, {"loss": 0.7, "accuracy": 0.8})

    On a terminal, a bar shows the figures of the last step and the remaining time; elsewhere only
    the line of each epoch is written. `done` is the number of steps that a resumed run has behind
    it. `title` stands before each line.
    """

    def __init__(
        self,
        *,
        epochs: int,
        steps_per_epoch: int,
        done: int = 0,
        title: str = "",
        stream: TextIO | None = None,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._epochs = epochs
        self._steps = epochs * steps_per_epoch
        self._first = self._done = done
        self._title = title
        self._bar: Any = None

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._steps,
                initial=self._done,
                desc=self._title or None,
                file=self._stream,
                unit="step",
                dynamic_ncols=True,
                leave=False,
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, figures: Mapping[str, float] | None = None) -> None:
        """Count one step; `figures` are shown beside the bar."""
        self._done += 1
        if self._bar is not None:
            if figures:
                self._bar.set_postfix_str(_text(figures), refresh=False)
            self._bar.update()

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """Write the line of epoch `number`, counted from 1."""
        seconds = time.perf_counter() - self._start
        line = f"epoch {number}/{self._epochs}: {_text(figures)} ({_times(seconds, self._left())})"
        self.note(f"{self._title} {line}" if self._title else line)

    def note(self, line: str) -> None:
        """Write one line of text, above the bar when there is one."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def _left(self) -> float:
        """Estimated seconds until the end."""
        taken = self._done - self._first
        if taken <= 0:
            return 0.0
        return (time.perf_counter() - self._start) / taken * max(0, self._steps - self._done)


def track(
    items: Iterable[T], title: str, *, total: int | None = None, stream: TextIO | None = None
) -> Iterator[T]:
    """Yield `items` and show how far they are: a bar on a terminal, one line at the end elsewhere.

    `total` is the number of items, len(items) by default.
    """
    stream = sys.stderr if stream is None else stream
    if total is None and isinstance(items, Sized):
        total = len(items)
    if stream.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=title, total=total, file=stream, dynamic_ncols=True)
        return
    start = time.perf_counter()
    count = 0
    for item in items:
        yield item
        count += 1
    print(f"{title}: {count} in {time.perf_counter() - start:.1f} s", file=stream, flush=True)


def _text(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _times(seconds: float, left: float) -> str:
    return f"{seconds:.0f} s" + (f", {left:.0f} s left" if left >= 0.5 else "")
