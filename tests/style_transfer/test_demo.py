"""The demo end to end, in small."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from style_transfer import demo, session
from style_transfer.demo import Options, main
from tests.style_transfer.conftest import picture


def test_it_paints_draws_and_measures(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(Options(weights=weights, size=64, iterations=9, out=tmp_path / "out"))
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert json.loads(capsys.readouterr().out) == summary
    assert (summary["width"], summary["height"]) == (64, 43)
    assert summary["network"] == "backbone" and summary["iterations"] == 9
    style, content = summary["style loss"], summary["content loss"]
    assert style["final"] < style["initial"]
    assert style["final/initial"] == pytest.approx(style["final"] / style["initial"])
    # It starts from the content, whose own loss is nothing.
    assert content["initial"] == 0 and content["final/initial"] is None
    assert content["final/noise"] < 1
    wanted = {"result.png", "animation.gif", "course.png", "before_after.png", "losses.png"}
    assert set(summary["pictures"]) == wanted
    for name in wanted:
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert not (tmp_path / "out/last.safetensors").exists()


def test_after_ctrl_c_it_begins_anew(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "photographs", lambda: (picture(0), picture(1)))
    options = Options(weights=weights, size=48, iterations=3, out=tmp_path / "out")
    seen = session._Session._seen

    def stop(self: Any, *args: Any) -> None:
        seen(self, *args)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(session._Session, "_seen", stop)
        with pytest.raises(KeyboardInterrupt):
            main(options)
    assert (tmp_path / "out/result.png").is_file()
    main(options)
    assert (tmp_path / "out/summary.json").is_file()


def test_a_missed_promise_fails(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = demo.load("backbone", weights)
    monkeypatch.setattr(demo, "load", lambda *args, **options: found)
    monkeypatch.setattr(demo, "PROMISE", 1e-9)
    for name in ("before_after", "course", "losses"):
        monkeypatch.setattr(f"style_transfer.pictures.{name}", lambda *args: picture())
    monkeypatch.setattr(demo, "photographs", lambda: (picture(0), picture(1)))
    monkeypatch.setattr(Options, "iterations", 3)
    main(Options(weights=weights, size=48, iterations=3, out=tmp_path / "mine"))
    main(Options(size=48, iterations=2, out=tmp_path / "few"))
    with pytest.raises(RuntimeError, match=r"of the style loss is left, the demo promises 0%"):
        main(Options(size=48, iterations=3, out=tmp_path / "out"))


def test_the_photographs_come_with_the_packages() -> None:
    content, style = demo.photographs()
    assert content.shape == (300, 451, 3) and style.ndim == 3


def test_impossible_options() -> None:
    for options, reason in (({"size": 0}, "--size is 0"), ({"iterations": 0}, "--iterations is 0")):
        with pytest.raises(ValueError, match=reason):
            Options(**options)  # type: ignore[arg-type]
