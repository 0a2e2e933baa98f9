"""Training, scoring and the demo end to end, on tiny data."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from core import recipes
from core.data.images import read_labels
from core.data.rng import Draws
from core.io import weights
from core.training.average import update_bn
from core.training.run import LAST, read_metrics
from segmentation import data, demo, evaluate, train
from segmentation.batches import (
    Changed,
    augmentation,
    held_out_batches,
    statistics_batches,
    to_network,
    training_batches,
)
from segmentation.data import load
from segmentation.evaluate import judge
from segmentation.labels import VOID
from segmentation.metrics import Scores, confusion_matrix
from segmentation.networks import NAMES, build
from segmentation.recipes import RECIPES, Recipe
from segmentation.segmenter import Segmenter
from tests.segmentation.conftest import road


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        monkeypatch.setitem(data.SCENE_COUNTS, split, count)


def options(recipe: str = "scenes-unet", **changes: Any) -> train.Options:
    small = {"width": 4, "epochs": 2, "batch_size": 2, "device": "cpu"}
    return recipes.options(train.Options, recipe, RECIPES, **{**small, **changes})


def camvid(root: Path, out: Path, **changes: Any) -> train.Options:
    settings: dict[str, Any] = {"crop": (32, 32), "stride": 1, "lr": 0.01}
    return options("camvid-unet", data_root=root, out=out, **{**settings, **changes})


def test_a_training_leaves_everything_in_its_folder(camvid_root: Path, tmp_path: Path) -> None:
    summary = train.main(camvid(camvid_root, tmp_path / "run", balance="median-frequency"))
    folder = tmp_path / "run"
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert (summary["data"], summary["split"], summary["images"]) == ("camvid", "test", 2)
    assert {"mIoU", "global_accuracy", "class_accuracy", "frequency_weighted_IoU"} < set(summary)
    assert {"boundary_F1", "val_mIoU", "best_epoch", "seconds"} < set(summary)
    assert list(summary["classes"]) == list(load("camvid", "val", data_root=camvid_root).classes)
    for name in (*summary["pictures"], "config.json", LAST, train.NETWORK):
        assert (folder / name).stat().st_size > 0
    assert [line["epoch"] for line in read_metrics(folder / "metrics.jsonl")] == [1, 2]


def test_predictions_score_as_the_summary_says(camvid_root: Path, tmp_path: Path) -> None:
    summary = train.main(camvid(camvid_root, tmp_path / "run"))
    test = load("camvid", "test", data_root=camvid_root)
    matrix = np.zeros((11, 11), np.int64)
    for picture in test.pictures:
        predicted = read_labels(tmp_path / "run" / "predictions" / f"{picture.id}.png")
        matrix += confusion_matrix(picture.read()[1], predicted, 11)
    for name, value in Scores(matrix).figures().items():
        assert summary[name] == pytest.approx(value)
    again = evaluate.main(
        evaluate.Options(
            data="camvid",
            data_root=camvid_root,
            weights=tmp_path / "run" / train.NETWORK,
            out=tmp_path / "again",
            device="cpu",
        )
    )
    assert again["mIoU"] == pytest.approx(summary["mIoU"])


def test_the_best_epoch_is_kept(camvid_root: Path, tmp_path: Path) -> None:
    train.main(camvid(camvid_root, tmp_path / "run", average=0.9, epochs=3))
    best, _ = weights.load(tmp_path / "run" / "best.safetensors")
    kept, header = weights.load(tmp_path / "run" / train.NETWORK)
    assert kept["head.weight"].dtype == np.float16 and "val_mIoU" in header["metrics"]
    name = "encoder.stem.0.weight"
    np.testing.assert_allclose(kept[name], best[name], rtol=1e-3, atol=1e-6)
    segmenter = Segmenter.load(tmp_path / "run" / train.NETWORK)
    assert segmenter.classes[3] == "road"


def test_the_statistics_that_are_kept_are_those_of_the_kept_weights(
    camvid_root: Path, tmp_path: Path
) -> None:
    settings = camvid(camvid_root, tmp_path / "run")
    train.main(settings)
    best, _ = weights.load(tmp_path / "run" / "best.safetensors")
    kept, _ = weights.load(tmp_path / "run" / train.NETWORK)
    net = build("unet", 11, **settings.network_options())
    net.load_state_dict(best)
    update_bn(statistics_batches(load("camvid", "train", data_root=camvid_root), settings), net)
    for name, exact in net.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            np.testing.assert_allclose(kept[name], exact, rtol=1e-4, atol=1e-5)
    name = "encoder.stem.1.running_var"
    assert np.abs(kept[name] - best[name]).max() > 0.1 * best[name].max()


def test_the_course_of_a_training_shows_what_scoring_would(
    camvid_root: Path, make_segmenter: Any
) -> None:
    data = load("camvid", "val", data_root=camvid_root)
    segmenter = make_segmenter(data.labels)
    loss = train.PixelLoss(None)
    batches = list(held_out_batches(data, Recipe()))
    found = train.watch(segmenter.net, batches, loss, 11)
    scored = judge(segmenter, data).figures
    assert found["mIoU"] == pytest.approx(scored["mIoU"])
    assert found["accuracy"] == pytest.approx(scored["global_accuracy"])
    truths = [batch[1] for batch in batches]
    right = sum(found["accuracy"] * (truth != VOID).sum() for truth in truths)
    of_batches = [loss(segmenter.net, batch)[1]["accuracy"] for batch in batches]
    mine = sum(a * (truth != VOID).sum() for a, truth in zip(of_batches, truths, strict=True))
    assert mine == pytest.approx(right)


def test_windows_without_a_label_teach_nothing_and_end_nothing(make_segmenter: Any) -> None:
    net = make_segmenter().net.train()
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    nothing = np.full((2, 32, 32), VOID, np.uint8)
    loss, figures = train.PixelLoss(None)(net, (x, nothing))
    loss.backward()
    assert loss.item() == 0 and float(figures["accuracy"]) == 0
    assert all(p.grad is not None and not p.grad.numpy().any() for p in net.parameters())
    some = nothing.copy()
    some[0, :4] = 2
    alone = train.watch(net, [(x, some)], train.PixelLoss(None), 11)
    both = train.watch(net, [(x, nothing), (x, some)], train.PixelLoss(None), 11)
    assert both == alone and both["loss"] > 0


def test_a_stopped_training_goes_on_as_if_it_had_not(
    camvid_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.main(camvid(camvid_root, tmp_path / "whole", jitter=0.2))
    watch, calls = train.watch, []

    def stop(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return watch(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train, "watch", stop)
        with pytest.raises(KeyboardInterrupt):
            train.main(camvid(camvid_root, tmp_path / "stopped", jitter=0.2))
    assert not (tmp_path / "stopped" / train.NETWORK).exists()
    train.main(camvid(camvid_root, tmp_path / "stopped", jitter=0.2, resume=True))
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "stopped")]
    courses = [[(one["loss"], one["val_loss"], one["val_mIoU"]) for one in run] for run in lines]
    assert courses[0] == courses[1] and len(courses[0]) == 2


def test_stages_start_where_the_one_before_ended(
    camvid_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = options(
        "camvid-fcn32s", data_root=camvid_root, out=tmp_path / "a", width=8, epochs=1, scale=1.0
    )
    train.main(first)
    start = tmp_path / "a" / train.NETWORK
    second = options(
        "camvid-fcn16s", data_root=camvid_root, weights=start, width=8, epochs=1, scale=1.0
    )
    net = train.network(second, 11)
    told = capsys.readouterr().out
    new = "score_pool4.weight, score_pool4.bias, upscore2.weight, upscore16.weight"
    assert f"new, not in {start}: {new}" in told
    known, _ = weights.load(start)
    np.testing.assert_array_equal(net.state_dict()["fc6.weight"], known["fc6.weight"])
    with pytest.raises(ValueError, match="has nothing of a UNet"):
        train.start_from(build("unet", 11), start)


def test_pretrained_encoders_that_ship_are_taken() -> None:
    core.seed(0)
    fcn = train.network(options("camvid-fcn32s", width=8), 11)
    plain: dict[str, Any] = {"stride": None, "depth": None}
    unet = train.network(options(model="unet_backbone", pretrained=True, **plain), 11)
    trained = core.models.pretrained("backbone").model.state_dict()
    for net, name in ((fcn, "features.0.weight"), (unet, "encoder.features.0.weight")):
        np.testing.assert_array_equal(net.state_dict()[name], trained["features.0.weight"])
    with pytest.raises(ValueError, match="no trained weights for the encoder of unet"):
        train.network(options(pretrained=True), 11)
    with pytest.raises(ValueError, match="unet_backbone has no use for stride and depth; expected"):
        train.network(options(model="unet_backbone"), 11)


def test_deep_networks_get_pictures_that_are_large_enough(
    camvid_root: Path, tmp_path: Path
) -> None:
    deep: dict[str, Any] = {"depth": 6, "stride": 2, "epochs": 1}
    with pytest.raises(ValueError, match=r"--crop is \(32, 32\); the network needs 64 pixels"):
        train.main(camvid(camvid_root, tmp_path / "run", **deep))
    train.main(camvid(camvid_root, tmp_path / "whole", crop=None, **deep))
    segmenter = Segmenter.load(tmp_path / "whole" / train.NETWORK)
    assert segmenter.predict(road(0)[0][:5, :7]).shape == (5, 7)


def test_every_recipe_is_one_that_can_be_built() -> None:
    known = {field.name for field in fields(Recipe)}
    for name, recipe in RECIPES.items():
        assert recipe.model in NAMES and set(vars(recipe)) == known, name
        assert augmentation(recipe), name
    small = {"scenes-segnet", "camvid-segnet-basic", "camvid-fcn-basic", "camvid-unet"}
    for name in small:
        build(RECIPES[name].model, 11, **RECIPES[name].network_options())


def test_pictures_of_other_sizes_are_filled_up_with_void(own_folder: Path) -> None:
    train_data = load(str(own_folder), "train")
    recipe = Recipe(batch_size=7, crop=(48, 48), flip=True, turn=5)
    ((images, labels),) = training_batches(train_data, recipe, seed=0)
    assert images.shape == (7, 3, 48, 48) and labels.shape == (7, 48, 48)
    assert (labels == VOID).mean() > 0.2 and set(np.unique(labels)) == {0, 1, 2, VOID}


def sized(number: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    picture, labels = road(number, height, width)
    return picture, np.where(labels == 11, VOID, labels).astype(np.uint8)


def test_what_happens_to_a_picture_does_not_depend_on_the_others() -> None:
    recipe = Recipe(crop=(32, 32), turn=5, zoom=(0.9, 1.4), flip=True, jitter=0.2)
    change = Changed(augmentation(recipe), (32, 32))
    items = [sized(0, 300, 400), sized(1, 40, 60), sized(2, 300, 400)]
    images, labels = change(items, Draws(3, 1, np.array([7, 8, 9])))
    for row, item in enumerate(items):
        alone = change([item], Draws(3, 1, np.array([7 + row])))
        np.testing.assert_array_equal(images[row], alone[0][0])
        np.testing.assert_array_equal(labels[row], alone[1][0])
    # A window of the small picture that was cut out of the large one's margins would be void.
    assert (labels[1] == VOID).mean() < 0.5


def test_without_windows_each_picture_keeps_its_corner() -> None:
    items = [sized(0, 40, 64), sized(1, 48, 36), sized(2, 40, 64)]
    images, labels = Changed()(items, Draws(0, 0, np.arange(3)))
    assert images.shape == (3, 3, 48, 64) and labels.shape == (3, 48, 64)
    for row, (picture, truth) in enumerate(items):
        height, width = truth.shape
        expected = to_network(picture.transpose(2, 0, 1)[None])[0]
        np.testing.assert_array_equal(images[row, :, :height, :width], expected)
        np.testing.assert_array_equal(labels[row, :height, :width], truth)
        assert (labels[row, height:] == VOID).all() and (labels[row, :, width:] == VOID).all()


def test_margins_are_in_no_statistics(own_folder: Path) -> None:
    learned = load(str(own_folder), "train")
    found = list(statistics_batches(learned, Recipe(batch_size=4)))
    shapes = sorted(labels.shape for batch in found for labels in batch[1])
    assert shapes == sorted(truth.shape for _, truth in learned)
    assert all(len(images) == len(labels) for images, labels in found)


def test_a_folder_of_your_own_can_be_learned(own_folder: Path, tmp_path: Path) -> None:
    summary = train.main(
        options(data=str(own_folder), out=tmp_path / "run", epochs=6, lr=0.02, turn=0, stride=1)
    )
    assert set(summary["classes"]) == {"sky", "road", "car"}
    assert summary["global_accuracy"] > 0.6


def test_the_demo_trains_shows_and_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "RECIPES", {demo.RECIPE: Recipe(width=4, batch_size=2)})
    demo.main(demo.Options(train=True, epochs=1, count=2, out=tmp_path / "out", device="cpu"))
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["images"] == 2 and 0 <= summary["mIoU"] <= 1
    assert {"comparison.png", "confusion.png"} < set(summary["pictures"])
    assert len(list((tmp_path / "out/predictions").iterdir())) == 2


def test_a_missed_promise_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_segmenter: Any
) -> None:
    monkeypatch.setattr(demo, "load_segmenter", lambda name, path: make_segmenter())
    monkeypatch.setattr(demo, "show", lambda run, segmenter, count: 0.84)
    demo.main(demo.Options(count=99, out=tmp_path / "few", device="cpu"))
    with pytest.raises(RuntimeError, match=r"mIoU is 0.840, the demo promises 0.85"):
        demo.main(demo.Options(count=100, out=tmp_path / "many", device="cpu"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"count": 0}, "--count is 0"),
        ({"resume": True}, "add --train"),
        ({"train": True, "weights": Path("w")}, "--weights"),
    ],
)
def test_impossible_options_of_the_demo(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        demo.main(demo.Options(**change, out=tmp_path))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scale": 0.0}, "--scale is 0.0"),
        ({"crop": (8, 64)}, r"--crop is \(8, 64\)"),
        ({"lr": 0.0}, "--lr is 0.0"),
        ({"count": 0}, "--count is 0"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_impossible_options_of_a_training(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        options(**change)


def test_other_classes_are_refused(tmp_path: Path, weights_file: Path, camvid_root: Path) -> None:
    with pytest.raises(ValueError, match=r"camvid has the classes sky.* the network knows backgr"):
        evaluate.main(
            evaluate.Options(
                data="camvid", data_root=camvid_root, weights=weights_file, out=tmp_path / "out"
            )
        )
    with pytest.raises(ValueError, match="--count is 0"):
        evaluate.main(evaluate.Options(count=0))
