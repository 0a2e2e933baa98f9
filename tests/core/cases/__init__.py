"""Every operation's cases, a file per family."""

from tests.core.bench import Case
from tests.core.cases import elementwise, loss, reduction, region, sequence, shape, spatial

CASES: list[Case] = [
    *elementwise.CASES,
    *reduction.CASES,
    *shape.CASES,
    *spatial.CASES,
    *region.CASES,
    *loss.CASES,
    *sequence.CASES,
]
