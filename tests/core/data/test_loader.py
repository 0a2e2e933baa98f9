"""The loader: order, random numbers, resuming anywhere, errors, and no thread left behind."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.dataset import ArrayDataset
from core.data.loader import DataLoader, default_collate
from core.data.rng import Draws


def _dataset(count: int) -> ArrayDataset:
    images = np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2))
    return ArrayDataset(images, np.arange(count) % 5, tuple("abcde"))


def _noise(batch: Any, draws: Draws) -> Any:
    images, labels = batch
    return images + draws(1)[:, :, None, None], labels, draws.indices, draws(2)


class _Items:
    """A data set without batches; item ``bad`` raises ``error``."""

    def __init__(self, count: int, bad: int = -1, error: type[Exception] = ValueError) -> None:
        self.count, self.bad, self.error = count, bad, error

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if index == self.bad:
            raise self.error("broken picture")
        return np.full((2, 2), index), index


def _equal(first: list[Any], second: list[Any]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def _loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("openbook-loader")]


@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_order_and_partial_batch(prefetch: int) -> None:
    loader = DataLoader(_dataset(10), 4, prefetch=prefetch)
    batches = list(loader)
    assert [images.shape for images, _ in batches] == [(4, 1, 2, 2), (4, 1, 2, 2), (2, 1, 2, 2)]
    assert np.concatenate([labels for _, labels in batches]).tolist() == [0, 1, 2, 3, 4] * 2
    assert len(loader) == 3


def test_drop_last() -> None:
    loader = DataLoader(_dataset(10), 4, drop_last=True)
    assert len(loader) == len(list(loader)) == 2


def test_shuffle_is_the_documented_permutation() -> None:
    loader = DataLoader(_dataset(20), 6, shuffle=True, seed=7)
    for epoch in range(3):
        assert loader.epoch == epoch
        seen = np.concatenate([images[:, 0, 0, 0] for images, _ in loader])
        order = np.random.default_rng((7, epoch)).permutation(20)
        np.testing.assert_array_equal(seen, order)


def test_an_order_of_ones_own() -> None:
    def descending(generator: np.random.Generator) -> np.ndarray:
        return np.roll(np.arange(20)[::-1], int(generator.integers(20)))

    loader = DataLoader(_dataset(20), 6, shuffle=True, seed=7, order=descending)
    for epoch in range(2):
        seen = np.concatenate([images[:, 0, 0, 0] for images, _ in loader])
        np.testing.assert_array_equal(seen, descending(np.random.default_rng((7, epoch))))
    loader.order = lambda _: np.zeros(20, np.int64)
    with pytest.raises(ValueError, match="order gives something else than the 20 positions"):
        next(iter(loader))
    with pytest.raises(ValueError, match="order is for shuffled batches"):
        DataLoader(_dataset(20), 6, order=descending)


def test_empty_data_set() -> None:
    assert list(DataLoader(_dataset(0), 4, shuffle=True)) == []


@pytest.mark.parametrize("prefetch", [0, 3])
def test_random_numbers_do_not_depend_on_batch_or_position(prefetch: int) -> None:
    def noise(batch_size: int, shuffle: bool) -> np.ndarray:
        loader = DataLoader(
            _dataset(12), batch_size, shuffle, seed=3, transform=_noise, prefetch=prefetch
        )
        loader.set_epoch(4)
        by_sample = np.zeros((12, 3))
        for images, _, indices, more in loader:
            by_sample[indices, 0] = images[:, 0, 0, 0] - indices
            by_sample[indices, 1:] = more
        return by_sample

    np.testing.assert_allclose(noise(5, True), noise(12, False), rtol=0, atol=1e-12)


def test_random_numbers_change_with_the_epoch() -> None:
    loader = DataLoader(_dataset(6), 6, transform=_noise)
    (first,), (second,) = list(loader), list(loader)
    assert not np.isin(first[3], second[3]).any()


@settings(deadline=None)
@given(
    count=st.integers(1, 30),
    batch_size=st.integers(1, 9),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    prefetches=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    data=st.data(),
)
def test_resumes_anywhere_with_the_same_batches(
    count: int,
    batch_size: int,
    shuffle: bool,
    drop_last: bool,
    prefetches: tuple[int, int],
    data: st.DataObject,
) -> None:
    def make(prefetch: int) -> DataLoader:
        return DataLoader(
            _dataset(count),
            batch_size,
            shuffle,
            drop_last=drop_last,
            transform=_noise,
            prefetch=prefetch,
        )

    whole = make(prefetches[0])
    per_epoch = len(whole)
    stop = data.draw(st.integers(0, 3 * per_epoch))
    batches: list[Any] = []
    states = [whole.state_dict()]
    for _ in range(3):
        for batch in whole:
            batches.append(batch)
            states.append(whole.state_dict())
    resumed = make(prefetches[1])
    resumed.load_state_dict(states[stop])
    assert resumed.state_dict() == states[stop]
    rest: list[Any] = []
    while resumed.epoch < 3:
        rest += list(resumed)
    _equal(rest, batches[stop:])
    assert resumed.state_dict() == whole.state_dict() == {"epoch": 3, "position": 0}


def test_state_is_what_was_received_not_what_was_prefetched() -> None:
    loader = DataLoader(_dataset(40), 4, prefetch=5)
    batches = iter(loader)
    assert loader.state_dict() == {"epoch": 0, "position": 0}
    next(batches)
    next(batches)
    assert loader.state_dict() == {"epoch": 0, "position": 2}


def test_state_after_the_last_batch_finishes_the_epoch() -> None:
    loader = DataLoader(_dataset(8), 4)
    batches = iter(loader)
    next(batches)
    next(batches)
    state = loader.state_dict()
    assert state == {"epoch": 0, "position": 2}
    resumed = DataLoader(_dataset(8), 4)
    resumed.load_state_dict(state)
    assert list(resumed) == [] and resumed.epoch == 1


def test_an_epoch_left_by_break_starts_again() -> None:
    loader = DataLoader(_dataset(20), 4, shuffle=True)
    first = next(iter(loader))
    _equal([next(iter(loader))], [first])
    assert loader.epoch == 0


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"epoch": 0}, r"has \['epoch'\], expects"),
        ({"epoch": 0, "position": 6}, "at batch 6 of 5"),
        ({"epoch": -1, "position": 0}, "epoch is -1, expects at least 0"),
    ],
)
def test_states_that_do_not_fit(state: dict[str, int], message: str) -> None:
    loader = DataLoader(_dataset(20), 4)
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(state)
    assert loader.state_dict() == {"epoch": 0, "position": 0}


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="batch_size is 0, expects at least 1"):
        DataLoader(_dataset(4), 0)
    with pytest.raises(ValueError, match="prefetch is -1"):
        DataLoader(_dataset(4), prefetch=-1)
    with pytest.raises(TypeError, match=r"batch_size is 2\.5, expects an integer"):
        DataLoader(_dataset(4), 2.5)  # type: ignore[arg-type]


def test_items_are_collated() -> None:
    images, numbers = next(iter(DataLoader(_Items(5), 3)))
    np.testing.assert_array_equal(images[:, 0, 0], [0, 1, 2])
    np.testing.assert_array_equal(numbers, [0, 1, 2])


def test_collate_of_ragged_and_other_items() -> None:
    boxes = [np.zeros((2, 4), np.float32), np.zeros((1, 4), np.float32)]
    names = ["a", "b"]
    fields = default_collate(list(zip(boxes, names, [1, 2], strict=True)))
    assert isinstance(fields, tuple)
    assert fields[0][0] is boxes[0] and fields[0][1] is boxes[1]
    assert fields[1] == names
    np.testing.assert_array_equal(fields[2], [1, 2])
    assert default_collate([{"a": 1}]) == [{"a": 1}]
    np.testing.assert_array_equal(default_collate([np.ones(2), np.ones(2)]), np.ones((2, 2)))


def test_own_collate_takes_items_even_of_an_array_data_set() -> None:
    loader = DataLoader(_dataset(5), 5, collate=lambda items: [int(label) for _, label in items])
    assert list(loader) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_error_comes_at_its_batch_and_names_the_sample(prefetch: int) -> None:
    loader = DataLoader(_Items(20, bad=13), 4, prefetch=prefetch)
    received = []
    with pytest.raises(ValueError, match=r"^sample 13: broken picture$"):
        for batch in loader:
            received.append(batch)
    assert len(received) == 3 and loader.state_dict() == {"epoch": 0, "position": 3}
    assert _loader_threads() == []


def test_other_errors_become_runtime_errors() -> None:
    with pytest.raises(RuntimeError, match=r"^sample 1: KeyError: 'broken picture'$") as error:
        list(DataLoader(_Items(3, bad=1, error=KeyError)))
    assert isinstance(error.value.__cause__, KeyError)


def test_error_in_transform_names_the_samples() -> None:
    def fail(batch: Any, draws: Draws) -> Any:
        raise ValueError("no such colour")

    with pytest.raises(ValueError, match=r"^transform of samples 0, 1, 2: no such colour$"):
        list(DataLoader(_dataset(3), 3, transform=fail))


def test_threads_end_with_the_iterator() -> None:
    loader = DataLoader(_dataset(100), 2, prefetch=4)
    for _ in loader:
        assert len(_loader_threads()) == 1
        break
    assert _loader_threads() == []
    batches = iter(loader)
    next(batches)
    del batches
    assert _loader_threads() == []
    list(loader)
    assert _loader_threads() == []


def test_interrupt_in_the_consumer_ends_the_thread() -> None:
    loader = DataLoader(_dataset(100), 2)
    with pytest.raises(KeyboardInterrupt):
        for _ in loader:
            raise KeyboardInterrupt
    assert _loader_threads() == []


def test_prefetch_is_bounded() -> None:
    made: list[int] = []

    def note(batch: Any, draws: Draws) -> Any:
        made.append(len(made))
        return batch

    batches = iter(DataLoader(_dataset(100), 1, transform=note, prefetch=3))
    for received in range(1, 20):
        next(batches)
        assert len(made) <= received + 3


def test_closing_waits_for_the_running_batch_only() -> None:
    made: list[int] = []
    release = threading.Event()

    def block_after_the_first(batch: Any, draws: Draws) -> Any:
        made.append(int(draws.indices[0]))
        if len(made) > 1:
            release.wait()
        return batch

    batches = iter(DataLoader(_dataset(100), 1, transform=block_after_the_first, prefetch=5))
    next(batches)
    threading.Timer(0.2, release.set).start()
    del batches
    assert len(made) <= 2 and _loader_threads() == []
