"""The replay memory: every frame once, transitions put together when they are drawn."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dqn.environments import Signature
from dqn.sum_tree import SumTree

_COUNTED = ("actions", "returns", "discounts", "ages", "following", "place")


class Batch(NamedTuple):
    """Transitions (N of them); states are overwritten by the next draw."""

    states: NDArray[Any]
    """(N, stack, H, W) uint8, or (N, D) float32."""

    actions: NDArray[np.int64]
    """(N,): what was done in the states."""

    returns: NDArray[np.float32]
    """(N,): the discounted rewards of the n steps from there, fewer where the episode ended."""

    discounts: NDArray[np.float32]
    """(N,): what the value of the following state counts; 0 where the episode terminated."""

    following: NDArray[Any]
    """The states n steps later, as `states`."""

    slots: NDArray[np.int64]
    """(N,): where the transitions are."""

    weights: NDArray[np.float32] | None
    """(N,): how much each counts in the loss, where they were not drawn uniformly."""


class Memory:
    """The last transitions of one or several environments, drawn uniformly (Lin 1992).

    Each environment has a ring of its own. A slot holds a frame and what was done when it was
    seen; the last frame of an episode has a slot too, so that a truncated episode, which is no
    terminal one, still has a following state. Stacks are put together from neighbouring slots;
    before an episode's first frame that frame is repeated. `capacity` counts frames.
    Raises ValueError for a capacity that is too small to hold a transition, or too large.
    """

    def __init__(
        self,
        capacity: int,
        signature: Signature,
        *,
        environments: int = 1,
        n_step: int = 1,
        gamma: float = 0.99,
    ) -> None:
        self.ring = capacity // environments
        self.stack = signature.stack
        if self.ring < self.stack + n_step + 2:
            raise ValueError(
                f"a memory of {capacity} frames for {environments} environments is too small; "
                f"expected {environments * (self.stack + n_step + 2)} or more"
            )
        self.n_step, self.gamma = n_step, gamma
        slots = self.ring * environments
        dtype = np.uint8 if signature.is_screen else np.float32
        try:
            self.frames = np.empty((slots, *signature.frame), dtype)
        except MemoryError:
            size = slots * np.prod(signature.frame, dtype=float) * np.dtype(dtype).itemsize
            raise ValueError(
                f"a memory of {capacity} frames takes {size / 1e9:.3g} GB, more than there is; "
                "expected fewer"
            ) from None
        self.actions = np.zeros(slots, np.int64)
        self.returns = np.zeros(slots, np.float32)
        self.discounts = np.zeros(slots, np.float32)
        self.ages = np.zeros(slots, np.int64)  # frames since the episode began
        self.following = np.zeros(slots, np.int64)
        self.place = np.full(slots, -1, np.int64)  # of a transition among the drawable ones
        self._drawable = np.zeros(slots, np.int64)
        self._count = 0
        self._newest = [-1] * environments  # position in the ring
        self._written = [0] * environments  # frames so far
        self._open: list[deque[int]] = [deque() for _ in range(environments)]
        self._buffers = [np.empty(0, dtype)] * 2
        self._back = np.arange(self.stack - 1, -1, -1)
        self._powers = [gamma**k for k in range(n_step + 1)]

    def __len__(self) -> int:
        """How many transitions can be drawn."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of the frames when the memory is full."""
        return self.frames.nbytes

    # ------------------------------------------------------------------ writing

    def begin(self, environment: int, frame: NDArray[Any]) -> None:
        """An episode begins with `frame`."""
        self._store(environment, frame, 0)

    def add(
        self,
        environment: int,
        action: int,
        reward: float,
        frame: NDArray[Any],
        *,
        terminated: bool,
        truncated: bool = False,
    ) -> None:
        """`action` was done at the newest frame; it gave `reward` and led to `frame`."""
        waiting = self._open[environment]
        slot = environment * self.ring + self._newest[environment]
        self.actions[slot], self.returns[slot] = action, 0.0
        waiting.append(slot)
        if reward:
            for power, earlier in enumerate(reversed(waiting)):
                self.returns[earlier] += self._powers[power] * reward
        following = self._store(environment, frame, int(self.ages[slot]) + 1)
        ended = terminated or truncated
        while waiting and (ended or len(waiting) == self.n_step):
            discount = 0.0 if terminated else self._powers[len(waiting)]
            slot = waiting.popleft()
            self.discounts[slot], self.following[slot] = discount, following
            self._offer(slot)

    def _store(self, environment: int, frame: NDArray[Any], age: int) -> int:
        """Put a frame into the next slot, which the oldest one has to leave."""
        position = (self._newest[environment] + 1) % self.ring
        self._newest[environment] = position
        self._written[environment] += 1
        first = environment * self.ring
        # Of the frames behind this one, the next few have lost a part of their stack already.
        self._withdraw(first + (position + self.stack - 1) % self.ring)
        slot = first + position
        self.frames[slot], self.ages[slot] = frame, age
        return slot

    def _offer(self, slot: int) -> None:
        """From now on the transition can be drawn."""
        self.place[slot], self._drawable[self._count] = self._count, slot
        self._count += 1

    def _withdraw(self, slot: int) -> None:
        """The transition, if it is one, can be drawn no more."""
        place = self.place[slot]
        if place >= 0:
            self._count -= 1
            last = self._drawable[self._count]
            self._drawable[place], self.place[last] = last, place
            self.place[slot] = -1

    # ------------------------------------------------------------------ drawing

    def sample(self, size: int, rng: np.random.Generator) -> Batch:
        """Draw `size` transitions, with repeats. Raises ValueError when there are none."""
        if not self._count:
            raise ValueError("the replay memory holds no transition yet")
        slots, weights = self._draw(size, rng)
        following = self.following[slots]
        return Batch(
            self._states(slots, 0),
            self.actions[slots],
            self.returns[slots],
            self.discounts[slots],
            self._states(following, 1),
            slots,
            weights,
        )

    def _draw(
        self, size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        return self._drawable[rng.integers(self._count, size=size)], None

    def _states(self, slots: NDArray[np.int64], number: int) -> NDArray[Any]:
        """The states of slots, stacks in the buffer of that number."""
        if self.frames.ndim == 2:
            return self.frames[slots]
        first = slots // self.ring * self.ring
        back = np.minimum(self._back, self.ages[slots][:, None])
        stacked = first[:, None] + ((slots - first)[:, None] - back) % self.ring
        buffer = self._buffers[number]
        if len(buffer) != len(slots):
            # Taken once: pages that are new to the process take longer than the copy itself.
            buffer = np.empty((*stacked.shape, *self.frames.shape[1:]), self.frames.dtype)
            self._buffers[number] = buffer
        return np.take(self.frames, stacked, axis=0, out=buffer, mode="clip")

    def update(self, slots: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """The last errors (N,) of transitions; a memory drawn uniformly ignores them."""

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Any]:
        """Everything, frames compressed. Only between episodes: raises RuntimeError within one."""
        if any(self._open):
            raise RuntimeError("a replay memory is saved between episodes")
        used = self._used()
        packed = [
            np.frombuffer(zlib.compress(self.frames[part].data, 1), np.uint8) for part in used
        ]
        return {
            "written": self._written,
            "drawable": self._drawable[: self._count],
            "frames": packed,
            "arrays": {name: [getattr(self, name)[part] for part in used] for name in _COUNTED},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises ValueError where it does not fit."""
        self._written = [int(count) for count in state["written"]]
        if len(self._written) != len(self._newest):
            raise ValueError(
                f"a replay memory of {len(self._written)} environments, here {len(self._newest)}"
            )
        self._newest = [(count - 1) % self.ring for count in self._written]
        for part, packed in zip(self._used(), state["frames"], strict=True):
            self.frames[part] = _unpacked(packed, self.frames[part])
        for name in _COUNTED:
            for part, values in zip(self._used(), state["arrays"][name], strict=True):
                getattr(self, name)[part] = values
        self._count = len(state["drawable"])
        self._drawable[: self._count] = state["drawable"]

    def _used(self) -> list[slice]:
        """The slots of each ring that hold a frame."""
        return [
            slice(first, first + min(count, self.ring))
            for first, count in zip(
                range(0, len(self.frames), self.ring), self._written, strict=True
            )
        ]


def _unpacked(packed: NDArray[np.uint8], like: NDArray[Any]) -> NDArray[Any]:
    """Frames in the shape of `like`; hardly more memory is taken than those have."""
    try:
        content = zlib.decompressobj().decompress(packed.tobytes(), like.nbytes + 1)
    except zlib.error as error:
        raise ValueError(f"the frames of the replay memory are broken: {error}") from None
    if len(content) != like.nbytes:
        raise ValueError("the frames of the replay memory are not as many as it says")
    return np.frombuffer(content, like.dtype).reshape(like.shape)


class PrioritizedMemory(Memory):
    """Transitions drawn in proportion to priority ** alpha (Schaul et al. 2016, section 3.3).

    The priority of a transition is its last error's magnitude, of a new one the largest so far.
    `weights` of a batch, (count * probability) ** -beta over their largest, make up for the bias.
    """

    def __init__(
        self,
        capacity: int,
        signature: Signature,
        *,
        environments: int = 1,
        n_step: int = 1,
        gamma: float = 0.99,
        alpha: float = 0.6,
        beta: float = 0.4,
    ) -> None:
        super().__init__(capacity, signature, environments=environments, n_step=n_step, gamma=gamma)
        self.alpha, self.beta = alpha, beta
        self._tree = SumTree(len(self.frames))
        self._largest = 1.0

    def _offer(self, slot: int) -> None:
        super()._offer(slot)
        self._tree.set(np.array([slot]), self._largest)

    def _withdraw(self, slot: int) -> None:
        if self.place[slot] >= 0:
            self._tree.set(np.array([slot]), 0.0)
        super()._withdraw(slot)

    def _draw(
        self, size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        # One from each of `size` equal parts of the total (appendix B.2.1).
        total = self._tree.total
        slots = self._tree.find((np.arange(size) + rng.random(size)) / size * total)
        weights = (self._count / total * self._tree[slots]) ** -self.beta
        return slots, (weights / weights.max()).astype(np.float32)

    def update(self, slots: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """The last errors (N,) of transitions become their priorities."""
        # No transition is given up for ever (equation 1's epsilon).
        priorities = (np.abs(errors) + 1e-3) ** self.alpha
        self._tree.set(slots, priorities)
        self._largest = max(self._largest, float(priorities.max()))

    def state_dict(self) -> dict[str, Any]:
        """As of `Memory`, with the priorities."""
        return {
            **super().state_dict(),
            "tree": self._tree.state_dict(),
            "largest": self._largest,
            "beta": self.beta,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As of `Memory`, with the priorities."""
        super().load_state_dict(state)
        self._tree.load_state_dict(state["tree"])
        self._largest, self.beta = float(state["largest"]), float(state["beta"])
