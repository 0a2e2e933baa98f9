"""All pairs, in small."""

import json
from pathlib import Path

import pytest

from core.data.images import read_image, save_image
from style_transfer.evaluate import Options, main
from tests.style_transfer.conftest import picture


def test_a_grid_of_all_pairs(weights: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("contents/a", "contents/b", "styles/c")):
        save_image(tmp_path / f"{name}.png", picture(number))
    folders = {"contents": tmp_path / "contents", "styles": tmp_path / "styles"}
    out = tmp_path / "out"
    main(Options(weights=weights, size=40, iterations=3, out=out, **folders))  # type: ignore[arg-type]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["pairs"] == 2 and list(summary["left"]) == ["a in c", "b in c"]
    left = [figures["style"] for figures in summary["left"].values()]
    assert summary["style loss left"]["mean"] == pytest.approx(sum(left) / 2)
    assert 0 < max(left) < 1
    assert read_image(out / "pairs/b-c.png").shape == (33, 40, 3)
    assert read_image(out / "grid.jpg").shape[2] == 3


def test_a_picture_in_its_own_style_has_no_loss_to_lose(weights: Path, tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        save_image(tmp_path / f"both/{name}.png", picture(number))
    both, out = tmp_path / "both", tmp_path / "out"
    main(Options(weights=weights, contents=both, styles=both, size=48, iterations=3, out=out))
    summary = json.loads((out / "summary.json").read_text())
    left = {pair: figures["style"] for pair, figures in summary["left"].items()}
    assert left["a in a"] is left["b in b"] is None
    assert summary["style loss left"]["mean"] == (left["a in b"] + left["b in a"]) / 2


def test_what_is_missing_is_named(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBOOK_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        main(Options(weights=weights, contents=tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="no pictures in this folder"):
        main(Options(weights=weights, contents=tmp_path))
    with pytest.raises(FileNotFoundError, match=r"style: missing content/astronaut\.jpg"):
        main(Options(weights=weights, data_root=tmp_path))
    with pytest.raises(ValueError, match="--iterations is 0"):
        Options(iterations=0)
