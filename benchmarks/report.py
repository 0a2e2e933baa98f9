"""The table of steps: as text while it grows, as JSON and Markdown when it is saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Timing
from benchmarks.sides import OURS, PEER, PEER_LAST, REFERENCE
from benchmarks.steps import Step

HEAD = (
    "step",
    "batch",
    "openbook, ms",
    "PyTorch, ms",
    "ratio",
    "goal",
    "openbook, MB",
    "PyTorch, MB",
    "openbook, GFLOP/s (of peak)",
    "PyTorch, GFLOP/s (of peak)",
    "reference, ms",
)


@dataclass
class Row:
    """A step with what its sides showed, or with the reason why there is nothing to show."""

    step: Step
    timings: Mapping[str, Timing] = field(default_factory=dict)
    problem: str = ""
    gflop: float | None = None

    @property
    def peer(self) -> str:
        """PyTorch's faster memory layout."""
        return min((PEER, PEER_LAST), key=lambda side: self.timings[side].ms)

    @property
    def ratio(self) -> float:
        """Our time over PyTorch's better one."""
        return self.timings[OURS].ms / self.timings[self.peer].ms

    def speed(self, side: str) -> float | None:
        """GFLOP/s, by the count of the direct algorithm."""
        return None if self.gflop is None else 1e3 * self.gflop / self.timings[side].ms


@dataclass
class Report:
    """All rows, and what they were measured on."""

    conditions: Mapping[str, Any]
    peak: float | None = None
    """GFLOP/s of this machine's matrix products."""

    rows: list[Row] = field(default_factory=list)

    def cells(self, row: Row) -> list[str]:
        """A row of the table; see HEAD."""
        step = row.step
        if row.problem:
            return [step.title, step.size, row.problem, *[""] * (len(HEAD) - 3)]
        ours, peer = row.timings[OURS], row.timings[row.peer]
        reference = row.timings.get(REFERENCE)
        return [
            step.title,
            step.size,
            short(ours.ms),
            short(peer.ms) + (" (channels-last)" if row.peer == PEER_LAST else ""),
            f"{row.ratio:.2f}",
            f"<= {step.goal}",
            short(ours.peak_mb),
            short(peer.peak_mb),
            self._share(row.speed(OURS)),
            self._share(row.speed(row.peer)),
            short(reference.ms) if reference else "",
        ]

    def _share(self, speed: float | None) -> str:
        if speed is None or self.peak is None:
            return ""
        return f"{speed:.0f} ({100 * speed / self.peak:.0f} %)"

    def markdown(self) -> str:
        """The table, with a line about the conditions before it and one about the figures."""
        lines = [", ".join(f"{name} {value}" for name, value in self.conditions.items()) + "."]
        if self.peak is not None:
            lines[0] += f" Matrix products reach {self.peak:.0f} GFLOP/s."
        lines += ["", markdown_line(HEAD), markdown_line(["---"] * len(HEAD))]
        lines += [markdown_line(self.cells(row)) for row in self.rows]
        lines += ["", NOTE, ""]
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """Everything that was measured, in `core.io.files.plain`'s types."""
        return {
            "conditions": dict(self.conditions),
            "peak_gflops": self.peak,
            "steps": {row.step.name: _details(row) for row in self.rows},
        }

    def save(self, folder: Path) -> None:
        """Write steps.json and steps.md."""
        from core.io.files import write_json, write_text

        write_json(folder / "steps.json", self.json())
        write_text(folder / "steps.md", self.markdown())


NOTE = (
    "A time is the median of the rounds' medians, PyTorch's that of its faster memory layout; MB "
    "is resident memory at its peak above what it was before the first step; GFLOP/s counts the "
    "direct algorithm, whichever is used."
)


def _details(row: Row) -> dict[str, Any]:
    step = row.step
    details = {"title": step.title, "size": step.size, "goal": step.goal, "gflop": row.gflop}
    if row.problem:
        return details | {"problem": row.problem}
    sides = {
        side: {
            "ms": timing.ms,
            "rounds_ms": timing.rounds,
            "peak_mb": timing.peak_mb,
            "gflops": row.speed(side),
            "first_results": timing.results,
        }
        for side, timing in row.timings.items()
    }
    return details | {"ratio": row.ratio, "peer": row.peer, "sides": sides}


def markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def short(value: float | None) -> str:
    """Three digits, or as many as stand before the point; nothing for nothing."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
