"""Painting in one pass: a picture, a folder of them, the frames of a film."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from core.data.images import read_image, save_image
from core.io.weights import save_model
from style_transfer import fast, transform
from style_transfer.predict import Options, main
from style_transfer.transform import TransformNet, card_of
from tests.style_transfer.conftest import picture


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    core.seed(0)
    net = TransformNet(4, 1)
    save_model(net, tmp_path / "net.safetensors", card_of(net, "wave"))
    monkeypatch.setattr("core.viz.save", lambda *args: None)
    weights = tmp_path / "net.safetensors"
    return {"task": "fast", "weights": weights, "size": (48,), "out": tmp_path / "out"}


def frames(folder: Path, count: int = 3) -> Path:
    for number in range(count):
        save_image(folder / f"{number:04d}.png", picture(number))
    return folder


def test_one_picture(quick: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "cat.jpg", picture(0, 80, 96))
    main(Options(pictures=(tmp_path / "cat.jpg",), **quick))
    painted = read_image(tmp_path / "out/painted/cat.jpg")
    assert painted.shape == (40, 48, 3)
    quick["out"] = tmp_path / "mine.png"
    main(Options(pictures=(tmp_path / "cat.jpg",), **quick))
    assert read_image(tmp_path / "mine.png").shape == painted.shape


def test_frames_keep_their_names(quick: dict[str, Any], tmp_path: Path) -> None:
    folder = frames(tmp_path / "film")
    (folder / "0001.png").write_bytes(b"no picture")
    save_image(folder / "more/last.webp", picture(7))
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    save_image(folder / "thin.png", np.full((2, 90, 3), 9, np.uint8))
    main(Options(pictures=(folder,), **quick))
    made = sorted(
        p.relative_to(tmp_path / "out/painted") for p in quick["out"].rglob("painted/**/*.*")
    )
    assert [p.as_posix() for p in made] == ["0000.png", "0002.png", "more/last.webp"]
    summary = json.loads((quick["out"] / "summary.json").read_text())
    assert (summary["style"], summary["pictures painted"]) == ("wave", 3)
    reasons = "0001.png: not a readable", "gone.jpg: no such picture", "thin.png: a picture of 90x2"
    for said, reason in zip(summary["skipped"], reasons, strict=True):
        assert reason in said
    assert 0 < summary["frames per second"] < summary["frames per second of the network"]
    assert summary["pictures"] == ["before_after.png"]


def test_odd_pictures(quick: dict[str, Any], tmp_path: Path) -> None:
    from PIL import Image

    grey, clear, dot = (tmp_path / name for name in ("grey.png", "clear.png", "dot.gif"))
    save_image(grey, picture(0)[:, :, 0])
    alpha = np.concatenate([picture(1), np.full((40, 48, 1), 128, np.uint8)], axis=2)
    Image.fromarray(alpha).save(clear)
    Image.new("RGB", (1, 1), (200, 9, 9)).save(dot)
    save_image(tmp_path / "large.jpg", np.zeros((4000, 5000, 3), np.uint8))
    main(Options(pictures=(grey, clear, dot, tmp_path / "large.jpg"), **quick))
    shapes = {"grey.png": (40, 48, 3), "clear.png": (40, 48, 3), "dot.png": (48, 48, 3)}
    shapes["large.jpg"] = (38, 48, 3)
    for name, shape in shapes.items():
        assert read_image(quick["out"] / "painted" / name).shape == shape


def test_what_is_refused_leaves_no_folder(quick: dict[str, Any], tmp_path: Path) -> None:
    folder = frames(tmp_path / "film")
    (tmp_path / "empty").mkdir()
    one = folder / "0000.png"
    for change, reason in (
        ({"pictures": ()}, "nothing to paint"),
        ({"pictures": (tmp_path / "no.png",)}, "no.png: no such picture or folder"),
        ({"pictures": (tmp_path / "empty",)}, "empty: no pictures in this folder"),
        ({"pictures": (one, folder)}, "would both become 0000.png"),
        ({"pictures": (folder,), "out": tmp_path / "x.png"}, "is one picture, and 3 are to be"),
        ({"pictures": (one,), "iterations": 3}, "--iterations has no meaning with --task fast"),
        ({"pictures": (one,), "style_weight": 3.0}, "--style-weight has no meaning"),
        ({"pictures": (one,), "size": (32, 48)}, "--size is (32, 48); fast takes one size"),
        ({"pictures": (one,), "out": one}, "would be overwritten"),
        ({"pictures": (one,), "weights": one}, "no valid safetensors file"),
    ):
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            main(Options(**(quick | change)))
        assert reason in str(caught.value)
        assert not quick["out"].exists()


def test_a_picture_that_was_asked_for_must_be_readable(
    quick: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"bad\.png: not a readable"):
        main(Options(pictures=(tmp_path / "bad.png",), **quick))
    (tmp_path / "film").mkdir()
    (tmp_path / "film/bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"not a single readable picture, for instance .*bad\.png"):
        main(Options(pictures=(tmp_path / "film",), **quick))


def test_the_network_that_ships_paints() -> None:
    net, style = transform.load()
    assert style == transform.DEFAULT
    one = picture(0)
    painted = fast.paint(net, one)
    assert painted.shape == one.shape and painted.std() > 10
    assert np.abs(painted.astype(int) - one).mean() > 10
