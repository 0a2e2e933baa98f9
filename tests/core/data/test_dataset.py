"""Data sets in arrays, and splits that keep the mixture of classes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.dataset import ArrayDataset, BatchDataset, stratified


def _dataset(count: int = 30) -> ArrayDataset:
    images = np.arange(count * 4, dtype=np.float32).reshape(count, 1, 2, 2)
    return ArrayDataset(images, np.arange(count) % 3, ("a", "b", "c"))


def test_items_and_batches() -> None:
    dataset = _dataset()
    image, label = dataset[7]
    np.testing.assert_array_equal(image, [[[28, 29], [30, 31]]])
    assert len(dataset) == 30 and label == 1
    images, labels = dataset.batch(np.array([7, 2]))
    np.testing.assert_array_equal(images[:, 0, 0, 0], [28, 8])
    np.testing.assert_array_equal(labels, [1, 2])
    assert not np.shares_memory(images, dataset.images)
    assert isinstance(dataset, BatchDataset)


def test_labels_become_int64() -> None:
    labels: Any = np.array([0, 1], np.uint8)
    assert ArrayDataset(np.zeros((2, 3)), labels, ("a", "b")).labels.dtype == np.int64


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 1, 0]), "2 images but 3 labels"),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), r"labels are float64 \(2,\), expects integers"),
        (np.zeros((2, 3)), np.array([[0], [1]]), r"labels are int64 \(2, 1\)"),
        (np.zeros((2, 3)), np.array([0, 2]), r"label 2 of item 1 is out of range 0\.\.1"),
        (np.zeros((2, 3)), np.array([-1, 0]), r"label -1 of item 0 is out of range 0\.\.1"),
    ],
)
def test_arrays_that_do_not_fit(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayDataset(images, labels, ("a", "b"))


def test_subset_keeps_order() -> None:
    part = _dataset().subset([5, 1])
    np.testing.assert_array_equal(part.images[:, 0, 0, 0], [20, 4])
    assert part.classes == ("a", "b", "c")


def test_split_is_seeded() -> None:
    first, again, other = (_dataset().split([20, 10], seed)[1].images for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    cut=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_parts_are_disjoint_and_stratified(labels: list[int], cut: float, seed: int) -> None:
    parts = stratified(labels, [cut, 1.0 - cut], seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    assert len(parts[0]) == np.rint(cut * len(labels))
    for label in set(labels):
        members = labels.count(label)
        share = sum(labels[index] == label for index in parts[0])
        assert abs(share - members * len(parts[0]) / len(labels)) <= 1 + 1e-9


def test_counts_are_exact() -> None:
    assert [len(part) for part in stratified([0, 1, 2] * 10, [17, 5, 8])] == [17, 5, 8]


@pytest.mark.parametrize("lengths", [[], [20, 9], [0.5, 0.4], [31, -1], [1.5, -0.5]])
def test_lengths_that_do_not_add_up(lengths: list[Any]) -> None:
    with pytest.raises(ValueError, match="neither counts that add up to 30 nor fractions"):
        _dataset().split(lengths)
