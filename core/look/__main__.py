"""Experiments with pictures: how networks learn (chapter 6), and what they see (7.6 and 8.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import core
from core import Parameter, data, models, nn, viz
from core import functional as F
from core.cli import resolve_device, run_command
from core.data.dataset import ArrayDataset, Split
from core.data.images import Picture, read_image
from core.evaluate import SETS
from core.look import inside, learning
from core.tape import no_grad
from core.training.evaluation import load_networks
from core.training.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CROPS = 9
_CHANNELS = 4
_POINTS = 500
_DEPTHS = 4


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make one picture: of a training (data), or of what a network sees (weights, pictures)."""

    experiment: Literal[
        "graph",
        "optimizer-paths",
        "optimizer-curves",
        "activations",
        "batch-norm",
        "overfitting",
        "filters",
        "feature-maps",
        "crops",
        "ascent",
        "grad-cam",
        "t-sne",
    ]
    """What to show."""

    pictures: tuple[Path, ...] = ()
    """Your own pictures; by default photographs that come with scikit-image."""

    data: Literal["digits", "mnist"] = "digits"
    """What the experiments of chapter 6 learn; digits are embedded."""

    weights: str = "backbone"
    """A name that core.models.pretrained knows, or a file: the network to look into."""

    layer: tuple[str, ...] = ()
    """Layers of the network, by default some at every depth."""

    channel: tuple[int, ...] = ()
    """Channels of the layer, by default the ones that answer most."""

    data_root: Path | None = None
    """Folder of the data sets; by default $OPENBOOK_DATA, else the user cache."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a network is looked into; auto takes a GPU when there is one."""

    seed: int = 0
    """Seed of everything random."""

    out: Path | None = None
    """Folder for the picture; by default runs/core-look."""


def main(options: Options) -> dict[str, Any]:
    """Run the experiment and save its picture; returns the summary."""
    core.seed(options.seed)
    draw = EXPERIMENTS[options.experiment]
    run = Run.create(options.out, "core", "look", options)
    viz.save(draw(options), run.picture(f"{options.experiment}.png"))
    return run.finish({})


# ------------------------------------------------------------------------------ learning


def _digits(options: Options, split: Split = "train") -> ArrayDataset:
    if options.data == "digits":
        return data.embedded_digits(split)
    return data.mnist(split, options.data_root)


def _graph(options: Options) -> Figure:
    def leaf(*shape: int) -> Parameter:
        return Parameter(np.ones(shape, np.float32))

    leaves = {"x": leaf(4, 64), "W1": leaf(50, 64), "b1": leaf(50), "W2": leaf(10, 50)}
    leaves["b2"] = leaf(10)
    x, w1, b1, w2, b2 = leaves.values()
    loss = F.cross_entropy(F.linear(F.relu(F.linear(x, w1, b1)), w2, b2), np.zeros(4, np.int64))
    return viz.graph(loss, leaves, title="two-layer network, a batch of four digits")


def _paths(options: Options) -> Figure:
    return viz.paths(learning.optimizer_paths(), learning.valley, title="30 steps")


def _curves(options: Options) -> Figure:
    losses = learning.optimizer_losses(
        _digits(options), epochs=3 if options.data == "mnist" else 30
    )
    return viz.lines(
        {"loss, mean of 20 steps": losses}, smooth=20, xlabel="step", ylabel="loss", log=True
    )


def _activations(options: Options) -> Figure:
    return viz.histograms(learning.activation_histograms(), title="activations, layer by layer")


def _batch_norm(options: Options) -> Figure:
    courses = learning.batch_norm_effect(_digits(options), epochs=20)
    panels = {
        f"weights of {name}": {"with batch norm": a, "without": b}
        for name, (a, b) in courses.items()
    }
    return viz.lines(panels, xlabel="epoch", ylabel="training accuracy", limits=(0, 1))


def _overfitting(options: Options) -> Figure:
    courses = learning.overfitting(_digits(options), _digits(options, "test"))
    panels = {name: {"training": c.train, "test": c.test} for name, c in courses.items()}
    return viz.lines(panels, columns=3, xlabel="epoch", ylabel="accuracy", limits=(0, 1.02))


# -------------------------------------------------------------------------------- inside


def _network(options: Options) -> models.Pretrained:
    (network,) = load_networks(
        [options.weights],
        architecture=None,
        data_root=options.data_root,
        device=resolve_device(options.device),
    )
    return network


def _photographs(options: Options) -> list[Picture]:
    if options.pictures:
        return [read_image(path) for path in options.pictures]
    from skimage import data as photographs

    return [photographs.chelsea(), photographs.coffee(), photographs.rocket()]


