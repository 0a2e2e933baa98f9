"""Recipes and the flags that change them."""

from typing import Any

import pytest

from core import cli
from dqn import recipes
from dqn.train import Options


def parsed(*args: str) -> Options:
    given: list[Options] = []
    cli.run_command(given.append, Options, args, defaults=recipes.defaults(Options))
    return given[0]


def test_the_paper_is_the_default() -> None:
    """Mnih et al. 2015, extended data table 1."""
    paper = recipes.RECIPES["atari"]
    assert (paper.batch_size, paper.gamma, paper.train_every, paper.stack) == (32, 0.99, 4, 4)
    assert (paper.target_every, paper.learning_starts, paper.lr) == (10_000, 50_000, 0.00025)
    assert (paper.epsilon, paper.epsilon_steps, paper.noops) == (0.1, 1_000_000, 30)
    assert (paper.optimizer, paper.clip_rewards, paper.frame_skip) == ("rmsprop", True, 4)
    assert not (paper.double or paper.dueling or paper.noisy or paper.prioritized)
    assert paper.n_step == 1 and paper.width == 32 and paper.hidden == (512,)


@pytest.mark.parametrize(
    ("args", "recipe", "env"),
    [
        ((), "cartpole", "CartPole-v1"),
        (("--env", "CartPole-v1"), "cartpole", "CartPole-v1"),
        (("--env", "openbook/Catch-v0"), "catch", "openbook/Catch-v0"),
        (("--env", "ALE/Pong-v5"), "pong", "ALE/Pong-v5"),
        (("--env", "ALE/Breakout-v5"), "atari", "ALE/Breakout-v5"),
        (("--env", "ALE/Seaquest-v5"), "atari", "ALE/Seaquest-v5"),
        (("--env", "Acrobot-v1"), "vector", "Acrobot-v1"),
        (("--recipe", "lunar-lander"), "lunar-lander", "LunarLander-v3"),
        (("--recipe", "vector", "--env", "CartPole-v1"), "vector", "CartPole-v1"),
    ],
)
def test_a_recipe_comes_with_the_environment(args: tuple[str, ...], recipe: str, env: str) -> None:
    options = parsed(*args)
    assert (options.recipe, options.env) == (recipe, env)
    assert options.lr == recipes.RECIPES[recipe].lr


def test_an_ablation_is_one_command() -> None:
    options = parsed("--no-double", "--dueling", "--prioritized", "--noisy", "--n-step", "1")
    assert (options.double, options.dueling, options.prioritized, options.noisy) == (
        False,
        True,
        True,
        True,
    )
    assert options.n_step == 1 and options.architecture.noisy and options.architecture.dueling


def test_epsilon_falls_along_a_line() -> None:
    options = parsed("--epsilon", "0.1", "--epsilon-steps", "1000")
    shares = [options.epsilon_at(step) for step in (0, 500, 1000, 5000)]
    assert shares == pytest.approx([1, 0.55, 0.1, 0.1])
    assert parsed("--noisy").epsilon_at(0) == 0.0


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"steps": 0}, "--steps is 0; expected 1 or more"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"gamma": 1.5}, "--gamma is 1.5; expected 0 to 1"),
        ({"epsilon": -0.1}, "--epsilon is -0.1"),
        ({"learning_starts": 3}, "--learning-starts is 3; expected 64 or more"),
        ({"lr": 0.0}, "--lr is 0.0; expected more than 0"),
        ({"sticky": 0.25}, r"--sticky has no meaning for CartPole-v1: only Atari games \(ALE"),
        ({"frame_skip": 2}, "--frame-skip has no meaning for CartPole-v1"),
        ({"all_actions": True}, "--all-actions has no meaning for CartPole-v1"),
        ({"beta": 1.0}, "--beta has no meaning for uniform draws, without --prioritized"),
        ({"hidden": (0,)}, r"--hidden is \(0,\)"),
        ({"test_episodes": 0}, "--test-episodes is 0"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_what_cannot_be(setting: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        recipes.options(Options, "cartpole", **setting)


def test_an_unknown_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--recipe", "chess")
    assert "recipe 'chess' is unknown; expected one of atari, pong" in capsys.readouterr().err
