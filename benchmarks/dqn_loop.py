"""The whole training loop of DQN, and the same loop with PyTorch's network and optimiser.

    python -m benchmarks.dqn_loop                              # CartPole, Catch and Pong
    python -m benchmarks.dqn_loop --recipes pong --rounds 5

Environment, replay memory and loop are the same objects' code on both sides; only what computes
differs. Each side has a process of its own, and they take turns. Beside it: how long the replay
memory takes for 32 transitions of stacked frames.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.sides import OURS, PEER
from core.cli import run_command
from core.io.files import write_json
from dqn.agent import Learned
from dqn.environments import Signature
from dqn.recipes import RECIPES, Recipe
from dqn.replay import Batch, Memory
from dqn.training import Training

GOAL = 1.0
"""Our time over PyTorch's, at most."""

SAMPLING_GOAL_MS = 0.3


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time training loops, with the core and with PyTorch."""

    recipes: tuple[str, ...] = ("cartpole", "catch", "pong")
    """Recipes of dqn.recipes whose loops are timed; pong needs the extra "atari"."""

    steps: int = 2000
    """Steps of the agent in a round, after the first updates."""

    rounds: int = 3
    """How often each side has its turn; the median counts."""

    threads: int = 2
    """Threads of both sides."""

    out: Path = Path("runs/benchmarks")
    """Folder for dqn_loop.json."""

    def __post_init__(self) -> None:
        for flag, value in (("--steps", self.steps), ("--rounds", self.rounds)):
            if value < 1:
                raise ValueError(f"{flag} is {value}; expected 1 or more")


def main(options: Options) -> None:
    """A line for each recipe, and one for the replay memory."""
    figures: dict[str, Any] = {}
    for name in options.recipes:
        speeds: dict[str, list[float]] = {OURS: [], PEER: []}
        for _ in range(options.rounds):
            for side in speeds:
                speeds[side].append(_in_a_process(name, side, options))
        ours, peer = median(speeds[OURS]), median(speeds[PEER])
        figures[name] = {"steps_per_second": speeds, "ratio": peer / ours, "goal": GOAL}
        print(
            f"{name}: {ours:.0f} steps per second, with PyTorch {peer:.0f}; "
            f"our time over its {peer / ours:.2f}, goal {GOAL}",
            flush=True,
        )
    ms = sampling_ms()
    figures["sampling_ms"] = ms
    print(f"32 transitions of stacked frames: {ms:.3f} ms, goal {SAMPLING_GOAL_MS}")
    write_json(options.out / "dqn_loop.json", figures)


def _in_a_process(name: str, side: str, options: Options) -> float:
    job = json.dumps([name, side, options.steps, options.threads])
    child = [sys.executable, "-m", "benchmarks.dqn_loop", "--child", job]
    done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} with {side} ended with status {done.returncode}")
    return float(done.stdout.splitlines()[-1])


def steps_per_second(recipe: Recipe, side: str, steps: int, threads: int) -> float:
    """Steps of a training's loop per second of one side, updates included."""
    import core

    core.set_num_threads(threads)
    # Whole episodes are played: the first ones make the kernels ready.
    recipe = replace(recipe, learning_starts=min(recipe.learning_starts, 500))
    with tempfile.TemporaryDirectory() as folder:
        from core.training.run import Run

        training = Training(recipe, Run(Path(folder)))
        if side == PEER:
            training.agent = TorchAgent(recipe, training.signature, threads)  # type: ignore[assignment]
        while not training.updates:
            training._round(_Silent(), _Silent())  # type: ignore[arg-type]
        first, start = training.step, time.perf_counter()
        while training.step < first + steps:
            training._round(_Silent(), _Silent())  # type: ignore[arg-type]
        return (training.step - first) / (time.perf_counter() - start)


class _Silent:
    """No progress, no interrupt."""

    requested = False

    def step(self, figures: Any) -> None: ...


class TorchAgent:
    """What `dqn.agent.Agent` is, with PyTorch: plain networks, as the recipes have them."""

    def __init__(self, recipe: Recipe, signature: Signature, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        if recipe.dueling or recipe.noisy or recipe.optimizer != "adam":
            raise ValueError("the loop with PyTorch has plain networks and Adam")
        self.torch, self.double, self.is_screen = torch, recipe.double, signature.is_screen
        self.online, self.target = (_network(torch.nn, recipe, signature) for _ in range(2))
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=recipe.lr, eps=1e-5)
        self.update_target()

    def values(self, states: NDArray[Any]) -> NDArray[np.float32]:
        """As of `Agent`."""
        with self.torch.inference_mode():
            return np.asarray(self.online(self._input(states)).numpy())

    def update_target(self) -> None:
        """As of `Agent`."""
        self.target.load_state_dict(self.online.state_dict())

    def learn(self, batch: Batch) -> Learned:
        """As of `Agent`."""
        torch = self.torch
        following = self._input(batch.following)
        with torch.no_grad():
            q = self.target(following)
            chosen = (self.online(following) if self.double else q).argmax(1, keepdim=True)
            best = q.gather(1, chosen)[:, 0]
            wanted = torch.from_numpy(batch.returns) + torch.from_numpy(batch.discounts) * best
        taken = torch.from_numpy(batch.actions)[:, None]
        given = self.online(self._input(batch.states)).gather(1, taken)[:, 0]
        loss = torch.nn.functional.huber_loss(given, wanted)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        errors = (wanted - given).detach().numpy()
        return Learned(loss.item(), given.mean().item(), errors)

    def _input(self, states: NDArray[Any]) -> Any:
        tensor = self.torch.from_numpy(np.ascontiguousarray(states))
        return tensor.float().div_(255) if self.is_screen else tensor


def _network(nn: Any, recipe: Recipe, signature: Signature) -> Any:
    layers: list[Any] = []
    features = signature.frame[0]
    if signature.is_screen:
        channels, side = signature.stack, signature.frame[0]
        for kernel, stride, times in ((8, 4, 1), (4, 2, 2), (3, 1, 2)):
            layers += [nn.Conv2d(channels, times * recipe.width, kernel, stride), nn.ReLU()]
            channels, side = times * recipe.width, (side - kernel) // stride + 1
        layers.append(nn.Flatten())
        features = channels * side**2
    for size in recipe.hidden:
        layers += [nn.Linear(features, size), nn.ReLU()]
        features = size
    return nn.Sequential(*layers, nn.Linear(features, len(signature.actions)))


def sampling_ms(frames: int = 20_000, draws: int = 200) -> float:
    """The median time of drawing 32 transitions, both stacks of four 84 x 84 screens of each."""
    signature = Signature((84, 84), 4, ("a", "b"))
    memory = Memory(frames, signature, n_step=3)
    rng = np.random.default_rng(0)
    screen = rng.integers(0, 256, signature.frame, dtype=np.uint8)
    memory.begin(0, screen)
    for _ in range(frames - 8):
        memory.add(0, 0, 0.0, screen, terminated=False)
    times = []
    for _ in range(draws):
        start = time.perf_counter()
        memory.sample(32, rng)
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        name, side, steps, threads = json.loads(sys.argv[2])
        print(steps_per_second(RECIPES[name], side, steps, threads))
    else:
        run_command(main, Options)