def _square(picture: Picture, size: int = 224) -> Picture:
    """The middle of a picture, brought to `size` pixels."""
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return data.resize(picture[top : top + side, left : left + side], (size, size))


def _size(network: models.Pretrained, wanted: int) -> int:
    """The side of the pictures to show: `wanted`, or the only one that the network takes."""
    return network.transform.size if models.is_sized(network.card.architecture) else wanted


def _need_colour(network: models.Pretrained) -> None:
    if len(network.transform.mean) == 1:
        raise ValueError(f"{network.name} takes grey pictures; this experiment shows photographs")


def _input(network: models.Pretrained, square: Picture) -> NDArray[np.float32]:
    """(C, H, W), normalised as the network wants it."""
    _need_colour(network)
    return network.transform.normalise(square.transpose(2, 0, 1)[None])[0]


def _convolutions(network: models.Pretrained) -> list[str]:
    """The activations behind the convolutions of a network, in the order in which they run.

    A ReLU behind an affine layer has no maps, and some layers run in training only: one pass shows
    which are left. Raises ValueError when none is.
    """
    size = _size(network, max(network.transform.size, 64))
    blank = np.zeros((1, len(network.transform.mean), size, size), np.float32)
    for kind in (nn.ReLU, nn.Conv2d):
        names = inside.layers_with_maps(network.model, blank, kind)
        if names:
            return names
    raise ValueError(f"{network.name} has no convolution to look into")


def _spread(names: list[str], count: int) -> list[str]:
    """`count` of the names, evenly over all depths."""
    chosen = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return [names[i] for i in chosen]


def _one_layer(network: models.Pretrained, options: Options, behind: int = 1) -> str:
    """The layer asked for, or the last but some of those with maps."""
    if len(options.layer) > 1:
        given = " ".join(options.layer)
        raise ValueError(f"--layer {given}: {options.experiment} shows one layer")
    if options.layer:
        return options.layer[0]
    every = _convolutions(network)
    return every[-min(behind, len(every))]


