"""Environments in the agent's form: our own, Gymnasium's, and what cannot be played."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dqn import catch
from dqn.catch import Catch
from dqn.environments import (
    TEST,
    TRAINING,
    VALIDATION,
    Protocol,
    episode_seed,
    frame_of,
    lives_of,
    make,
    signature_of,
)
from dqn.networks import LEAST_SIDE


def test_gymnasiums_checker_passes_on_our_environment() -> None:
    catch.register()
    check_env(gym.make(catch.ID, render_mode="rgb_array").unwrapped)


def test_it_is_registered_by_a_call_and_not_by_an_import() -> None:
    code = (
        "import gymnasium, dqn.catch, dqn.environments, dqn.train\n"
        "assert dqn.catch.ID not in gymnasium.registry\n"
        "dqn.catch.register(); dqn.catch.register()\n"
        "print(gymnasium.make(dqn.catch.ID).spec.id)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "openbook/Catch-v0"


def landing(env: Catch) -> int:
    """The column where the ball comes down."""
    column, slope, row = env._column, env._slope, env._row
    while row < 38:
        row, column = row + 3, column + slope
        if not 0 <= column <= 40:
            column, slope = (-column if column < 0 else 80 - column), -slope
    return column


def perfect(env: Catch) -> int:
    """The action that leads under the ball."""
    gap = landing(env) - (env._paddle + 2)
    return 1 if abs(gap) < 3 else (0 if gap < 0 else 2)


@pytest.mark.parametrize("seed", range(20))
def test_every_ball_can_be_caught(seed: int) -> None:
    env = Catch()
    env.reset(seed=seed)
    total, steps, terminated = 0.0, 0, False
    while not terminated:
        _, reward, terminated, truncated, _ = env.step(np.int64(perfect(env)))
        total, steps = total + reward, steps + 1
        assert not truncated
    assert total == 10 and steps == 100


@pytest.mark.parametrize("paddle", [0, 18, 36])
def test_no_ball_comes_too_far_away(paddle: int) -> None:
    """Whoever waits a step, until two screens show where the ball goes, still gets there."""
    env = Catch()
    for column in range(41):
        for slope in (-2, -1, 0, 1, 2):
            env.reset(seed=0)
            env._paddle, env._column, env._slope = paddle, column, slope
            rewards = [env.step(np.int64(1))[1]]
            rewards += [env.step(np.int64(perfect(env)))[1] for _ in range(9)]
            assert rewards == [0.0] * 9 + [1.0], (column, slope)


def test_a_ball_falls_and_is_missed() -> None:
    env = Catch()
    screen, _ = env.reset(seed=3)
    assert screen.shape == (44, 44) and screen.dtype == np.uint8
    assert (screen[0] > 0).sum() == 20, "ten marks of two pixels"
    ball = np.argwhere(screen[8:40] == 255)
    assert len(ball) == 16 and np.ptp(ball, axis=0).tolist() == [3, 3]
    away = np.int64(0 if landing(env) > 20 else 2)
    rewards = [env.step(away)[1] for _ in range(10)]
    assert rewards == [0.0] * 9 + [-1.0]
    assert (env._screen()[0] > 0).sum() == 18
    with pytest.raises(ValueError, match="render_mode is 'ansi'"):
        Catch(render_mode="ansi")


@pytest.mark.parametrize(
    ("name", "frame", "stack", "actions"),
    [
        ("CartPole-v1", (4,), 1, 2),
        ("openbook/Catch-v0", (44, 44), 4, 3),
        ("FrozenLake-v1", (16,), 1, 4),
        ("Blackjack-v1", (45,), 1, 2),
        ("Acrobot-v1", (6,), 1, 3),
    ],
)
def test_screens_and_vectors(name: str, frame: tuple[int, ...], stack: int, actions: int) -> None:
    env = make(name, Protocol())
    signature = signature_of(env)
    assert (signature.frame, signature.stack) == (frame, stack)
    assert len(signature.actions) == actions
    observation, _ = env.reset(seed=0)
    assert frame_of(observation).shape == frame
    assert observation.dtype == (np.uint8 if signature.is_screen else np.float32)
    for _ in range(500):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        if terminated or truncated:
            break
    assert "r" in info["episode"]


def test_a_stack_begins_with_its_first_frame_and_ends_with_the_newest() -> None:
    env = make("openbook/Catch-v0", Protocol(stack=3))
    first, _ = env.reset(seed=0)
    second, *_ = env.step(2)
    assert first.shape == (3, 44, 44)
    assert all(np.array_equal(first[k], first[2]) for k in range(3))
    assert np.array_equal(second[:2], first[1:]) and not np.array_equal(second[2], first[2])
    assert min(signature_of(env).frame) >= LEAST_SIDE


def test_an_episode_seed_depends_on_four_numbers_alone() -> None:
    assert episode_seed(0, TEST, 1, 2) == episode_seed(0, TEST, 1, 2)
    kinds = (TRAINING, VALIDATION, TEST)
    seeds = {
        episode_seed(seed, kind, env, episode)
        for seed in range(5)
        for kind in kinds
        for env in range(3)
        for episode in range(50)
    }
    assert len(seeds) == 5 * 3 * 3 * 50


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Pendulum-v1", r"Pendulum-v1 has the actions Box\(.*\); DQN chooses among a few"),
        ("CartPole-v99", "--env CartPole-v99: .*"),
        ("NoSuchGame-v0", "--env NoSuchGame-v0: .*"),
    ],
)
def test_what_cannot_be_played(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        make(name, Protocol())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("ALE/Pong-v5", "ale_py", "atari"), ("LunarLander-v3", "Box2D", "box2d")],
)
def test_a_missing_extra_is_named(
    name: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for loaded in [m for m in sys.modules if m.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, loaded)
    with pytest.raises(
        ValueError, match=rf"{name} needs the extra: pip install 'openbook\[{extra}"
    ):
        make(name, Protocol())


def test_a_protocol_that_cannot_be() -> None:
    for setting, reason in (
        ({"frame_skip": 0}, "--frame-skip is 0"),
        ({"noops": -1}, "--noops is -1"),
        ({"stack": 0}, "--stack is 0"),
        ({"sticky": 1.0}, "--sticky is 1.0"),
    ):
        with pytest.raises(ValueError, match=reason):
            Protocol(**setting)


def test_pong_as_it_is_played() -> None:
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    env = make("ALE/Pong-v5", Protocol())
    signature = signature_of(env)
    assert (signature.frame, signature.stack, len(signature.actions)) == ((84, 84), 4, 6)
    assert len(signature_of(make("ALE/Pong-v5", Protocol(all_actions=True))).actions) == 18
    runs = []
    for _ in range(2):
        env.reset(seed=7)
        runs.append(np.stack([env.step(action % 6)[0] for action in range(40)]))
    assert np.array_equal(runs[0], runs[1]) and runs[0].std() > 0
    assert lives_of(env) == 0 and lives_of(make("CartPole-v1", Protocol())) == 0
    breakout = make("ALE/Breakout-v5", Protocol())
    breakout.reset(seed=0)
    assert lives_of(breakout) == 5
