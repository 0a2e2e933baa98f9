"""Every recipe builds and trains; the flags change what the recipe says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, optim, recipes, train
from core import functional as F
from core.cli import flag_value, run_command
from core.data.dataset import ArrayDataset
from core.data.rng import Draws
from core.models import load_pretrained
from core.recipes import RECIPES, Recipe
from core.training import assemble
from core.training.classifier import scaled
from core.training.run import BEST

SHAPES = {"mnist": (1, 28), "fashion-mnist": (1, 28), "cifar-10": (3, 32), "digits": (1, 8)}


def pictures(name: str, count: int = 12) -> ArrayDataset:
    """Noise in the shape of the named set, two classes of it bright and dark."""
    channels, size = SHAPES[name]
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    images = rng.integers(0, 100, (count, channels, size, size)) + 150 * labels[:, None, None, None]
    return ArrayDataset(images.astype(np.uint8), labels, tuple("0123456789"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name: str) -> None:
    recipe = replace(RECIPES[name], epochs=2, batch_size=8)
    core.seed(0)
    data = pictures(recipe.data)
    model = assemble.network(recipe, data)
    before = [p.numpy().copy() for p in model.parameters()]
    trainer = assemble.trainer(recipe, model, data, data, seed=0)
    trainer.fit(recipe.epochs)
    assert trainer.step == 4
    assert trainer.best is not None
    after = [p.numpy() for p in model.parameters()]
    assert all(np.isfinite(a).all() for a in after)
    assert any((a != b).any() for a, b in zip(after, before, strict=True))


def test_the_books_recipe_is_the_books() -> None:
    recipe = RECIPES["deep-convnet-mnist"]
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer, recipe.lr) == (
        20,
        100,
        "adam",
        1e-3,
    )
    assert (recipe.schedule, recipe.augment, recipe.weight_decay) == ("constant", "none", 0)
    data = pictures("mnist")
    trainer = assemble.trainer(recipe, assemble.network(recipe, data), data, data, seed=0)
    assert trainer.schedule is None


def test_flags_change_the_recipe_that_another_flag_names() -> None:
    found: list[train.Options] = []
    defaults = recipes.defaults(train.Options, "plain")
    args = ["--epochs", "3", "--recipe", "deep-convnet-mnist", "--average", "0.9", "--seed", "4"]
    run_command(found.append, train.Options, args, defaults=defaults)
    run_command(found.append, train.Options, [], defaults=defaults)
    changed, plain = found
    assert (changed.recipe, changed.model, changed.schedule) == (
        "deep-convnet-mnist",
        "deep_convnet",
        "constant",
    )
    assert (changed.epochs, changed.average, changed.seed) == (3, 0.9, 4)
    assert (plain.recipe, plain.model) == ("plain", "simple_convnet")


@pytest.mark.parametrize(
    "args, expected",
    [
        ([], None),
        (["--recipe", "a"], "a"),
        (["--recipe=a", "--epochs", "2"], "a"),
        (["--recipe", "a", "--recipe", "b"], "b"),
        (["--recipes", "a"], None),
    ],
)
def test_a_flag_is_found_before_the_rest_is_parsed(args: list[str], expected: str | None) -> None:
    assert flag_value("--recipe", args) == expected


def test_an_unknown_recipe_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(
            train.main,
            train.Options,
            ["--recipe", "cake"],
            defaults=recipes.defaults(train.Options, "plain"),
        )
    assert "recipe 'cake' is unknown; expected one of plain, " in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": 0}, "--epochs is 0"),
        ({"batch_size": -1}, "--batch-size is -1"),
        ({"lr": 0.0}, r"--lr is 0\.0"),
        ({"lr": float("nan")}, "--lr is nan"),
        ({"weight_decay": -0.1}, r"--weight-decay is -0\.1"),
        ({"label_smoothing": 1.5}, r"--label-smoothing is 1\.5"),
        ({"erase": -0.5}, r"--erase is -0\.5"),
        ({"model": "cake"}, "model 'cake' is unknown; expected one of"),
        ({"width": 8}, "--width: simple_convnet has none"),
        ({"model": "lenet5", "dropout": 0.1}, "--dropout: lenet5 has none"),
        ({"model": "small_resnet", "width": 0}, "--width is 0; expected 1 or more"),
        ({"model": "small_resnet", "dropout": 1.0}, r"--dropout is 1\.0; expected 0 or more"),
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_optimisers_and_schedules_are_what_their_names_say() -> None:
    model = assemble.network(Recipe(model="mlp"), pictures("mnist"))
    for name, kind in (("adam", optim.Adam), ("adamw", optim.AdamW), ("sgd", optim.SGD)):
        recipe = Recipe(optimizer=name, weight_decay=0.25, lr=0.5)  # type: ignore[arg-type]
        steps = assemble.optimizer(recipe, model)
        assert type(steps) is kind
        assert (steps.defaults["weight_decay"], steps.defaults["lr"]) == (0.25, 0.5)
    assert (steps.defaults["momentum"], steps.defaults["nesterov"]) == (0.9, True)
    cycle = assemble.schedule(Recipe(schedule="one-cycle", epochs=2, lr=0.5), steps, 10)
    assert isinstance(cycle, optim.OneCycleLR)
    assert (cycle.total_steps, cycle.max_lrs) == (20, [0.5])


def test_width_and_dropout_reach_the_network() -> None:
    model = assemble.network(Recipe(model="small_resnet", width=5), pictures("mnist"))
    assert next(model.parameters()).shape == (5, 1, 3, 3)
    model = assemble.network(Recipe(model="deep_convnet", dropout=0.25), pictures("mnist"))
    assert "p=0.25" in str(model)


def test_what_a_recipe_sets_can_be_taken_back() -> None:
    """Of a network that has no width, as of the recipe's own that has."""
    with pytest.raises(ValueError, match=r"--width: mlp has none \(--width None takes back"):
        recipes.options(train.Options, "best-mnist", model="mlp")
    found: list[train.Options] = []
    args = ["--recipe", "best-mnist", "--model", "mlp", "--width", "None"]
    defaults = recipes.defaults(train.Options, "plain")
    run_command(found.append, train.Options, args, defaults=defaults)
    assert (found[0].model, found[0].width) == ("mlp", None)


