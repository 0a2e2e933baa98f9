"""The command: what it makes, what it takes, what it refuses in one line."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.cli import run_command
from core.data.images import read_image, save_image
from core.training.run import read_metrics
from style_transfer import session
from style_transfer.options import layers
from style_transfer.predict import Options, main
from tests.style_transfer.conftest import picture

Files = tuple[Path, Path]


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    # The demo's test draws them.
    for name in ("before_after", "course", "losses"):
        monkeypatch.setattr(f"style_transfer.pictures.{name}", lambda *args: picture())


@pytest.fixture
def quick(weights: Path, tmp_path: Path) -> dict[str, Any]:
    return {"weights": weights, "size": (48,), "iterations": 3, "out": tmp_path / "out"}


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def result(folder: Path) -> np.ndarray:
    return read_image(folder / "result.png")


def test_the_command_line(
    files: Files, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--size", "40", "48", "--iterations", "3", "--optimizer", "adam"]
    flags += ["--content-layers", "features.18", "--style-layers", "features.1=2", "features.6"]
    args = [*map(str, files), "--weights", str(weights), "--out", str(tmp_path / "out"), *flags]
    run_command(main, Options, args)
    found = summary(tmp_path / "out")
    assert json.loads(capsys.readouterr().out) == found
    assert result(tmp_path / "out").shape == (40, 48, 3)
    assert found["iterations"] == 6
    sizes = [line["size"] for line in read_metrics(tmp_path / "out/metrics.jsonl")]
    assert sizes == [40] * 3 + [48] * 3


def test_a_picture_as_out(
    files: Files, quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick["out"] = tmp_path / "mine.png"
    main(Options(pictures=files, **quick))
    folder = tmp_path / "runs/style_transfer-predict"
    assert (read_image(tmp_path / "mine.png") == result(folder)).all()
    with pytest.raises(ValueError, match=r"content\.png would be overwritten"):
        main(Options(pictures=files, **(quick | {"out": files[0]})))


def test_the_same_seed_gives_the_same_picture(files: Files, quick: dict[str, Any]) -> None:
    found = []
    for seed in (0, 0, 1):
        main(Options(pictures=files, init="noise", seed=seed, **quick))
        found.append(result(quick["out"]))
    assert (found[0] == found[1]).all() and (found[0] != found[2]).any()


def test_a_texture_needs_no_content(files: Files, quick: dict[str, Any]) -> None:
    main(Options(pictures=files[1:], task="texture", **(quick | {"size": (64,)})))
    assert result(quick["out"]).shape == (64, 51, 3)
    assert summary(quick["out"])["content loss"]["final"] == 0
    with pytest.raises(ValueError, match="a texture has no content"):
        main(Options(pictures=files[1:], task="texture", init="content", **quick))


@pytest.mark.parametrize("colors", ["luminance", "histogram"])
def test_the_contents_colors_stay(files: Files, quick: dict[str, Any], colors: Any) -> None:
    content = read_image(files[0]).astype(float).mean((0, 1))

    def off(**options: Any) -> float:
        main(Options(pictures=files, init="style", **options, **quick))
        return float(np.abs(result(quick["out"]).astype(float).mean((0, 1)) - content).sum())

    assert off(colors=colors) < off() / 2


@pytest.mark.parametrize("init", ["content", "style", "noise"])
def test_the_luminance_that_is_saved_is_the_one_that_was_optimised(
    files: Files, quick: dict[str, Any], init: Any
) -> None:
    main(Options(pictures=files, colors="luminance", init=init, **(quick | {"iterations": 30})))
    lines = read_metrics(quick["out"] / "metrics.jsonl")
    best = min(lines, key=lambda line: line["loss"])
    found = summary(quick["out"])
    assert found["style loss"]["final"] == pytest.approx(best["style loss"], rel=0.1)
    assert found["content loss"]["final"] == pytest.approx(best["content loss"], rel=0.1)


def test_nowhere_to_go_still_gives_the_size_asked_for(
    quick: dict[str, Any], tmp_path: Path
) -> None:
    save_image(tmp_path / "flat.png", np.full((40, 48, 3), 90, np.uint8))
    flat = (tmp_path / "flat.png",) * 2
    main(Options(pictures=flat, **(quick | {"size": (40, 48)})))
    assert result(quick["out"]).shape == (40, 48, 3)


def test_a_style_for_each_region(files: Files, quick: dict[str, Any], tmp_path: Path) -> None:
    mask = np.zeros((20, 24), np.uint8)
    mask[:, 12:] = 255
    save_image(tmp_path / "mask.png", mask)
    three = (*files, files[0])
    main(Options(pictures=three, mask=tmp_path / "mask.png", **quick))
    assert summary(quick["out"])["style loss"]["final/initial"] < 1
    with pytest.raises(ValueError, match="the mask has 2 grey values, expected 1"):
        main(Options(pictures=files, mask=tmp_path / "mask.png", **quick))
    save_image(tmp_path / "mask.png", mask[:, ::2])
    with pytest.raises(ValueError, match="the mask has 12x20 pixels, the content 48x40: expected"):
        main(Options(pictures=three, mask=tmp_path / "mask.png", **quick))
    # Red, white and black: three regions, two values of red.
    colored = np.repeat(mask[:, :, None], 3, axis=2)
    colored[:10, 12:, 1:] = 0
    save_image(tmp_path / "mask.png", colored)
    with pytest.raises(ValueError, match="the mask has colours, expected grey values"):
        main(Options(pictures=three, mask=tmp_path / "mask.png", **quick))


def test_reconstructions_layer_by_layer(files: Files, quick: dict[str, Any]) -> None:
    named = {"style_layers": ("features.1", "features.6")}
    main(Options(pictures=files, task="reconstruct", **named, **quick))  # type: ignore[arg-type]
    left = summary(quick["out"])["loss left of noise's"]
    both = ["features.1", "features.6"]
    assert list(left) == [f"{kind}-{name}" for kind in ("style", "content") for name in both]
    assert all(0 < part < 1 for part in left.values())
    for stem in (*left, "layers"):
        assert (quick["out"] / f"{stem}.png").is_file()
    with pytest.raises(
        ValueError, match="reconstruct takes a content and at most one style, not 2"
    ):
        main(Options(pictures=(*files, files[1]), task="reconstruct", **quick))


def test_reconstructions_as_a_picture(
    files: Files, quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick["out"] = tmp_path / "mine.png"
    named: dict[str, Any] = {"style_layers": ("features.1",)}
    main(Options(pictures=files[:1], task="reconstruct", **named, **quick))
    drawn = read_image(tmp_path / "runs/style_transfer-predict/layers.png")
    assert (read_image(tmp_path / "mine.png") == drawn).all()


def test_what_cannot_be_resumed_can_begin_anew_after_ctrl_c(
    files: Files, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    named: dict[str, Any] = {"style_layers": ("features.1",), "task": "reconstruct"}
    seen = session._Session._seen

    def stop(self: Any, *args: Any) -> None:
        seen(self, *args)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(session, "_CHECKPOINT_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(session._Session, "_seen", stop)
        with pytest.raises(KeyboardInterrupt):
            main(Options(pictures=files[:1], **named, **quick))
    assert "--resume" not in capsys.readouterr().err
    assert (quick["out"] / "content-features.1.png").is_file()
    main(Options(pictures=files[:1], **named, **quick))
    assert list(summary(quick["out"])["loss left of noise's"]) == ["content-features.1"]


def test_normalised_activations(files: Files, quick: dict[str, Any]) -> None:
    main(Options(pictures=files, normalise_activations=True, **quick))
    assert summary(quick["out"])["style loss"]["final/initial"] < 1


def test_frames_and_an_animation(files: Files, quick: dict[str, Any]) -> None:
    from PIL import Image

    for every, names in ((1, ["00001", "00002", "00003"]), (2, ["00002"])):
        main(Options(pictures=files, save_every=every, **quick))
        assert sorted(p.stem for p in (quick["out"] / "frames").iterdir()) == names
    with Image.open(quick["out"] / "animation.gif") as gif:
        assert gif.size == (48, 40)


def test_ctrl_c_keeps_the_best_and_resume_goes_on(
    files: Files, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = quick | {"size": (40, 48), "optimizer": "adam"}
    seen = session._Session._seen

    def stop_at_four(self: Any, *args: Any) -> None:
        seen(self, *args)
        if self._count == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(session._Session, "_seen", stop_at_four)
    with pytest.raises(KeyboardInterrupt):
        main(Options(pictures=files, **options))
    assert result(quick["out"]).shape == (40, 48, 3)
    assert not (quick["out"] / "summary.json").exists()
    with pytest.raises(ValueError, match="holds an unfinished training"):
        main(Options(pictures=files, **options))
    with pytest.raises(ValueError, match="was begun with --iterations 3, not 4"):
        main(Options(pictures=files, resume=True, **(options | {"iterations": 4})))
    main(Options(pictures=files, resume=True, **options))
    steps = [line["step"] for line in read_metrics(quick["out"] / "metrics.jsonl")]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert summary(quick["out"])["iterations"] == 6


def test_odd_pictures(quick: dict[str, Any], tmp_path: Path) -> None:
    from PIL import Image

    grey, clear, dot = (tmp_path / name for name in ("grey.png", "clear.png", "dot.png"))
    save_image(grey, picture(0)[:, :, 0])
    alpha = np.concatenate([picture(1), np.full((40, 48, 1), 128, np.uint8)], axis=2)
    Image.fromarray(alpha).save(clear)
    save_image(dot, np.full((1, 1, 3), 200, np.uint8))
    for pair, shape in (((grey, clear), (40, 48, 3)), ((dot, grey), (48, 48, 3))):
        main(Options(pictures=pair, **quick))
        assert result(quick["out"]).shape == shape
    main(Options(pictures=(grey, dot), **quick))
    assert np.isfinite(summary(quick["out"])["style loss"]["final"])


def test_a_photograph_of_twenty_megapixels(quick: dict[str, Any], tmp_path: Path) -> None:
    large = np.zeros((4000, 5000, 3), np.uint8)
    large[1000:3000, 1000:4000] = (200, 90, 30)
    save_image(tmp_path / "large.jpg", large)
    main(Options(pictures=(tmp_path / "large.jpg",) * 2, **quick))
    assert result(quick["out"]).shape == (38, 48, 3)


def test_recomputed_activations(files: Files, quick: dict[str, Any]) -> None:
    made = []
    for recompute in (True, False):
        main(Options(pictures=files, recompute=recompute, **quick))
        made.append(result(quick["out"]))
    assert (made[0] == made[1]).all()


def test_what_is_refused_leaves_no_folder(
    files: Files, quick: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, broken = tmp_path / "line.png", tmp_path / "broken.jpg"
    save_image(line, np.zeros((2, 90, 3), np.uint8))
    broken.write_bytes(files[1].read_bytes()[:300])
    content, style = map(str, files)
    common = ["--weights", str(quick["weights"]), "--out", str(quick["out"])]
    for args, reason in (
        ([content], "1 pictures, expected a content picture and a style"),
        ([content, str(tmp_path / "no.png")], "no.png: no such picture"),
        ([content, str(broken)], "broken.jpg: broken picture"),
        ([str(line), style], "a picture of 90x2 would be 512x11, expected at least 32"),
        ([content, style, "--size", "16"], "would be 16x13, expected at least 32"),
        ([content, style, "--size", "64", "48"], "--size is (64, 48)"),
        ([content, style, "--style-layers", "relu9"], "Backbone has no layer 'relu9'"),
        ([content, style, "--style-layers", "features.1=x"], "layer features.1=x: expected a"),
        ([content, style, "--blend", "1", "2"], "--blend has 2 weights for 1 styles"),
        ([content, style, "--blend", "0"], "not all 0"),
        ([content, style, "--normalise-gradients"], "add --optimizer adam"),
        ([content, style, "--tv-weight", "-1"], "--tv-weight is -1.0"),
        ([content, style, "--lr", "0.1"], "--lr has no meaning with --optimizer lbfgs"),
        ([content, "--task", "reconstruct", "--blend", "2"], "--blend has no meaning with --task"),
        ([content, "--task", "reconstruct", "--resume"], "--resume has no meaning with --task"),
        ([content, "--task", "reconstruct", "--style-layers", "relu9"], "has no layer 'relu9'"),
        ([content, str(line), "--task", "reconstruct"], "a picture of 90x2 would be 512x11"),
        ([style, "--task", "texture", "--colors", "luminance"], "--colors has no meaning with"),
        ([style, "--task", "texture", "--content-weight", "2"], "--content-weight has no meaning"),
        (
            [content, style, style, "--blend", "2", "1", "--mask", content],
            "--blend has no meaning with --mask",
        ),
        ([content, style, "--save-every", "201"], "--save-every is 201, of 200 iterations"),
        ([content, style, "--resume"], "nothing to resume"),
    ):
        with pytest.raises(SystemExit) as stopped:
            run_command(main, Options, [*args, *common])
        error = capsys.readouterr().err
        assert stopped.value.code == 2
        assert reason in " ".join(error.replace("│", " ").split()), error
        assert not quick["out"].exists()
    with pytest.raises(ValueError, match="pretrained network 'vgg99' is unknown"):
        main(Options(pictures=files, network="vgg99"))


def test_a_network_without_a_recipe_needs_layers(
    files: Files, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("style_transfer.network.RECIPES", {})
    with pytest.raises(ValueError, match="backbone has no default layers: name some"):
        main(Options(pictures=files, **quick))
    named: dict[str, Any] = {"content_layers": ("features.8",), "style_layers": ("features.3",)}
    main(Options(pictures=files, **named, **quick))
    assert summary(quick["out"])["iterations"] == 3


def test_layers_with_weights() -> None:
    assert layers(["a", "b=2"]) == {"a": 0.5, "b": 2.0}
    with pytest.raises(ValueError, match="layer a=-1"):
        layers(["a=-1"])
    assert layers([]) == {}
