"""The training loop, to be read from top to bottom: `Training.fit` (Mnih et al. 2015,
algorithm 1)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import core
from core import device as dev
from core import optim
from core.io import weights
from core.training import checkpoint
from core.training.interrupt import Interrupt, interruptible
from core.training.progress import Progress
from core.training.run import BEST, LAST, Run
from dqn.agent import Agent
from dqn.environments import (
    TRAINING,
    VALIDATION,
    Signature,
    episode_seed,
    frame_of,
    is_atari,
    lives_of,
    make,
    signature_of,
)
from dqn.networks import QNetwork, build, stacked
from dqn.play import choose, play
from dqn.player import Player, need_same
from dqn.recipes import Recipe
from dqn.replay import Memory, PrioritizedMemory

_LOCKSTEP = 10  # environments of an evaluation, at most
_CHECKPOINT_MINUTES = 10


class Training:
    """A training by a recipe: environments, memory and agent, and how far they are.

    Episodes come in rounds, one of each environment; a checkpoint is taken between rounds, when
    none is under way, and each episode's seed depends on (seed, environment, round) alone. So a
    run that continues from a checkpoint gives the same figures, bit for bit, as one that never
    stopped.
    """

    def __init__(self, recipe: Recipe, run: Run, *, seed: int = 0, device: str = "cpu") -> None:
        core.seed(seed)
        self.recipe, self.run, self.seed = recipe, run, seed
        self.environments = [make(recipe.env, recipe.protocol) for _ in range(recipe.environments)]
        self.signature = signature_of(self.environments[0])
        self.agent = _agent(recipe, self.signature, device)
        self.memory = _memory(recipe, self.signature)
        self.rng = np.random.default_rng([seed, 1])
        self.step = self.updates = self.rounds = self.evaluations = 0
        self.best: float | None = None
        self.best_step = 0
        self._lives = [0] * recipe.environments
        self._recent = _Recent()
        self._watched = [
            make(recipe.env, recipe.protocol)
            for _ in range(min(_LOCKSTEP, recipe.evaluate_episodes))
        ]

    def start_from(self, path: Path) -> None:
        """Take the weights of an agent in a file. Raises ValueError where they do not fit."""
        there = Player.load(path)
        need_same(self.signature, there.signature, f"{self.recipe.env} here", f"{path}")
        weights.load_model(self.agent.online, path)
        self.agent.update_target()

    def fit(self, *, resume: bool = False) -> Player:
        """Train until the recipe's end; the player with the weights of the best evaluation.

        Ctrl-C saves after the round and raises KeyboardInterrupt. Raises RuntimeError when the
        loss is no number any more, ValueError when the checkpoint does not fit.
        """
        if resume:
            self._resume()
        saved_at = time.monotonic()
        progress = Progress(epochs=1, steps_per_epoch=self.recipe.steps, done=self.step)
        with interruptible() as interrupt, progress:
            while not self._is_over():
                self._round(progress, interrupt)
                self._evaluate(progress)
                if interrupt.requested:
                    self._interrupted(progress)
                if time.monotonic() - saved_at > 60 * _CHECKPOINT_MINUTES:
                    self._save()
                    saved_at = time.monotonic()
            self._save()
        player = self._player()
        weights.load_model(player.network, self.run.path(BEST))
        return player

    def _is_over(self) -> bool:
        goal = self.recipe.stop_at
        reached = goal is not None and self.best is not None and self.best >= goal
        return self.step >= self.recipe.steps or reached

    # ------------------------------------------------------------------ playing and learning

    def _round(self, progress: Progress, interrupt: Interrupt) -> None:
        """An episode of each environment; whose is over waits for the others."""
        self._recent.restart()
        if self.recipe.noisy:
            # Before the first update too, or all that it learns from is one policy's.
            self.agent.online.reset_noise()
        seen = {i: self._begin(i) for i in range(len(self.environments))}
        told = False
        while seen:
            epsilon, ended = self.recipe.epsilon_at(self.step), []
            states = stacked(list(seen.values()))
            actions = choose(self.agent.values, states, epsilon, self.rng)
            for i, action in zip(list(seen), actions, strict=True):
                seen[i], episode = self._act(i, action)
                self.step += 1
                progress.step({"epsilon": epsilon, **self._recent.figures()})
                if episode is not None:
                    del seen[i]
                    ended.append(episode)
            self._learn()
            # After the updates that are due: none is left over between rounds.
            for episode in ended:
                self._log_episode(episode, epsilon)
            if interrupt.requested and not told:
                progress.note("the episode under way is played to its end, then saved")
                told = True
        self.rounds += 1

    def _begin(self, i: int) -> np.ndarray:
        """A new episode of environment `i`; its first observation."""
        env = self.environments[i]
        observation, _ = env.reset(seed=episode_seed(self.seed, TRAINING, i, self.rounds))
        self.memory.begin(i, frame_of(observation))
        self._lives[i] = lives_of(env) if self.recipe.life_loss else 0
        return observation

    def _act(self, i: int, action: np.int64) -> tuple[np.ndarray, Mapping[str, Any] | None]:
        """Do it, and remember what came of it; what is seen, and the episode if it is over."""
        env = self.environments[i]
        observation, reward, terminated, truncated, info = env.step(action)
        lives = lives_of(env) if self._lives[i] else 0
        life_lost = lives < self._lives[i]
        self._lives[i] = lives
        reward, frame = float(reward), frame_of(observation)
        self.memory.add(
            i,
            int(action),
            float(np.sign(reward)) if self.recipe.clip_rewards else reward,
            frame,
            terminated=terminated or life_lost,
            truncated=truncated,
        )
        ended = terminated or truncated
        if life_lost and not ended:
            self.memory.begin(i, frame)
        return observation, info["episode"] if ended else None

    def _learn(self) -> None:
        """The updates that are due after `step` steps."""
        recipe = self.recipe
        due = (self.step - recipe.learning_starts) // recipe.train_every
        while self.updates < due and len(self.memory):
            if isinstance(self.memory, PrioritizedMemory):
                part = min(1.0, self.step / recipe.steps)
                self.memory.beta = recipe.beta + (1 - recipe.beta) * part
            if recipe.noisy:
                self.agent.online.reset_noise()
                self.agent.target.reset_noise()
            batch = self.memory.sample(recipe.batch_size, self.rng)
            learned = self.agent.learn(batch)
            if not math.isfinite(learned.loss):
                self._stop_at_nan()
            self.memory.update(batch.slots, learned.errors)
            self._recent.add(learned.loss, learned.q)
            self.updates += 1
            if self.updates % recipe.target_every == 0:
                self.agent.update_target()

    # ------------------------------------------------------------------ figures

    def _log_episode(self, episode: Mapping[str, Any], epsilon: float) -> None:
        skip = self.recipe.frame_skip if is_atari(self.recipe.env) else 1
        figures = {
            "return": float(episode["r"]),
            "length": int(episode["l"]),
            "epsilon": round(epsilon, 4),
            "updates": self.updates,
            **self._recent.means(),
            "frames_per_second": round(skip * self._recent.steps_per_second(self.step), 1),
        }
        self.run.log(self.step, figures)
        self._recent = _Recent(self.step, figures["return"])

    def _evaluate(self, progress: Progress) -> None:
        """When it is time: greedy episodes on seeds of their own; the best weights are kept."""
        recipe = self.recipe
        if self.step // recipe.evaluate_every <= self.evaluations and self.step < recipe.steps:
            return
        self.evaluations = self.step // recipe.evaluate_every
        player = self._player()
        seeds = [episode_seed(self.seed, VALIDATION, 0, i) for i in range(recipe.evaluate_episodes)]
        returns = [episode.total for episode in play(self._watched, player.values, seeds)]
        player.network.train()
        mean = float(np.mean(returns))
        self.run.log(self.step, {"val_return": mean})
        progress.note(
            f"step {self.step}: mean return {mean:.4g} of {len(seeds)} greedy episodes, "
            f"epsilon {recipe.epsilon_at(self.step):.2g}, {self.run.seconds:.0f} s"
        )
        if self.best is None or mean > self.best:
            self.best, self.best_step = mean, self.step
            card = player.card(metrics={"val_return": mean, "step": self.step}, seed=self.seed)
            weights.save_model(player.network, self.run.path(BEST), card)

    def _player(self) -> Player:
        recipe = self.recipe
        return Player(
            self.agent.online, recipe.env, self.signature, recipe.architecture, recipe.protocol
        )

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on; between rounds only."""
        return {
            "signature": [list(self.signature.frame), self.signature.stack],
            "actions": list(self.signature.actions),
            "counts": [self.step, self.updates, self.rounds, self.evaluations],
            "best": [self.best, self.best_step],
            "rng": self.rng.bit_generator.state,
            "random": dev.random.state_dict(),
            "online": self.agent.online.state_dict(),
            "target": self.agent.target.state_dict(),
            "optimizer": self.agent.optimizer.state_dict(),
            "memory": self.memory.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises ValueError where it does not fit."""
        frame, stack = state["signature"]
        there = Signature(tuple(frame), stack, tuple(state["actions"]))
        need_same(self.signature, there, f"{self.recipe.env} here", "that run")
        weights.check_fit(self.agent.online, state["online"], "its network")
        self.agent.online.load_state_dict(state["online"])
        self.agent.target.load_state_dict(state["target"])
        self.agent.optimizer.load_state_dict(state["optimizer"])
        self.memory.load_state_dict(state["memory"])
        self.rng.bit_generator.state = state["rng"]
        dev.random.load_state_dict(state["random"])
        self.step, self.updates, self.rounds, self.evaluations = map(int, state["counts"])
        self.best, self.best_step = state["best"][0], int(state["best"][1])
        self._recent = _Recent(self.step)

    def _save(self) -> None:
        checkpoint.save(self.run.path(LAST), self.state_dict())

    def _resume(self) -> None:
        path = self.run.path(LAST)
        state = checkpoint.load(path)
        try:
            self.load_state_dict(state)
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise ValueError(f"{path}: cannot continue from it: {error}") from error
        self.run.rewind(self.step)

    def _interrupted(self, progress: Progress) -> NoReturn:
        self._save()
        progress.note(
            f"stopped after step {self.step}, saved in {self.run.folder}; "
            "the same command with --resume continues"
        )
        raise KeyboardInterrupt

    def _stop_at_nan(self) -> NoReturn:
        raise RuntimeError(
            f"the loss is no number any more after step {self.step}: try a lower --lr"
        )


class _Recent:
    """Loss and value since the last episode, and how fast it goes."""

    def __init__(self, step: int = 0, last_return: float | None = None) -> None:
        self._loss = self._q = 0.0
        self._count = 0
        self._step, self._start = step, time.perf_counter()
        self._shown = {} if last_return is None else {"return": last_return}

    def restart(self) -> None:
        """Begin to measure the time now: what came before was no training."""
        self._start = time.perf_counter()

    def add(self, loss: float, q: float) -> None:
        self._loss += loss
        self._q += q
        self._count += 1

    def means(self) -> dict[str, float]:
        """Mean loss and value; nothing where nothing was learned."""
        if not self._count:
            return {}
        return {"loss": self._loss / self._count, "q": self._q / self._count}

    def figures(self) -> dict[str, float]:
        """What is shown beside the progress: the return of the episode before, and the means."""
        return {**self._shown, **self.means()}

    def steps_per_second(self, step: int) -> float:
        return (step - self._step) / max(1e-9, time.perf_counter() - self._start)


def _agent(recipe: Recipe, signature: Signature, device: str) -> Agent:
    online = build(signature, recipe.architecture)
    target = build(signature, recipe.architecture)
    online.to(device)
    target.to(device)
    return Agent(online, target, _optimizer(recipe, online), double=recipe.double)


def _optimizer(recipe: Recipe, network: QNetwork) -> optim.Optimizer:
    if recipe.optimizer == "adam":
        # Above the default: a weight whose gradient is nearly always zero must not leap later.
        return optim.Adam(network.parameters(), lr=recipe.lr, eps=1e-5)
    return optim.RMSprop(network.parameters(), lr=recipe.lr, alpha=0.95, eps=0.01, centered=True)


def _memory(recipe: Recipe, signature: Signature) -> Memory:
    kind: Callable[..., Memory] = Memory
    if recipe.prioritized:
        kind = partial(PrioritizedMemory, alpha=recipe.alpha, beta=recipe.beta)
    return kind(
        recipe.memory,
        signature,
        environments=recipe.environments,
        n_step=recipe.n_step,
        gamma=recipe.gamma,
    )
