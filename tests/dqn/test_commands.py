"""The commands end to end, in small."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.io import weights
from core.io.files import plain
from core.training.run import Run
from dqn import demo, evaluate, predict, recipes, train
from dqn.environments import Protocol
from dqn.evaluate import RETURNS
from dqn.player import Player
from dqn.recording import steps_per_second
from dqn.training import Training
from tests.dqn.conftest import small_recipe

FIGURES = {"mean_return", "interquartile_mean", "interval_95", "std_return", "lowest_return"}


def summary_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return loaded


def training_options(out: Path, name: str = "cartpole", **changes: Any) -> train.Options:
    small = asdict(small_recipe(name))
    return train.Options(**{**small, "test_episodes": 3, "out": out, **changes})


def test_train_then_evaluate_then_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for seed in (0, 1):
        out = tmp_path / f"run{seed}"
        summary = train.main(training_options(out, seed=seed))
        assert summary == summary_of(out) and set(summary) > FIGURES
        assert summary["episodes"] == len(json.loads((out / RETURNS).read_text())) == 3
        assert summary["pictures"] == ["curves.png"] and summary["steps"] >= 300
        files.append(out / train.AGENT)
    capsys.readouterr()

    out = tmp_path / "evaluated"
    evaluate.main(evaluate.Options(weights=tuple(files), episodes=4, out=out))
    summary = summary_of(out)
    assert json.loads(capsys.readouterr().out) == summary
    assert summary["agents"] == 2 and set(summary["epsilon 0.05"]) >= FIGURES
    returns = json.loads((out / RETURNS).read_text())
    assert [len(run) for run in returns["epsilon 0"]] == [4, 4]
    low, high = summary["epsilon 0"]["interval_95"]
    assert low <= summary["epsilon 0"]["interquartile_mean"] <= high

    out = tmp_path / "predicted"
    predict.main(predict.Options(weights=files[0], episodes=2, longest=20, out=out))
    summary = summary_of(out)
    assert set(summary["pictures"]) == {"game.gif", "values.png"}
    assert all((out / name).stat().st_size > 0 for name in summary["pictures"])
    assert len(json.loads((out / RETURNS).read_text())) == 2


def test_train_from_weights(player_file: Callable[[str], Path], tmp_path: Path) -> None:
    small: dict[str, Any] = {"hidden": (8,), "steps": 60, "lr": 1e-12}
    given = player_file("CartPole-v1")
    train.main(training_options(tmp_path / "run", weights=given, **small))
    before, _ = weights.load(given)
    after, _ = weights.load(tmp_path / "run" / train.AGENT)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    with pytest.raises(ValueError, match=r"CartPole-v1 here has 2 actions, .*Catch.* 3"):
        other = player_file("openbook/Catch-v0")
        train.main(training_options(tmp_path / "other", weights=other, **small))


def test_the_same_episodes_every_time(player_file: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        options = {"weights": (player_file("CartPole-v1"),), "episodes": 5, "epsilon": (0.3,)}
        evaluate.main(evaluate.Options(**options, out=tmp_path / name))  # type: ignore[arg-type]
    assert (tmp_path / "a" / RETURNS).read_text() == (tmp_path / "b" / RETURNS).read_text()


def test_agents_of_two_games_are_not_mixed(
    player_file: Callable[[str], Path], tmp_path: Path
) -> None:
    both = tuple(player_file(env) for env in ("CartPole-v1", "openbook/Catch-v0"))
    with pytest.raises(ValueError, match="several environments: CartPole-v1, openbook/Catch-v0"):
        evaluate.main(evaluate.Options(weights=both, out=tmp_path))
    with pytest.raises(ValueError, match=r"safetensors plays CartPole-v1, not openbook/Catch-v0"):
        predict.main(predict.Options(env="openbook/Catch-v0", weights=both[0], out=tmp_path))


def test_agents_of_two_protocols_are_not_mixed(
    player_file: Callable[[str], Path], tmp_path: Path
) -> None:
    given = player_file("CartPole-v1")
    arrays, header = weights.load(given)
    protocol = {**json.loads(header["protocol"]), "sticky": 0.25}
    other = tmp_path / "other.safetensors"
    weights.save(other, arrays, {**header, "protocol": json.dumps(protocol)})
    with pytest.raises(ValueError, match="several protocols"):
        evaluate.main(evaluate.Options(weights=(given, other), out=tmp_path))
    evaluate.main(evaluate.Options(weights=(other,), episodes=1, out=tmp_path))
    assert summary_of(tmp_path)["protocol"]["sticky"] == 0.25


def test_a_game_lasts_as_long_in_every_film(
    player_file: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gymnasium import wrappers

    given = player_file("openbook/Catch-v0")
    catch = Player.load(given)
    assert steps_per_second(catch.environment(), catch) == 15
    # The console shows 60 frames a second.
    pong = replace(catch, env="ALE/Pong-v5", protocol=Protocol(frame_skip=3))
    assert steps_per_second(catch.environment(), pong) == 20
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(wrappers, "RecordVideo", lambda *args, **given: made.append(given))
    monkeypatch.setattr(predict, "steps_per_second", lambda env, player: 7.0)
    options = predict.Options(weights=given, film="mp4", out=tmp_path)
    predict._shown(catch, Run(tmp_path), options)
    assert made[0]["fps"] == 7


def test_predict_shows_what_is_looked_at_on_a_screen(
    player_file: Callable[[str], Path], tmp_path: Path
) -> None:
    predict.main(
        predict.Options(weights=player_file("openbook/Catch-v0"), out=tmp_path, longest=30)
    )
    assert set(summary_of(tmp_path)["pictures"]) == {"game.gif", "values.png", "saliency.png"}


def test_predict_writes_a_film_with_gymnasiums_wrapper(
    player_file: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("moviepy")
    given = player_file("openbook/Catch-v0")
    for _ in range(2):
        predict.main(predict.Options(weights=given, out=tmp_path, film="mp4"))
    assert (tmp_path / predict.FILM / "game-episode-0.mp4").stat().st_size > 0


@pytest.mark.parametrize("setting", [{"film": "mp4"}, {"window": True}])
def test_a_missing_extra_for_drawing_is_named(
    setting: dict[str, Any],
    player_file: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in ("pygame", "moviepy"):
        for loaded in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, package, None)
    given = player_file("CartPole-v1")
    with pytest.raises(ValueError, match=r"CartPole-v1 in .* needs the extra: .*\[render\]"):
        predict.main(predict.Options(weights=given, out=tmp_path, **setting))


def test_the_demo_plays_with_weights(player_file: Callable[[str], Path], tmp_path: Path) -> None:
    demo.main(demo.Options(weights=player_file("CartPole-v1"), count=3, out=tmp_path))
    summary = summary_of(tmp_path)
    assert set(summary) > FIGURES and "game.gif" in summary["pictures"]
    assert "steps" not in summary, "nothing was trained"


def test_the_demo_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"cartpole": small_recipe("cartpole"), "catch": small_recipe("catch")}
    monkeypatch.setattr(recipes, "RECIPES", {**recipes.RECIPES, **small})
    for env, kind in ((None, "CartPole-v1"), ("openbook/Catch-v0", "openbook/Catch-v0")):
        out = tmp_path / str(kind).rpartition("/")[2]
        demo.main(demo.Options(env=env, train=env is not None, count=2, out=out))
        summary = summary_of(out)
        assert summary["env"] == kind and summary["steps"] >= 300
        assert {"curves.png", "game.gif", "values.png"} <= set(summary["pictures"])


def test_the_demo_that_learns_goes_on_after_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        recipes, "RECIPES", {**recipes.RECIPES, "cartpole": small_recipe("cartpole")}
    )
    evaluation = Training._evaluate

    def stop(self: Training, progress: Any) -> None:
        evaluation(self, progress)
        if self.evaluations == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            demo.main(demo.Options(count=2, out=tmp_path))
    demo.main(demo.Options(count=2, out=tmp_path, resume=True))
    assert summary_of(tmp_path)["steps"] >= 300
    with pytest.raises(ValueError, match="--resume continues a training: add --train"):
        demo.Options(env="CartPole-v1", resume=True)


def test_a_missed_promise_fails(
    player_file: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = player_file("CartPole-v1")
    monkeypatch.setattr(demo, "load_player", lambda env, path: evaluate.load_player(env, given))
    monkeypatch.setattr(demo, "show", lambda *args: None)
    with pytest.raises(RuntimeError, match=r"the mean return is .*, the demo promises 475"):
        demo.main(demo.Options(env="CartPole-v1", out=tmp_path / "missed"))


@pytest.mark.parametrize(
    ("kind", "setting", "reason"),
    [
        (predict.Options, {"episodes": 0}, "--episodes is 0"),
        (predict.Options, {"longest": 0}, "--longest is 0"),
        (predict.Options, {"epsilon": 2.0}, "--epsilon is 2.0"),
        (predict.Options, {"seed": -1}, "--seed is -1"),
        (evaluate.Options, {"episodes": 0}, "--episodes is 0"),
        (evaluate.Options, {"epsilon": (0.0, -1.0)}, "--epsilon is -1.0"),
        (evaluate.Options, {"epsilon": ()}, "--epsilon names no share"),
        (evaluate.Options, {"seed": -1}, "--seed is -1"),
    ],
)
def test_impossible_options(kind: Any, setting: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        kind(**setting)


def test_another_option_on_resume_is_refused(tmp_path: Path) -> None:
    options = training_options(tmp_path)
    begun = plain({**_fields(options), "lr": 0.5})
    (tmp_path / "config.json").write_text(json.dumps({"verb": "train", "options": begun}))
    (tmp_path / "last.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"begun with --lr 0.5, not 0.001"):
        train.main(train.Options(**{**_fields(options), "resume": True}))


def _fields(options: Any) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in fields(options)}
