"""Training, measuring, drawing and the demo end to end, on tiny data."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

import core
from core import models, recipes
from core.data.dataset import ArrayDataset
from core.data.images import read_image, save_image
from core.io import weights
from core.training.run import LAST, read_metrics
from dcgan import demo, evaluate, predict, train, training
from dcgan.artist import Artist, load_artist, noise
from dcgan.data import fitted, load, to_network, to_pictures
from dcgan.evaluate import measure
from dcgan.metrics import diversity
from dcgan.recipes import RECIPES, Recipe
from dcgan.svm import _fitted, _right, classify, discriminator_features
from dcgan.training import Duel, worries
from tests.dcgan.conftest import MakeArtist


def options(out: Path | None, recipe: str = "digits", **changes: Any) -> train.Options:
    small: dict[str, Any] = {
        "size": 16, "width": 4, "latent": 8, "epochs": 2, "batch_size": 16, "count": 48,
        "samples": 20, "device": "cpu", "out": out, "lr": 0.002,
    }  # fmt: skip
    return recipes.options(train.Options, recipe, RECIPES, **{**small, **changes})


def test_a_training_leaves_everything_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    summary = train.main(options(folder))
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert {"frechet_distance", "floor", "distance_over_floor", "precision"} < set(summary)
    assert summary["samples"] == 20 and summary["epochs"] == 2
    names = {"training.gif", "curves.png", "samples.png", "interpolation.png", "walk.gif",
             "arithmetic.png", "neighbours.png", "filters.png"}  # fmt: skip
    assert set(summary["pictures"]) == names
    for name in (*names, "config.json", LAST, train.NETWORK, "frames/0001.png", "frames/0002.png"):
        assert (folder / name).stat().st_size > 0
    lines = read_metrics(folder / "metrics.jsonl")
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"d_loss", "g_loss", "real", "made", "right", "d_gradient", "diversity"} < set(lines[0])
    assert 0 < lines[0]["right"] < 1
    kept, header = weights.load(folder / train.NETWORK)
    assert json.loads(header["metrics"])["precision"] == summary["precision"]
    assert kept["generator.layers.0.weight"].dtype == np.float16


@pytest.mark.parametrize(
    "changes",
    [
        {"conditional": False, "average": None},
        {"loss": "hinge", "spectral": True},
        {"label_smoothing": 0.1, "flip": True},
    ],
)
def test_a_stopped_training_goes_on_as_if_it_had_not(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "report", lambda *_: {})
    train.main(options(tmp_path / "whole", **changes))
    play, calls = Duel.play, []

    def stop(self: Duel, *args: Any) -> Any:
        calls.append(args)
        if len(calls) == 5:
            # In the middle of the second epoch.
            signal.raise_signal(signal.SIGINT)
        return play(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Duel, "play", stop)
        with pytest.raises(KeyboardInterrupt):
            train.main(options(tmp_path / "stopped", **changes))
    assert not (tmp_path / "stopped" / train.NETWORK).exists()
    train.main(options(tmp_path / "stopped", resume=True, **changes))
    _need_the_same(tmp_path / "whole", tmp_path / "stopped")


def test_a_finished_training_goes_on_for_more_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "report", lambda *_: {})
    train.main(options(tmp_path / "whole", average=0.9))
    train.main(options(tmp_path / "longer", average=0.9, epochs=1))
    train.main(options(tmp_path / "longer", average=0.9, epochs=2, resume=True))
    _need_the_same(tmp_path / "whole", tmp_path / "longer")


def _need_the_same(whole: Path, parts: Path) -> None:
    """Two runs of two epochs with the same course and the same networks, bit for bit."""
    courses = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(path)]
        for path in (folder / "metrics.jsonl" for folder in (whole, parts))
    ]
    assert courses[0] == courses[1] and len(courses[0]) == 2
    arrays = [weights.load(folder / train.NETWORK)[0] for folder in (whole, parts)]
    for name, array in arrays[0].items():
        np.testing.assert_array_equal(array, arrays[1][name], err_msg=name)


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = Duel._learn

    def poisoned(self: Duel, name: str, loss: Any) -> Any:
        return learn(self, name, loss * float("nan") if self.step == 4 else loss)

    monkeypatch.setattr(Duel, "_learn", poisoned)
    with pytest.raises(RuntimeError, match="epoch 2 at step 5: the discriminator's loss is nan"):
        train.main(options(tmp_path / "run"))
    state, _ = weights.load(tmp_path / "run" / LAST)
    assert all(np.isfinite(array).all() for array in state.values())
    monkeypatch.undo()
    train.main(options(tmp_path / "run", resume=True))
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 2


def test_losses_out_of_all_bounds_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.main(options(tmp_path / "run", epochs=1))
    before = (tmp_path / "run" / LAST).read_bytes()
    right = training.discriminator_loss
    monkeypatch.setattr(training, "discriminator_loss", lambda *args: 1000 * right(*args))
    message = r"epoch 2 .* diverged, the discriminator's mean loss is .*; .*is from before; try a"
    with pytest.raises(RuntimeError, match=message):
        train.main(options(tmp_path / "run", resume=True))
    assert (tmp_path / "run" / LAST).read_bytes() == before


def test_a_new_training_films_its_own_epochs_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "report", lambda *_: {})
    films: list[int] = []
    monkeypatch.setattr(train.viz, "save_animation", lambda frames, *_: films.append(len(frames)))
    train.main(options(tmp_path / "whole"))
    (tmp_path / "whole" / "summary.json").rename(tmp_path / "kept.json")
    (tmp_path / "whole" / LAST).unlink()
    train.main(options(tmp_path / "whole", epochs=1))
    assert films == [2, 1]


def test_some_pictures_are_of_all_classes(tmp_path: Path) -> None:
    for number in range(60):
        kind = "ab"[number // 30]
        picture = np.full((8, 8, 3), number, np.uint8)
        save_image(tmp_path / "mine" / kind / f"{number:02d}.png", picture)
    some = train.pictures_of(options(None, data=str(tmp_path / "mine"), count=20))
    assert len(some) == 20 and set(some.labels) == {0, 1}
    for one in (tmp_path / "mine").rglob("*.png"):
        save_image(one, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="all 20 pictures are the same"):
        train.pictures_of(options(None, data=str(tmp_path / "mine"), count=20))


def test_the_generator_learns_what_the_discriminator_cannot_tell(make_artist: MakeArtist) -> None:
    artist = make_artist(width=8)
    # Real pictures are bright above and dark below, with some noise.
    images = np.random.default_rng(0).integers(0, 60, (64, 1, 8, 8)).astype(np.uint8)
    images[:, :, :4] += 195
    data = ArrayDataset(images, np.zeros(64, np.int64), ("half",))
    recipe = Recipe(size=8, width=8, latent=6, batch_size=16, lr=0.002, epochs=25)
    settings = options(None, size=8, batch_size=16)
    duel = Duel(
        artist=artist,
        loader=train.loader(data, settings),
        recipe=recipe,
        seed=0,
        real_diversity=1.0,
    )
    core.seed(0)
    duel.fit(25)
    with duel.drawing():
        drawn = np.stack(artist.draw(noise(16, 6, 9)))
    assert drawn[:, :4].mean() > 180 and drawn[:, 4:].mean() < 75


def test_worries_name_what_is_wrong() -> None:
    fine = {"right": 0.7, "diversity": 0.9, "g_gradient": 1.0}
    plain = Recipe()
    assert worries(fine, plain) == []
    for changes, recipe, message in (
        ({"right": 0.995}, plain, "right about 99.5% of all pictures: .*--label-smoothing 0.1"),
        ({"right": 0.995}, Recipe(label_smoothing=0.1), "right about 99.5% .*try --spectral"),
        ({"right": 0.995}, Recipe(loss="hinge"), "right about 99.5% .*try --spectral"),
        ({"right": 0.4}, plain, "right about 40.0% of all pictures, no better than a guess"),
        ({"g_gradient": 1e-6}, plain, "gradient has vanished .1.0e-06"),
        ({"diversity": 0.1}, plain, "samples look alike .0.10 of real pictures' diversity"),
    ):
        (line,) = worries({**fine, **changes}, recipe)
        assert re.search(message, line), line


def test_what_is_wrong_is_said_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train.main(options(tmp_path / "run", lr=1e-6, epochs=1))
    assert "epoch 1: samples look alike" in capsys.readouterr().err


def test_every_recipe_is_one_that_can_be_built() -> None:
    known = {one.name for one in fields(Recipe)}
    for name, recipe in RECIPES.items():
        assert set(vars(recipe)) == known, name
        artist = Artist.new({**recipe.network_options(3, 10), "width": 2})
        assert artist.generator.size == recipe.size and artist.discriminator is not None


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"batch_size": 1}, "batch norm needs 2 or more"),
        ({"lr": 0.0}, "--lr is 0.0"),
        ({"beta1": 1.0}, "--beta1 is 1.0"),
        ({"label_smoothing": 0.6}, "--label-smoothing is 0.6"),
        ({"average": 1.0}, "--average is 1.0"),
        ({"samples": 2}, "--samples is 2; expected 8 to 10000"),
        ({"samples": 10**9}, "--samples is 1000000000; expected 8 to 10000"),
        ({"size": 48}, "size is 48, expected a power of two"),
        ({"width": 0}, "width is 0, expected 1 to 512"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "--label-smoothing is of --loss bce"),
        ({"count": 3}, "--count is 3; expected 16"),
        ({"weights": Path("x")}, "a training starts from random weights"),
    ],
)
def test_options_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options(None, **changes)


# ------------------------------------------------------------------------------- pictures


def test_pictures_are_framed_or_scaled() -> None:
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 255, (2, 1, 28, 28)).astype(np.uint8)
    framed = fitted(digits, 32)
    assert framed.shape == (2, 1, 32, 32)
    np.testing.assert_array_equal(framed[:, :, 2:-2, 2:-2], digits)
    assert framed[:, :, :2].max() == 0
    assert fitted(digits, 64).shape == (2, 1, 64, 64)
    assert fitted(np.repeat(digits, 3, 1), 16).shape == (2, 3, 16, 16)
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    scaled = to_network(levels)
    assert (scaled.min(), scaled.max()) == (-1, 1)
    np.testing.assert_array_equal(to_pictures(scaled)[0], levels[0, 0])


def test_folders_with_and_without_classes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_, test = (load(str(folder), split, 16) for split in ("train", "test"))
    assert train_.images.shape == (36, 3, 16, 16) and len(test) == 4
    assert train_.classes == ("mine",)
    below = load(str(tmp_path), "train", 16)
    assert below.classes == ("mine",) and len(below) == 36
    with pytest.raises(ValueError, match="'nowhere' is no folder, and none of digits, mnist"):
        load("nowhere", "train", 16)
    (folder / "40.png").write_bytes(b"no picture")
    assert len(load(str(tmp_path), "train", 16)) == 36
    assert "skipped: " in (told := capsys.readouterr().out) and "40.png" in told
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match="empty"):
        load(str(tmp_path / "empty"), "train", 16)


def test_a_training_on_a_folder_of_ones_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"count": None, "conditional": False, "epochs": 1, "samples": 16}
    monkeypatch.setattr(train, "report", lambda *args: {"samples": args[4]})
    summary = train.main(options(tmp_path / "run", data=str(folder), **changes))
    assert summary["samples"] == 16 and summary["parameters"] > 0
    with pytest.raises(ValueError, match="has 36 pictures; expected 64 or more"):
        train.main(options(tmp_path / "b", data=str(folder), count=None, batch_size=64))


def test_real_pictures_are_at_the_floor() -> None:
    data = load("digits", "train", 32)
    first, _ = evaluate.real_halves(data, 300)
    figures = measure(first, data, 300)
    assert figures["distance_over_floor"] == pytest.approx(1)
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 255, (32, 32)).astype(np.uint8) for _ in range(300)]
    assert measure(noisy, data, 300)["distance_over_floor"] > 20


def test_discriminator_features_classify(
    make_artist: MakeArtist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcgan.svm._SEARCHED", 150)
    artist = make_artist(size=16, width=4)
    data, test = (load("digits", split, 16) for split in ("train", "test"))
    found = discriminator_features(artist, data.images[:7])
    # Two layers of 4 and 8 channels, at 4x4 places each.
    assert found.shape == (7, 16 * (4 + 8))
    # Sorted by class, as folders of pictures are.
    order = np.argsort(data.labels[:400], kind="stable")
    figures = classify(artist, data.subset(order), test)
    assert figures["accuracy"] > 0.6 and figures["features"] == 192
    assert figures["pixels_accuracy"] > 0.8 and figures["pixels_features"] == 256
    with pytest.raises(ValueError, match="two classes or more; there is only '0'"):
        classify(artist, ArrayDataset(data.images, 0 * data.labels, data.classes), test)
    with pytest.raises(ValueError, match="a discriminator that is not told the class"):
        discriminator_features(make_artist(classes=10), data.images)


def test_the_svm_is_scikit_learns() -> None:
    train, test = (load("digits", split, 16) for split in ("train", "test"))
    known, new = (
        data.images.reshape(len(data), -1).astype(np.float32) * np.float32(1 / 255)
        for data in (train, test)
    )
    found = _fitted(known, train.labels, 0.01)
    # Its bias is held back as well, unless the column behind it is large.
    model = LinearSVC(dual=False, C=0.01, intercept_scaling=100, tol=1e-6)
    model.fit(known, train.labels)
    assert np.abs(found[:, :-1] - model.coef_).max() < 0.02 * np.abs(model.coef_).max()
    assert _right(found, new, test.labels) == pytest.approx(model.score(new, test.labels), abs=0.01)


# ------------------------------------------------------------------------------- weights


def test_a_file_gives_the_generator_back(make_artist: MakeArtist, tmp_path: Path) -> None:
    artist = make_artist(classes=3)
    artist.generator.eval()
    artist.save(tmp_path / "both.safetensors", metrics={"distance": 1.5}, seed=1)
    artist.save(tmp_path / "one.safetensors", discriminator=False)
    points, labels = noise(5, 6, 0), np.array([0, 1, 2, 0, 1])
    for name, opponent in (("both", True), ("one", False)):
        again = Artist.load(tmp_path / f"{name}.safetensors")
        assert (again.discriminator is not None) == opponent
        assert (again.data, again.classes) == ("toys", ("0", "1", "2"))
        np.testing.assert_array_equal(
            np.stack(again.draw(points, labels)), np.stack(artist.draw(points, labels))
        )


def test_files_that_are_no_generator(tmp_path: Path, weights_file: Path) -> None:
    arrays, header = weights.load(weights_file)
    broken = tmp_path / "broken.safetensors"
    cases = {
        "options": ('{"width": 100000}', "width is 100000, expected 1 to 512"),
        "architecture": ("segnet", "its architecture is 'segnet'"),
        "classes": ("[", "broken header"),
    }
    for key, (value, message) in cases.items():
        weights.save(broken, arrays, {**header, key: value})
        with pytest.raises(ValueError, match=rf"broken.safetensors.*{message}"):
            Artist.load(broken)
    weights.save(broken, arrays, {**header, "options": '{"depth": 3}'})
    with pytest.raises(ValueError, match="unknown options depth"):
        Artist.load(broken)
    weights.save(broken, {**arrays, "painter.weight": np.zeros(3, np.float32)}, header)
    with pytest.raises(ValueError, match=r"it has painter\.weight"):
        Artist.load(broken)
    arrays.pop("generator.layers.0.weight")
    weights.save(broken, arrays, header)
    with pytest.raises(ValueError, match=r"its generator.*lacks layers\.0\.weight"):
        Artist.load(broken)
    with pytest.raises(FileNotFoundError, match="no weights for 'cats' ship"):
        load_artist("cats")


# ------------------------------------------------------------------------------- commands


def test_shipped_weights_draw_the_digit_that_they_are_told() -> None:
    artist = load_artist("mnist")
    assert (artist.data, artist.generator.classes) == ("mnist", 10)
    drawn = artist.draw(noise(100, artist.generator.latent, 5), artist.labels(100))
    reader = models.pretrained("digits")
    framed = np.stack([one[2:-2, 2:-2] for one in drawn])[:, None]
    with core.no_grad():
        read = reader.model(core.Tensor(reader.transform.normalise(framed))).numpy().argmax(axis=1)
    assert (read == np.arange(100) % 10).mean() > 0.85


def test_predict_draws_a_sheet_or_single_pictures(
    weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(name: str, **changes: Any) -> None:
        predict.main(predict.Options(weights=weights_file, out=tmp_path / name, **changes))

    draw("a.png", count=9, seed=7)
    draw("b.png", count=9, seed=7)
    draw("c.png", count=9, seed=8)
    draw("d.png", count=9, seed=7, kind="3")
    assert read_image(tmp_path / "a.png").shape == (3 * 34 + 2, 3 * 34 + 2, 3)
    sheets = [(tmp_path / f"{name}.png").read_bytes() for name in "abcd"]
    assert sheets[0] == sheets[1] and len(set(sheets)) == 3
    draw("single", count=4)
    assert sorted(p.name for p in (tmp_path / "single").iterdir()) == [
        f"{n:05d}.png" for n in range(4)
    ]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["trained_on"] == "toys"
    with pytest.raises(ValueError, match="--class 'cat' is none of 0, 1, 2"):
        draw("e.png", kind="cat")
    for changes, message in (
        ({"count": 0}, "--count is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"out": Path("x.txt")}, "--out x.txt"),
    ):
        with pytest.raises(ValueError, match=message):
            predict.Options(**changes)


def test_evaluate_measures_and_refuses_other_colours(
    weights_file: Path, make_artist: MakeArtist, folder: Path, tmp_path: Path
) -> None:
    settings = evaluate.Options(weights=weights_file, count=30, out=tmp_path / "out", device="cpu")
    with pytest.raises(ValueError, match="--data 'toys' is no folder"):
        evaluate.main(settings)
    summary = evaluate.main(replace(settings, data="digits"))
    assert summary["samples"] == 30 and summary["distance_over_floor"] > 1
    assert (summary["data"], summary["trained_on"]) == ("digits", "toys")
    with pytest.raises(ValueError, match="the weights draw 1 channels, the data's pictures have 3"):
        evaluate.main(evaluate.Options(weights=weights_file, data=str(folder), out=tmp_path / "x"))
    plain = tmp_path / "plain.safetensors"
    make_artist().save(plain)
    with pytest.raises(ValueError, match="not class-conditional"):
        Artist.load(plain).label("3")


def test_the_demo_trains_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_COUNT", 20)
    demo.main(demo.Options(train=True, epochs=1, out=tmp_path / "demo", device="cpu"))
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert summary["samples"] == 20 and "walk.gif" in summary["pictures"]
    with pytest.raises(ValueError, match="--resume is of a training: add --train"):
        demo.Options(resume=True)
    with pytest.raises(ValueError, match="--epochs is of a training: add --train"):
        demo.Options(epochs=3)
    with pytest.raises(ValueError, match="leave out --train or --weights"):
        demo.Options(train=True, weights=Path("x"))


def test_diversity_of_collapsed_samples_is_near_zero(make_artist: MakeArtist) -> None:
    artist = make_artist()
    same = np.repeat(noise(1, 6, 0), 10, 0)
    assert diversity(np.stack(artist.draw(same))) == pytest.approx(0, abs=1e-6)
