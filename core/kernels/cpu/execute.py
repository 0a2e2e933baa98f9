"""Plans carried out: flat arrays to kernels, chunks to threads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.device import Array
from core.kernels.cpu import direct, winograd
from core.kernels.cpu import plan as plans
from core.kernels.cpu.cut import Plan, Round
from core.kernels.cpu.pack import weight_points
from core.kernels.threads import run, scratch


def run_forward(
    plan: Plan, x: np.ndarray, packed: Sequence[np.ndarray], bias: Array | None, y: np.ndarray
) -> None:
    """One convolution for each packed weight: they are the groups'."""
    g, chunks = plan.geometry, len(plan.chunks)
    start = np.zeros((len(packed), plan.panels * plan.tile.panel), np.float32)
    if bias is not None:
        start[:, : g.filters] = bias.reshape(len(packed), -1)
    if plan.winograd:
        _winograd(plan, x, packed[0], start[0], y)
        return
    kernel = direct.forward_kernel(*plan.tile)

    def task(i: int) -> None:
        group, chunk = i // chunks, plan.chunks[i % chunks]
        block = scratch("block", plan.scratch)
        kernel(x, packed[group], start[group], y, block, plans.of_group(g, group), *chunk)

    run(task, len(packed) * chunks)


def _winograd(
    plan: Plan, x: np.ndarray, packed: np.ndarray, start: np.ndarray, y: np.ndarray
) -> None:
    """Round after round of filters, so that not all of their points are in memory together."""
    for each in plan.rounds:
        points = weight_points(packed, plan, each.panel0, each.panel1)
        _round(plan, each, x, points, start[each.panel0 * plan.tile.panel :], y)


def _round(
    plan: Plan, each: Round, x: np.ndarray, points: np.ndarray, start: np.ndarray, y: np.ndarray
) -> None:
    """The convolution with the filters of one round."""
    g, panel = plan.winograd, plan.tile.panel
    assert g is not None
    kernel, first = winograd.forward_kernel(g.side, *plan.tile), each.panel0 * panel
    filters = min(g.filters, each.panel1 * panel) - first
    g = g._replace(filters=filters, y_start=g.y_start + first)

    def task(i: int) -> None:
        kernel(x, points, start, y, scratch("block", plan.scratch), g, *each.chunks[i])

    run(task, len(each.chunks))


def run_weight_gradient(
    plan: Plan, x: np.ndarray, gy: np.ndarray, size: int, groups: int = 1
) -> np.ndarray:
    """The `size` values of a weight's gradient: sums over parts of the work, added in order."""
    if plan.winograd:
        kernel = winograd.weight_gradient_kernel(plan.winograd.side, *plan.tile)
    else:
        kernel = direct.weight_gradient_kernel(*plan.tile)
    parts, chunks = np.zeros((plan.parts, size), np.float32), len(plan.chunks)

    def task(i: int) -> None:
        group, i = divmod(i, chunks)
        part = parts[i * plan.parts // chunks]
        block = scratch("block", plan.scratch)
        g = plan.winograd or plans.of_group(plan.geometry, group)
        kernel(x, gy, part, block, g, *plan.chunks[i])

    run(task, groups * chunks)
    return parts[0] if plan.parts == 1 else parts.sum(axis=0)
