"""Batches from a data set: shuffled by seed, prefetched, resumable in the middle of an epoch."""

from __future__ import annotations

import operator
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.dataset import BatchDataset, Dataset
from core.data.rng import Draws


class DataLoader:
    """Iterates over batches of a data set; one pass is one epoch.

    A ``BatchDataset`` (``ArrayDataset``) hands out whole batches; the items of any other data set
    are collected one by one and collated.

    Args:
        dataset: has a length and items by position.
        batch_size: the number of samples; the last batch of an epoch may have fewer.
        shuffle: epoch e is in the order ``np.random.default_rng((seed, e)).permutation(N)``.
        order: with ``shuffle``, ``order(generator)`` gives the N positions of an epoch instead.
        seed: not negative; decides the order and every sample's random numbers.
        drop_last: leave out a last batch that is not full.
        transform: ``transform(batch, draws)`` gives the batch to hand out; ``draws(k)`` gives k
            random numbers for each sample, which depend on (seed, epoch, index) and on nothing
            else. It runs in the loader's thread.
        collate: makes a batch of a list of items; the default is ``default_collate``.
        prefetch: how many batches are prepared ahead in the background; 0 is none and no thread.
        workers: how many threads prepare them; see `workers_for`.

    An iterator begins at the start of the current epoch (one that was left by ``break`` starts
    again), or, after ``load_state_dict``, where that state was taken. When an epoch is exhausted
    the next one becomes current. An error while a batch is made is raised at that batch and names
    the samples: ValueError stays ValueError, any other error becomes RuntimeError.

    One NumPy generator per sample would be simpler than ``Draws``, but making one takes about 20
    microseconds, 2 ms for a batch of 100 in which no kernel can run beside it.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        seed: int = 0,
        order: Callable[[np.random.Generator], NDArray[np.int64]] | None = None,
        drop_last: bool = False,
        transform: Callable[[Any, Draws], Any] | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        prefetch: int = 2,
        workers: int = 1,
    ) -> None:
        self.dataset = dataset
        self.batch_size = _integer("batch_size", batch_size, at_least=1)
        self.shuffle = shuffle
        self.seed = _integer("seed", seed, at_least=0)
        if order is not None and not shuffle:
            raise ValueError("order is for shuffled batches: shuffle is False")
        self.order = order
        self.drop_last = drop_last
        self.transform = transform
        self.collate = collate
        self.workers = _integer("workers", workers, at_least=1)
        ahead = _integer("prefetch", prefetch, at_least=0)
        self.prefetch = max(ahead, self.workers) if ahead else 0
        self._epoch = 0
        self._position = 0
        self._start = 0

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    @property
    def epoch(self) -> int:
        """The current epoch, from 0: the one being iterated, or that comes next."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iterator begin at the start of ``epoch``."""
        self._epoch = _integer("epoch", epoch, at_least=0)
        self._position = self._start = 0

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches the consumer has received."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Makes the next iterator continue where ``state_dict`` was taken.

        Gives the same batches if the data set and the other arguments are the same. Raises
        ValueError when the state does not fit this loader.
        """
        if set(state) != {"epoch", "position"}:
            raise ValueError(f"loader state has {sorted(state)}, expects ['epoch', 'position']")
        epoch = _integer("epoch", state["epoch"], at_least=0)
        position = _integer("position", state["position"], at_least=0)
        if position > len(self):
            raise ValueError(f"loader state is at batch {position} of {len(self)}")
        self._epoch = epoch
        self._position = self._start = position

    def __iter__(self) -> Iterator[Any]:
        epoch, position = self._epoch, self._start
        self._position, self._start = position, 0
        batches = self._batches(epoch, position)
        try:
            for batch in batches:
                position += 1
                self._epoch, self._position = epoch, position
                yield batch
        finally:
            batches.close()
        self._epoch, self._position = epoch + 1, 0

    def _batches(self, epoch: int, start: int) -> Generator[Any, None, None]:
        order = self._order(epoch)
        parts = [
            order[number * self.batch_size : (number + 1) * self.batch_size]
            for number in range(start, len(self))
        ]
        if not self.prefetch:
            yield from (self._make(epoch, part) for part in parts)
            return
        worker = ThreadPoolExecutor(self.workers, thread_name_prefix="openbook-loader")
        waiting: deque[Future[Any]] = deque()
        try:
            for part in parts:
                waiting.append(worker.submit(self._make, epoch, part))
                if len(waiting) > self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            worker.shutdown(wait=True, cancel_futures=True)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        count = len(self.dataset)
        if not self.shuffle:
            return np.arange(count)
        generator = np.random.default_rng((self.seed, epoch))
        if self.order is None:
            return generator.permutation(count)
        order = self.order(generator)
        if not np.array_equal(np.sort(order), np.arange(count)):
            raise ValueError(f"order gives something else than the {count} positions, each once")
        return order

    def _make(self, epoch: int, indices: NDArray[np.int64]) -> Any:
        batch = self._fetch(indices)
        if self.transform is None:
            return batch
        try:
            return self.transform(batch, Draws(self.seed, epoch, indices))
        except Exception as error:
            raise _named("transform of", indices, error) from error

    def _fetch(self, indices: NDArray[np.int64]) -> Any:
        if self.collate is None and isinstance(self.dataset, BatchDataset):
            try:
                return self.dataset.batch(indices)
            except Exception as error:
                raise _named("batch of", indices, error) from error
        items = [self._item(int(index)) for index in indices]
        try:
            return (self.collate or default_collate)(items)
        except Exception as error:
            raise _named("collate of", indices, error) from error

    def _item(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            raise _named("", np.array([index]), error) from error


def workers_for(device: str) -> int:
    """How many threads should prepare batches for a network on `device`.

    One beside a network on the "cpu", whose kernels a second one would slow; half of the cores, at
    most 8, where a GPU computes.
    """
    return 1 if device == "cpu" else max(1, min(8, (os.cpu_count() or 2) // 2))


def default_collate(items: list[Any]) -> Any:
    """Makes one batch of a list of items.

    Arrays and numbers of equal shape are stacked; of different shapes, and anything else, stay a
    list. Items that are tuples become a tuple of such fields. Raises ValueError when tuples
    differ in length.
    """
    if isinstance(items[0], tuple):
        return tuple(_collate_field(list(field)) for field in zip(*items, strict=True))
    return _collate_field(items)


def _collate_field(values: list[Any]) -> Any:
    if not all(isinstance(value, np.ndarray | np.generic | int | float) for value in values):
        return values
    arrays = [np.asarray(value) for value in values]
    if any(array.shape != arrays[0].shape for array in arrays):
        return values
    return np.stack(arrays)


def _named(what: str, indices: NDArray[np.int64], error: Exception) -> Exception:
    shown = ", ".join(str(int(index)) for index in indices[:8])
    more = f" and {len(indices) - 8} more" if len(indices) > 8 else ""
    plural = "s" if len(indices) > 1 else ""
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    line = f"{what} sample{plural} {shown}{more}: {kind}{error}".lstrip()
    return ValueError(line) if isinstance(error, ValueError) else RuntimeError(line)


def _integer(name: str, value: int, at_least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, expects an integer") from None
    if number < at_least:
        raise ValueError(f"{name} is {number}, expects at least {at_least}")
    return number
