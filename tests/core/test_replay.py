"""The numbers of a recorded step, as far as they can be followed without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core import device, optim, replay
from core.tensor import Tensor
from tests.core import fake_device


class Memory(np.ndarray):
    """A NumPy array that is written as CuPy's are."""

    def set(self, values: np.ndarray) -> None:
        self[...] = values


class Stream:
    def record(self) -> Any:
        return SimpleNamespace(synchronize=lambda: None)


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[replay._Numbers]:
    """A recording whose numbers lie in memory of the host."""
    cupy = SimpleNamespace(
        zeros=lambda n, dtype: np.zeros(n, dtype).view(Memory),
        cuda=SimpleNamespace(alloc_pinned_memory=bytearray),
    )
    numbers = replay._Numbers(cupy)
    uploads: list[np.ndarray] = []
    monkeypatch.setattr(replay, "_recording", numbers)
    monkeypatch.setattr(replay, "_copy", lambda target, row, *_: uploads.append(row.copy()))
    numbers.uploads = uploads  # type: ignore[attr-defined]
    yield numbers


def test_outside_of_a_recording_nothing_happens() -> None:
    assert replay.numbers((1.0,)) is None
    replay.need_no_recording()
    replay.keep(np.zeros(1))
    replay.on_replay(lambda: pytest.fail("asked"))


def test_numbers_are_asked_for_before_each_replay(recording: Any) -> None:
    first, second = replay.numbers((1.0, 2.0)), replay.numbers((1.0, 2.0))
    values = iter([(3.0, 4.0), (5.0, 6.0)])
    replay.on_replay(lambda: next(values))
    replay.numbers((7.0,))
    replay.on_replay(lambda: (8.0,))
    recording.complete()
    assert first is not None and second is not None
    assert first.tolist() == second.tolist() == [1.0, 2.0]
    for expected in ([3.0, 4.0, 3.0, 4.0, 8.0], [5.0, 6.0, 5.0, 6.0, 8.0]):
        recording.upload(Stream())
        assert recording.uploads[-1].tolist() == expected


def test_arrays_of_the_host_are_refused_and_others_kept(recording: Any) -> None:
    with pytest.raises(RuntimeError, match="a step took an array of the host"):
        device.to_device(np.zeros(2), "cuda")
    table = np.zeros(1)
    replay.keep(table)
    assert recording.kept == [table]


def test_promises_of_one_key_are_one(recording: Any) -> None:
    values = iter([(3.0,), (4.0,)])
    for _ in range(2):
        replay.numbers((1.0,))
        replay.on_replay(lambda: next(values), key="mask")
    recording.complete()
    for expected in ([3.0, 3.0], [4.0, 4.0]):
        recording.upload(Stream())
        assert recording.uploads[-1].tolist() == expected


def test_promises_that_do_not_fit(recording: Any) -> None:
    with pytest.raises(RuntimeError, match="a kernel of the reference would repeat"):
        replay.on_replay(lambda: (1.0,))
    replay.numbers((1.0,))
    with pytest.raises(RuntimeError, match="reads numbers that nobody computes"):
        recording.complete()
    with pytest.raises(RuntimeError, match="may have 4096 numbers"):
        replay.numbers((0.0,) * 4097)


def test_an_optimiser_counts_its_steps_on(recording: Any) -> None:
    if fake_device.ON_GPU or not fake_device.cuda_emulator.available():
        pytest.skip("the strict device needs a C++ compiler to run the kernels")
    fake_device.register()
    params = [Tensor(np.zeros(3, np.float32), requires_grad=True) for _ in range(2)]
    for p in params:
        p.grad = Tensor(np.ones(3, np.float32))
    rule = optim.Adam(params, lr=0.1, betas=(0.5, 0.5))
    # The kernels that ask for numbers are the card's; what they are given is the same.
    asked: list[Any] = []

    def adam(pieces: Any, step: Any) -> None:
        asked.append(replay.numbers(step))

    def run(backend: Any, pieces: Any, numbers: Any, scaling: Any) -> None:
        adam(pieces, numbers)

    rule._run = run  # type: ignore[method-assign]
    rule.step()
    recording.complete()
    assert len(asked) == 1 and asked[0][0] == pytest.approx(0.1 / (1 - 0.5))
    rule.param_groups[0]["lr"] = 0.2
    recording.upload(Stream())
    assert recording.uploads[-1][0] == pytest.approx(0.2 / (1 - 0.25))
    assert [int(rule.state[p]["step"]) for p in params] == [2, 2]
