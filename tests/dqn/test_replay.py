"""The replay memory: transitions by hand, and against a plain list of episodes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.training import checkpoint
from dqn.environments import Signature
from dqn.replay import Batch, Memory, PrioritizedMemory

NUMBER = Signature((1,), 1, ("a", "b"))
PIXEL = Signature((1, 1), 3, ("a", "b"))


def frame(value: int, signature: Signature = NUMBER) -> NDArray[Any]:
    return np.full(signature.frame, value, np.uint8 if signature.is_screen else np.float32)


def everything(memory: Memory) -> dict[int, tuple[Any, ...]]:
    """All transitions that can be drawn, by the newest number of their state."""
    batch = memory.sample(60 * len(memory), np.random.default_rng(0))
    return {
        int(np.ravel(state)[-1]): (
            np.ravel(state).tolist(),
            int(action),
            float(reward),
            float(discount),
            np.ravel(following).tolist(),
        )
        for state, action, reward, discount, following in zip(*batch[:5], strict=True)
    }


def test_one_step_transitions() -> None:
    memory = Memory(20, NUMBER, gamma=0.9)
    memory.begin(0, frame(1))
    memory.add(0, 1, 5.0, frame(2), terminated=False)
    memory.add(0, 0, -1.0, frame(3), terminated=True)
    memory.begin(0, frame(4))
    memory.add(0, 0, 2.0, frame(5), terminated=False, truncated=True)
    assert everything(memory) == {
        1: ([1], 1, 5.0, pytest.approx(0.9), [2]),
        2: ([2], 0, -1.0, 0.0, [3]),
        # A truncated episode is no terminal one: what follows has a value.
        4: ([4], 0, 2.0, pytest.approx(0.9), [5]),
    }


def test_three_step_transitions_get_shorter_at_the_end() -> None:
    memory = Memory(20, NUMBER, n_step=3, gamma=0.5)
    memory.begin(0, frame(1))
    for number, reward in enumerate((1.0, 2.0, 4.0), start=2):
        memory.add(0, 0, reward, frame(number), terminated=False)
    assert everything(memory) == {1: ([1], 0, 1 + 1 + 1, 0.125, [4])}
    memory.add(0, 1, 8.0, frame(5), terminated=False, truncated=True)
    assert everything(memory) == {
        1: ([1], 0, 3.0, 0.125, [4]),
        2: ([2], 0, 2 + 2 + 2, 0.125, [5]),
        3: ([3], 0, 4 + 4, 0.25, [5]),
        4: ([4], 1, 8.0, 0.5, [5]),
    }


def test_stacks_begin_with_the_first_frame_repeated() -> None:
    memory = Memory(20, PIXEL)
    for first in (1, 11):
        memory.begin(0, frame(first, PIXEL))
        for number in range(first + 1, first + 4):
            ended = number == first + 3
            memory.add(0, 0, 0.0, frame(number, PIXEL), terminated=ended)
    found = everything(memory)
    assert [found[n][0] for n in (1, 2, 3)] == [[1, 1, 1], [1, 1, 2], [1, 2, 3]]
    assert [found[n][0] for n in (11, 12, 13)] == [[11, 11, 11], [11, 11, 12], [11, 12, 13]]
    assert found[13][4] == [12, 13, 14]


@pytest.mark.parametrize("environments", [1, 3])
@pytest.mark.parametrize("n_step", [1, 4])
@pytest.mark.parametrize("kind", [Memory, PrioritizedMemory])
def test_it_gives_what_a_list_of_episodes_gives(
    environments: int, n_step: int, kind: type[Memory]
) -> None:
    """Rings of 20 frames that are written over several times, beside all that ever happened."""
    rng = np.random.default_rng(0)
    gamma, ring = 0.9, 20
    memory = kind(ring * environments, PIXEL, environments=environments, n_step=n_step, gamma=gamma)
    number, expected, order = 0, {}, {i: [] for i in range(environments)}  # type: ignore[var-annotated]
    for _ in range(9):
        for i in range(environments):
            length, terminated = int(rng.integers(1, 9)), bool(rng.random() < 0.5)
            frames = [(number + k) % 251 for k in range(length + 1)]
            number += length + 1
            actions = rng.integers(2, size=length).tolist()
            rewards = rng.integers(-2, 3, size=length).astype(float).tolist()
            memory.begin(i, frame(frames[0], PIXEL))
            for k in range(length):
                last = k == length - 1
                memory.add(
                    i,
                    actions[k],
                    rewards[k],
                    frame(frames[k + 1], PIXEL),
                    terminated=last and terminated,
                    truncated=last and not terminated,
                )
            order[i] += frames
            for k in range(length):
                end = min(k + n_step, length)
                total = sum(gamma**j * reward for j, reward in enumerate(rewards[k:end]))
                discount = 0.0 if end == length and terminated else gamma ** (end - k)
                expected[frames[k]] = (
                    [frames[max(0, k - back)] for back in (2, 1, 0)],
                    actions[k],
                    pytest.approx(total, abs=1e-5),
                    pytest.approx(discount),
                    [frames[max(0, end - back)] for back in (2, 1, 0)],
                )
    found = everything(memory)
    stored = {n for frames in order.values() for n in frames[-ring:]}
    # The two oldest have lost a part of their stacks.
    safe = {n for frames in order.values() for n in frames[-ring + 2 :] if n in expected}
    assert safe <= set(found) <= stored
    assert len(found) == len(memory)
    for state, transition in found.items():
        assert transition == expected[state]


def test_a_draw_is_uniform() -> None:
    memory = Memory(20, NUMBER)
    memory.begin(0, frame(0))
    for number in range(1, 5):
        memory.add(0, 0, 0.0, frame(number), terminated=number == 4)
    drawn = memory.sample(4000, np.random.default_rng(0)).states.ravel()
    assert np.bincount(drawn.astype(int), minlength=4) == pytest.approx([1000] * 4, rel=0.1)


def test_frames_are_stored_once_as_bytes() -> None:
    signature = Signature((84, 84), 4, ("a",))
    tracemalloc.start()
    memory = Memory(1000, signature, n_step=3)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert memory.nbytes == 1000 * 84 * 84
    assert taken < 1.05 * memory.nbytes


def prioritized(errors: tuple[float, ...], alpha: float, beta: float) -> PrioritizedMemory:
    memory = PrioritizedMemory(20, NUMBER, alpha=alpha, beta=beta)
    memory.begin(0, frame(0))
    for number in range(1, len(errors) + 1):
        memory.add(0, 0, 0.0, frame(number), terminated=number == len(errors))
    # A little is added to every error.
    given = np.array(errors, np.float32) - np.float32(1e-3)
    memory.update(np.arange(len(errors)), given)
    return memory


def test_priorities_and_weights_by_hand() -> None:
    memory = prioritized((1.0, 4.0, 9.0), alpha=0.5, beta=1.0)
    batch = memory.sample(6000, np.random.default_rng(0))
    counts = np.bincount(batch.states.ravel().astype(int), minlength=3)
    assert counts == pytest.approx([1000, 2000, 3000], rel=0.05)
    assert batch.weights is not None
    # (3 P) ** -1 over its largest, which is that of the least likely one.
    expected = np.array([1, 1 / 2, 1 / 3])[batch.states.ravel().astype(int)]
    assert batch.weights == pytest.approx(expected, rel=1e-3)


def test_a_new_transition_has_the_largest_priority() -> None:
    memory = prioritized((1.0, 16.0), alpha=0.5, beta=0.0)
    memory.begin(0, frame(10))
    memory.add(0, 0, 0.0, frame(11), terminated=True)
    batch = memory.sample(9000, np.random.default_rng(0))
    share = np.bincount(batch.states.ravel().astype(int), minlength=11)[[0, 1, 10]]
    assert share == pytest.approx([1000, 4000, 4000], rel=0.1)
    assert batch.weights is not None and (batch.weights == 1).all()


def test_alpha_zero_is_uniform() -> None:
    batch = prioritized((0.1, 100.0), alpha=0.0, beta=1.0).sample(4000, np.random.default_rng(0))
    assert np.bincount(batch.states.ravel().astype(int)) == pytest.approx([2000, 2000], rel=0.1)
    assert batch.weights == pytest.approx(np.ones(4000))


@pytest.mark.parametrize("kind", [Memory, PrioritizedMemory])
def test_a_saved_memory_goes_on_the_same(kind: type[Memory], tmp_path: Any) -> None:
    def filled() -> Memory:
        return kind(30, PIXEL, environments=2, n_step=2)

    def play(memory: Memory, first: int) -> Batch:
        for start in range(first, first + 40, 4):
            for i in range(2):
                memory.begin(i, frame(start, PIXEL))
                for k in range(1, 4):
                    memory.add(i, k % 2, float(k), frame(start + k, PIXEL), terminated=k == 3)
        return memory.sample(50, np.random.default_rng(1))

    memory, other = filled(), filled()
    play(memory, 0)
    memory.update(np.arange(5), np.arange(5, dtype=np.float32))
    checkpoint.save(tmp_path / "state", memory.state_dict())
    other.load_state_dict(checkpoint.load(tmp_path / "state"))
    for ours, theirs in zip(play(memory, 40), play(other, 40), strict=True):
        if ours is None or theirs is None:
            assert ours is theirs
        else:
            assert np.array_equal(ours, theirs)


def test_a_memory_within_an_episode_is_not_saved() -> None:
    memory = Memory(20, NUMBER, n_step=2)
    memory.begin(0, frame(0))
    memory.add(0, 0, 0.0, frame(1), terminated=False)
    with pytest.raises(RuntimeError, match="between episodes"):
        memory.state_dict()


def test_hostile_frames_take_no_memory() -> None:
    import zlib

    memory = Memory(20, PIXEL)
    memory.begin(0, frame(0, PIXEL))
    memory.add(0, 0, 0.0, frame(1, PIXEL), terminated=True)
    state = memory.state_dict()
    for content, reason in (
        (zlib.compress(bytes(10)), "not as many"),
        (zlib.compress(bytes(1)), "not as many"),
        (b"nonsense", "are broken"),
    ):
        state["frames"] = [np.frombuffer(content, np.uint8)]
        with pytest.raises(ValueError, match=reason):
            Memory(20, PIXEL).load_state_dict(state)
    with pytest.raises(ValueError, match="of 1 environments, here 2"):
        Memory(20, PIXEL, environments=2).load_state_dict(state)


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="memory of 7 frames for 1 environments is too small"):
        Memory(7, PIXEL, n_step=3)
    with pytest.raises(ValueError, match=r"10{12} frames takes 7.06e\+06 GB, more than there is"):
        Memory(10**12, Signature((84, 84), 4, ("a",)))
    with pytest.raises(ValueError, match="holds no transition yet"):
        Memory(20, NUMBER).sample(1, np.random.default_rng(0))
