"""`python -m core.look`: every experiment makes its picture, or says what it misses."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

import core
from core import data, models, nn
from core.data.dataset import Split
from core.data.images import read_image, save_image
from core.data.preprocess import Preprocessing
from core.io import weights
from core.look import __main__ as look
from core.look import inside
from core.look.__main__ import EXPERIMENTS, Options, main
from core.models.backbone import MEAN, STD, Backbone

INSIDE = ("filters", "feature-maps", "crops", "ascent", "grad-cam")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone as it ships, but with few channels and not trained."""
    core.seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    seen = Preprocessing(size=32, resize=32, mean=MEAN, std=STD)
    extra = {"options": '{"channels": [4, 4]}', **seen.header()}
    card = weights.Card(architecture="backbone", classes=("a", "b"), extra=extra)
    weights.save_model(Backbone(2, channels=(4, 4)), path, card)
    return path


@pytest.mark.parametrize("name", ["graph", "optimizer-paths", "activations"])
def test_experiments_without_data(name: str, tmp_path: Path) -> None:
    summary = main(Options(experiment=name, out=tmp_path))  # type: ignore[arg-type]
    assert summary["pictures"] == [f"{name}.png"]
    picture = read_image(tmp_path / f"{name}.png")
    assert picture.shape[0] > 200 and len(np.unique(picture)) > 10


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    save_image(path, np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8))
    return path


@pytest.mark.parametrize("name", INSIDE)
def test_a_network_is_looked_into(
    name: str, small: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "maximise", partial(inside.maximise, steps=5))
    options = Options(
        experiment=name,  # type: ignore[arg-type]
        weights=str(small),
        pictures=(photo,),
        out=tmp_path / "run",
    )
    main(options)
    assert read_image(tmp_path / "run" / f"{name}.png").shape[0] > 100


# Networks with affine layers behind the convolutions, and with layers that run in training only:
# the size of their pictures, options, and the last layer with maps.
THIN: dict[str, tuple[int, dict[str, Any], str]] = {
    "vgg11": (32, {"hidden": 8, "channels": (4, 4, 4, 4, 4)}, "features.19"),
    "alexnet": (64, {"hidden": 8}, "features.11"),
    "googlenet": (32, {}, "inception5b.branch4.1.relu"),
    "simple_convnet": (12, {"hidden": 8}, "features.1"),
    "lenet5": (28, {}, "c5"),
    "mlp": (8, {"hidden": (8,), "activation": "relu"}, ""),
}


@cache
def thin(name: str) -> models.Pretrained:
    core.seed(0)
    size, options, _ = THIN[name]
    model = models.build(name, in_channels=3, image_size=size, num_classes=2, **options)
    seen = Preprocessing(size=size, resize=size, mean=MEAN, std=STD)
    card = weights.Card(architecture=name, classes=("a", "b"))
    return models.Pretrained(name, model.eval(), card, seen)


@pytest.fixture
def looking(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., np.ndarray]:
    """A command about one of the thin networks, by its name: the picture it makes."""
    for name, value in (("_CHANNELS", 1), ("_DEPTHS", 2), ("_POINTS", 40)):
        monkeypatch.setattr(look, name, value)
    size = look._size
    # Not 224, which takes seconds.
    monkeypatch.setattr(look, "_size", lambda network, wanted: size(network, min(wanted, 64)))
    monkeypatch.setattr(inside, "maximise", partial(inside.maximise, steps=1))
    monkeypatch.setattr(look, "load_networks", lambda names, **_: [thin(names[0])])

    def run(experiment: Any, network: str, **changes: Any) -> np.ndarray:
        out = tmp_path / "run"
        main(Options(experiment=experiment, weights=network, pictures=(photo,), out=out, **changes))
        return read_image(out / f"{experiment}.png")

    return run


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("network", [name for name in THIN if name != "mlp"])
def test_every_network_with_convolutions_is_looked_into(
    network: str, name: str, looking: Callable[..., np.ndarray]
) -> None:
    assert looking(name, network).shape[0] > 50


