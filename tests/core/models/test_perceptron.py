"""Logic gates: their truth tables (book, chapter 2)."""

from __future__ import annotations

import numpy as np
import pytest

from core import Tensor, models

INPUTS = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
TABLES = {"and": [0, 0, 0, 1], "nand": [1, 1, 1, 0], "or": [0, 1, 1, 1], "xor": [0, 1, 1, 0]}


@pytest.mark.parametrize("name", models.GATES)
def test_truth_tables(name: str) -> None:
    gate = models.gate(name)
    assert gate(Tensor(INPUTS)).numpy().tolist() == TABLES[name]
    assert gate(Tensor(INPUTS[2])).shape == ()
    assert gate.num_parameters() == 0


def test_no_single_perceptron_is_xor() -> None:
    """Book, 2.4.1: whatever the weights, one line does not part (0, 0), (1, 1) from the rest."""
    values = np.linspace(-1, 1, 9)
    for w1 in values:
        for w2 in values:
            for bias in values:
                y = models.Perceptron(w1, w2, bias)(Tensor(INPUTS)).numpy()
                assert y.tolist() != TABLES["xor"]


def test_another_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="gate 'nor' is unknown; expected one of and, nand, or"):
        models.gate("nor")
