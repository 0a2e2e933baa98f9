"""Train an agent on any environment with a choice among a few actions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from core import viz
from core.cli import CommonOptions, resolve_device, run_command
from core.io import weights
from core.io.files import write_json
from core.options import need_positive
from core.training.run import METRICS, Run, read_metrics
from dqn import pictures
from dqn.environments import make
from dqn.evaluate import RETURNS, judge, test
from dqn.player import Player
from dqn.recipes import Recipe, defaults
from dqn.training import Training

AGENT = "agent.safetensors"


@dataclass(frozen=True, kw_only=True)
class Options(Recipe, CommonOptions):
    """Train an agent; the run folder then holds agent.safetensors for --weights."""

    CHANGEABLE: ClassVar[frozenset[str]] = CommonOptions.CHANGEABLE | {"test_episodes"}

    recipe: str = "cartpole"
    """Recipe, one of dqn.recipes.RECIPES, by default that of --env; flags change parts of it."""

    weights: Path | None = None
    """Weights (safetensors) of an agent to start from, instead of random ones."""

    test_episodes: int = 100
    """Greedy episodes at the end, on seeds that chose nothing."""

    resume: bool = False
    """Continue the unfinished run in the folder, as if it had not stopped."""

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        CommonOptions.__post_init__(self)
        self.refuse_float16()
        need_positive(self, "test_episodes")


def main(options: Options) -> dict[str, Any]:
    """Train, play the test episodes once, and write everything to the run folder."""
    # What cannot be played is refused before the folder is touched.
    make(options.env, options.protocol).close()
    run = Run.create(options.out, "dqn", "train", options)
    player, figures = train(run, options)
    played = test(player, options.test_episodes, epsilon=0.0, seed=options.seed)
    write_json(run.path(RETURNS), [episode.total for episode in played])
    return run.finish({**figures, "episodes": options.test_episodes, **judge([played])})


def train(run: Run, options: Options) -> tuple[Player, dict[str, Any]]:
    """Train; the player with the best weights, which are in the run folder as well."""
    training = Training(options, run, seed=options.seed, device=resolve_device(options.device))
    if options.weights is not None and not options.resume:
        training.start_from(options.weights)
    player = training.fit(resume=options.resume)
    metrics = read_metrics(run.path(METRICS))
    viz.save(pictures.curves(metrics, options.env), run.picture("curves.png"))
    figures = {
        "env": options.env,
        "seed": options.seed,
        "parameters": player.network.num_parameters(),
        "steps": training.step,
        "updates": training.updates,
        "training_seconds": round(run.seconds, 1),
        "frames_per_second": float(
            round(np.median([line["frames_per_second"] for line in metrics if "return" in line]))
        ),
        "replay_memory_mb": round(training.memory.nbytes / 1e6),
        "best_step": training.best_step,
        "val_return": training.best,
    }
    card = player.card(metrics={"val_return": training.best}, seed=options.seed)
    weights.save_model(player.network, run.path(AGENT), card, dtype=np.float16)
    # What is scored is what ships.
    weights.load_model(player.network, run.path(AGENT))
    return player, figures


if __name__ == "__main__":
    run_command(main, Options, defaults=defaults(Options))