@pytest.mark.parametrize("network", [name for name in THIN if name != "mlp"])
def test_the_layers_shown_are_those_with_maps(network: str) -> None:
    every = look._convolutions(thin(network))
    assert every[-1] == THIN[network][2]
    size = THIN[network][0]
    maps = inside.feature_maps(thin(network).model, np.zeros((3, size, size), np.float32), every)
    assert len(maps) == len(every)


@pytest.mark.parametrize("name", [*INSIDE, "t-sne"])
def test_a_network_without_convolutions(name: str, looking: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ValueError, match="mlp has no convolution to look into"):
        looking(name, "mlp")


@pytest.mark.parametrize("name", [name for name in INSIDE if name != "filters"])
def test_a_layer_without_maps(name: str, looking: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"layer classifier.1 has no maps: its output has shape"):
        looking(name, "vgg11", layer=("classifier.1",))
    with pytest.raises((ValueError, RuntimeError), match="did not run aux1"):
        looking(name, "googlenet", layer=("aux1.conv",))


@pytest.mark.parametrize("name", ["crops", "grad-cam", "t-sne"])
def test_one_layer_at_a_time(name: str, looking: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ValueError, match=f"--layer a b: {name} shows one layer"):
        looking(name, "vgg11", layer=("a", "b"))


def test_neighbours_are_looked_for_in_what_the_network_knows(
    looking: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    core.seed(0)
    card = weights.Card(architecture="mlp", classes=tuple("0123456789"), data="digits")
    model = models.build("mlp", image_size=8, hidden=(8,))
    network = models.Pretrained("own", model, card, Preprocessing(size=8, ink=True))
    monkeypatch.setattr(look, "load_networks", lambda names, **_: [network])
    assert looking("t-sne", "own", layer=("layers.1",)).shape[0] > 100


@pytest.mark.parametrize(
    ("known", "channels", "expected"),
    [("fashion-mnist", 1, "fashion-mnist"), ("imagenet", 3, "flowers"), ("", 1, "mnist")],
)
def test_the_set_whose_neighbours_are_shown(
    known: str, channels: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {name: lambda *_, n=name: n for name in look.SETS}
    monkeypatch.setattr(look, "SETS", named)
    monkeypatch.setattr(data, "flowers", lambda *_, size: "flowers")
    seen = Preprocessing(size=64, mean=(0.5,) * channels, std=(0.5,) * channels)
    network = models.Pretrained("n", nn.Module(), weights.Card(data=known), seen)
    found: Any = look._test_set(network, Options(experiment="t-sne"))
    assert found == expected


@pytest.mark.parametrize("name", ["batch-norm", "overfitting", "optimizer-curves"])
def test_experiments_with_digits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(options: Options, split: Split = "train") -> data.ArrayDataset:
        return data.embedded_digits(split).subset(range(30))

    monkeypatch.setattr(look, "_digits", few)
    main(Options(experiment=name, out=tmp_path))  # type: ignore[arg-type]
    picture = read_image(tmp_path / f"{name}.png")
    assert picture.shape[0] > 200 and len(np.unique(picture)) > 10


def test_every_experiment_can_be_asked_for() -> None:
    assert get_args(get_type_hints(Options)["experiment"]) == tuple(EXPERIMENTS)


def test_a_grey_network_is_not_shown_photographs(tmp_path: Path) -> None:
    core.seed(0)
    path = tmp_path / "grey.safetensors"
    card = weights.Card(architecture="simple_convnet", classes=tuple("0123456789"), data="mnist")
    weights.save_model(models.build("simple_convnet"), path, card)
    options = Options(experiment="grad-cam", weights=str(path), out=tmp_path / "run")
    with pytest.raises(ValueError, match="grey takes grey pictures"):
        main(options)
