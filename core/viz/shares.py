"""Shares of a whole as bars: which layer takes how much of the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from core.viz.figure import INK, PALETTE, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def shares(
    names: Sequence[str],
    wholes: Mapping[str, Sequence[float]],
    families: Sequence[str] = (),
    *,
    title: str = "",
) -> Figure:
    """A bar for each of `names`, from top to bottom, in one panel for each whole.

    wholes: title -> the shares (0 to 1) of all names; `families` names what each belongs to, which
    gives its colour. Book, figure 8-14. Raises ValueError when the numbers of parts differ.
    """
    for whole, values in wholes.items():
        if len(values) != len(names):
            raise ValueError(f"shares: {len(names)} names but {len(values)} values of {whole!r}")
    if len(families) not in (0, len(names)):
        raise ValueError(f"shares: {len(names)} names but {len(families)} families")
    if not wholes or not names:
        raise ValueError("shares: nothing to draw")
    groups = list(dict.fromkeys(families)) or [""]
    of = list(families) or [""] * len(names)
    figure = new_figure(2.4 + 3.2 * len(wholes), 1.1 + 0.22 * len(names))
    if title:
        figure.suptitle(title, fontsize=12, color=INK)
    panels = figure.subplots(1, len(wholes), sharey=True, squeeze=False)[0]
    for axes, (whole, values) in zip(panels, wholes.items(), strict=True):
        tidy(axes, whole, "share of the time, %")
        for number, group in enumerate(groups):
            rows = [i for i, family in enumerate(of) if family == group]
            color = PALETTE[number % len(PALETTE)]
            total = 100 * sum(values[i] for i in rows)
            label = f"{group}  {total:.0f} %" if group else None
            axes.barh(rows, [100 * values[i] for i in rows], color=color, label=label)
        axes.set_yticks(range(len(names)), names)
        axes.grid(False, axis="y")
        if families:
            axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    panels[0].invert_yaxis()
    return figure