@pytest.mark.parametrize("augment", ["affine", "elastic", "crop", "flip", "crop-flip"])
def test_augmentation_changes_pictures_and_keeps_labels(augment: Any) -> None:
    data = pictures("mnist")
    batch, draws = data.batch(np.arange(12)), Draws(0, 0, np.arange(12))
    recipe = Recipe(augment=augment, erase=0.5)
    images, labels = assemble.transform(recipe, 28)(batch, draws)
    plain, _ = assemble.transform(Recipe(), 28)(batch, draws)
    assert (images.shape, images.dtype) == (plain.shape, plain.dtype)
    assert (images != plain).any(axis=(1, 2, 3)).sum() > 3
    np.testing.assert_array_equal(labels, data.labels)
    np.testing.assert_array_equal(plain, scaled(batch, draws)[0])


def test_label_smoothing_is_in_the_loss_of_training_only() -> None:
    data = pictures("digits")
    core.seed(0)
    model = assemble.network(Recipe(data="digits", model="mlp"), data)
    seen: list[dict[str, float]] = []
    for smoothing in (0.0, 0.5):
        recipe = Recipe(data="digits", model="mlp", label_smoothing=smoothing, lr=1e-9, epochs=1)
        trainer = assemble.trainer(recipe, model, data, data, seed=0)
        trainer.on_epoch_end.append(lambda _, figures: seen.append(figures))
        trainer.fit(1)
    plain, smooth = seen
    assert plain["loss"] == pytest.approx(plain["val_loss"], rel=1e-4)
    assert smooth["loss"] != pytest.approx(plain["loss"], rel=1e-3)
    assert smooth["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-4)


def test_the_auxiliary_classifiers_of_googlenet_are_in_the_loss() -> None:
    recipe = Recipe(model="googlenet", epochs=1, batch_size=8, label_smoothing=0.1)
    core.seed(0)
    data = pictures("mnist", 8)
    model = assemble.network(recipe, data)
    trainer = assemble.trainer(recipe, model, data, data, seed=0)
    batch = scaled(data.batch(np.arange(8)), Draws(0, 0, np.arange(8)))
    core.seed(1)
    loss, figures = trainer.forward(model, batch)
    core.seed(1)  # the same dropout
    outputs = model(Tensor(batch[0]))
    last, second, first = (
        F.cross_entropy(logits, batch[1], label_smoothing=0.1).item() for logits in outputs
    )
    assert loss.item() == pytest.approx(last + 0.3 * (first + second), rel=1e-5)
    right = outputs.logits.numpy().argmax(axis=1) == batch[1]
    assert figures["accuracy"] == right.mean()
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    trainer.fit(1)
    after = {name: p.numpy() for name, p in model.named_parameters()}
    for layer in ("aux1.fc2.weight", "aux2.fc2.weight", "fc.weight"):
        assert (after[layer] != before[layer]).any(), layer
    assert trainer.best is not None


def test_a_resumed_run_keeps_its_recipe(tmp_path: Path) -> None:
    options = recipes.options(
        train.Options, "plain", data="digits", model="mlp", epochs=1, out=tmp_path, device="cpu"
    )
    train.main(options)
    with pytest.raises(ValueError, match=r"begun with --label-smoothing 0\.0"):
        train.main(replace(options, resume=True, label_smoothing=0.1))


def test_weights_say_how_their_network_is_built(tmp_path: Path) -> None:
    changes = {"data": "digits", "model": "small_resnet", "width": 4, "epochs": 1}
    train.main(recipes.options(train.Options, "plain", out=tmp_path, device="cpu", **changes))
    found = load_pretrained(tmp_path / BEST)
    assert next(found.model.parameters()).shape == (4, 1, 3, 3)
    assert found.transform.size == 8
