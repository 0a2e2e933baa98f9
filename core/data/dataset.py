"""What a data set is, the one that lives in arrays, and the stratified split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Split = Literal["train", "test"]


class Dataset(Protocol):
    """Anything with a length and items by position, 0 to len - 1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@runtime_checkable
class BatchDataset(Protocol):
    """A data set that can hand out many items at once, already stacked."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    def batch(self, indices: NDArray[np.int64], /) -> Any: ...


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Images and labels in memory.

    Args:
        images: (N, ...), any dtype; uint8 (N, C, H, W) for the published sets.
        labels: int64 (N,), 0 to len(classes) - 1.
        classes: the class names.

    Raises ValueError when lengths differ or a label names no class.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(
                f"ArrayDataset: labels are {labels.dtype} {labels.shape}, expects integers (N,)"
            )
        if len(self.images) != len(labels):
            raise ValueError(f"ArrayDataset: {len(self.images)} images but {len(labels)} labels")
        check_labels(labels, len(self.classes))
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        object.__setattr__(self, "classes", tuple(self.classes))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> tuple[NDArray[Any], np.int64]:
        return self.images[index], self.labels[index]

    def batch(self, indices: NDArray[np.int64], /) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Copies of the images (n, ...) and labels (n,) at ``indices``."""
        return self.images[indices], self.labels[indices]

    def subset(self, indices: ArrayLike) -> ArrayDataset:
        """A data set of copies of the items at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return ArrayDataset(self.images[chosen], self.labels[chosen], self.classes)

    def split(self, lengths: Sequence[int] | Sequence[float], seed: int = 0) -> list[ArrayDataset]:
        """Disjoint random parts with the same mixture of classes; see ``stratified``."""
        return [self.subset(part) for part in stratified(self.labels, lengths, seed)]


def check_labels(labels: NDArray[Any], classes: int) -> None:
    """Raises ValueError naming the first label that is outside 0 to ``classes`` - 1."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(
            f"label {int(labels[first])} of item {first} is out of range 0..{classes - 1}"
        )


def check_split(split: str) -> None:
    """Raises ValueError when ``split`` is neither "train" nor "test"."""
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}, expects 'train' or 'test'")


def stratified(
    labels: ArrayLike, lengths: Sequence[int] | Sequence[float], seed: int = 0
) -> list[NDArray[np.int64]]:
    """Indices of disjoint random parts in which every class has its share, to within two items.

    Args:
        labels: (N,).
        lengths: counts that add up to N, or fractions that add up to 1.
        seed: the same seed gives the same parts.

    Returns the sorted int64 indices of each part. Raises ValueError for other lengths.
    """
    labels = np.asarray(labels)
    counts = _counts(lengths, len(labels))
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    # Each item's rank among its class, as a share of the class: cutting this order anywhere
    # cuts every class at the same share.
    share = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        share[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = shuffled[np.argsort(share[shuffled], kind="stable")]
    return [np.sort(part) for part in np.split(order, np.cumsum(counts)[:-1])]


def _counts(lengths: Sequence[int] | Sequence[float], total: int) -> list[int]:
    valid = len(lengths) > 0 and all(length >= 0 for length in lengths)
    if valid and all(isinstance(length, int | np.integer) for length in lengths):
        if sum(lengths) == total:
            return [int(length) for length in lengths]
    elif valid and abs(sum(lengths) - 1) < 1e-6:
        edges = np.rint(np.cumsum([0.0, *lengths]) * total).astype(int)
        return [int(count) for count in np.diff(edges)]
    raise ValueError(
        f"split: lengths {list(lengths)} are neither counts that add up to {total} "
        "nor fractions that add up to 1"
    )