def _filters(options: Options) -> Figure:
    """The first layer's filters, and what the strongest of them make of a picture (7.6.1)."""
    network = _network(options)
    first = next((m for m in network.model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ValueError(f"{network.name} has no convolution to look into")
    picture = _square(_photographs(options)[0], _size(network, 224))
    with no_grad():
        x = inside.input_of(network.model, _input(network, picture)[None])
        maps = first(x).numpy()[0]
    strongest = np.argsort(-maps.std(axis=(1, 2)), kind="stable")[:11]
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    shown = (maps - low) / np.maximum(high - low, 1e-9)
    weight = first.weight.numpy()
    peak = np.abs(weight).max(axis=(1, 2, 3), keepdims=True)
    kernels = ((weight / np.maximum(peak, 1e-9) + 1) / 2).transpose(0, 2, 3, 1)
    pictures: list[NDArray[Any]] = [picture, *(shown[i] for i in strongest)]
    pictures += [np.full((1, 1, 3), 255, np.uint8), *(kernels[i] for i in strongest)]
    titles = ["picture", *(f"filter {i}" for i in strongest)]
    titles += [""] * len(titles)
    return viz.image_grid(
        pictures, titles, columns=len(titles) // 2, title=f"first layer of {network.name}"
    )


def _feature_maps(options: Options) -> Figure:
    network = _network(options)
    layers = list(options.layer) or _spread(_convolutions(network), 5)
    x = _input(network, _square(_photographs(options)[0], _size(network, 224)))
    maps = inside.feature_maps(network.model, x, layers)
    return viz.feature_maps(maps, title=f"feature maps of {network.name}, by depth")


def _channels(network: models.Pretrained, layer: str, options: Options) -> list[int]:
    """Those asked for, or the ones with the highest peaks above their mean on the photographs."""
    if options.channel:
        return list(options.channel)
    peaks = []
    for picture in _photographs(options):
        x = _input(network, _square(picture, _size(network, 224)))
        maps = inside.feature_maps(network.model, x, [layer])[layer]
        peaks.append(maps.max(axis=(1, 2)) / (maps.mean(axis=(1, 2)) + 1e-6) * (maps.max() > 0))
    return np.argsort(-np.mean(peaks, axis=0), kind="stable")[:_CHANNELS].tolist()


def _crops(options: Options) -> Figure:
    """The parts of the flowers (or of your pictures) that channels answer to most."""
    network = _network(options)
    layer = _one_layer(network, options, behind=3)
    _need_colour(network)
    if options.pictures:
        squares = [_square(p, _size(network, 128)) for p in _photographs(options)]
    else:
        flowers = data.flowers("test", options.data_root, size=_size(network, 64))
        squares = list(flowers.images.transpose(0, 2, 3, 1))
    x = network.transform.normalise(np.stack(squares).transpose(0, 3, 1, 2))
    shown: list[NDArray[Any]] = []
    titles = []
    for channel in _channels(network, layer, options):
        found = inside.strongest_crops(network.model, x, layer, channel, _CROPS)
        for crop in found:
            part = squares[crop.picture][crop.top : crop.bottom, crop.left : crop.right]
            shown.append(part if part.size else squares[crop.picture][:1, :1])
            titles.append(f"{channel}: {crop.value:.1f}")
    title = f"what channels of {layer} answer to most"
    return viz.image_grid(shown, titles, columns=_CROPS, title=title)


def _ascent(options: Options) -> Figure:
    """Pictures that were made to please channels, at several depths."""
    network = _network(options)
    every = _convolutions(network)
    # What pleases the first layer is one colour.
    layers = list(options.layer) or _spread(every[1:] or every, _DEPTHS)
    shown, titles = [], []
    size = _size(network, 96)
    shape = (len(network.transform.mean), size, size)
    mean, std = (np.array(v) for v in (network.transform.mean, network.transform.std))
    for layer in layers:
        place = f"layer {every.index(layer) + 1} of {len(every)}" if layer in every else layer
        for channel in _channels(network, layer, options):
            x = inside.maximise(network.model, layer, channel, shape).transpose(1, 2, 0)
            # Around the mean colour, as far as the middle of the values reaches.
            spread = np.abs(x * std).std() * 4 + 1e-9
            shown.append(np.clip(x * std / spread + mean, 0, 1))
            titles.append(f"{place}: {channel}")
    return viz.image_grid(shown, titles, columns=_CHANNELS, title="made to please one channel")


def _grad_cam(options: Options) -> Figure:
    network = _network(options)
    layer = _one_layer(network, options)
    shown: list[NDArray[Any]] = []
    titles: list[str] = []
    for picture in _photographs(options):
        square = _square(picture, _size(network, max(network.transform.size, 64)))
        x = _input(network, square)
        with no_grad():
            logits = network.model(inside.input_of(network.model, x[None]))
            found = F.softmax(logits, 1).numpy()[0]
        best = int(found.argmax())
        heat = inside.grad_cam(network.model, x, layer, best)
        shown += [square, viz.heat(square, heat)]
        titles += ["", f"{network.classes[best].split(',')[0]}, {found[best]:.0%}"]
    return viz.image_grid(shown, titles, columns=2, title=f"where {layer} sees it", size=2)


def _test_set(network: models.Pretrained, options: Options) -> ArrayDataset:
    """What the network was trained for, or else the set of such pictures that most have."""
    grey = len(network.transform.mean) == 1
    name = network.card.data
    if name not in SETS:
        name = "mnist" if grey else "flowers"
    if name == "flowers":
        return data.flowers("test", options.data_root, size=_size(network, 64))
    return SETS[name]("test", options.data_root)


def _t_sne(options: Options) -> Figure:
    """Test pictures as points: near each other when the network's last features are."""
    network = _network(options)
    layer = _one_layer(network, options)
    test = _test_set(network, options)
    # Spread over the set, which may be sorted by class.
    test = test.subset(np.linspace(0, len(test) - 1, min(_POINTS, len(test))).astype(int))
    x = network.transform.normalise(test.images)
    with no_grad():
        seen = inside.input_of(network.model, x)
        tap = models.features(network.model, [layer])(seen)[layer].numpy()
    features = tap if tap.ndim == 2 else tap.mean(axis=(2, 3))
    points = inside.embedding(features, seed=options.seed)
    title = f"{layer} of {network.name}, t-SNE"
    return viz.scatter(points, test.labels, test.classes, title=title)


EXPERIMENTS: Mapping[str, Callable[[Options], Figure]] = MappingProxyType(
    {
        "graph": _graph,
        "optimizer-paths": _paths,
        "optimizer-curves": _curves,
        "activations": _activations,
        "batch-norm": _batch_norm,
        "overfitting": _overfitting,
        "filters": _filters,
        "feature-maps": _feature_maps,
        "crops": _crops,
        "ascent": _ascent,
        "grad-cam": _grad_cam,
        "t-sne": _t_sne,
    }
)


if __name__ == "__main__":
    run_command(main, Options)
