"""The training steps that are timed, each written once for every side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.sides import Side


@dataclass(frozen=True)
class Workload:
    """A step that is ready to run, and the networks in it."""

    run: Callable[[], Any]
    """One step; returns its loss, or what it infers."""

    networks: tuple[Any, ...]

    def value(self) -> float:
        """Run one step without dropout; the mean magnitude of its result, to be compared."""
        with _without_dropout(self.networks):
            return float(self.run().detach().abs().mean().item())


@dataclass(frozen=True)
class Step:
    """One row of the table: what is computed, how large, and what the project promises."""

    name: str
    title: str
    build: Callable[[Side, Step], Workload]
    goal: float
    """Our time over PyTorch's, at most."""

    batch: int
    shape: tuple[int, ...]
    """What one sample is: (C, H, W), or the number of words."""

    width: int = 64
    """Of the network; 64 is the published one."""

    @property
    def size(self) -> str:
        """The batch, as in "100 x 1x28x28"."""
        return f"{self.batch} x {'x'.join(map(str, self.shape))}"


def deep_convnet(side: Side, step: Step) -> Workload:
    """Adam, as the book trains it."""
    net = side.module(networks.deep_convnet(side.nn, step.shape[-1], step.width))
    return _supervised(side, net, side.optim.Adam(net.parameters()), step, classes=10)


def resnet20(side: Side, step: Step) -> Workload:
    """SGD with momentum and weight decay (He et al. 2016, section 4.2)."""
    net = side.module(networks.resnet20(side.nn, side.functional, step.width))
    optimizer = side.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return _supervised(side, net, optimizer, step, classes=10)


def resnet50(side: Side, step: Step) -> Workload:
    """SGD with momentum and weight decay (He et al. 2016, section 3.4)."""
    net = side.module(networks.resnet50(side.nn, step.width))
    optimizer = side.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return _supervised(side, net, optimizer, step, classes=1000)


def segnet(side: Side, step: Step) -> Workload:
    """Cross entropy over all pixels but the unlabelled, SGD with momentum."""
    net = side.module(networks.segnet(side.nn, 11, step.width))
    optimizer = side.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return _supervised(side, net, optimizer, step, classes=11, pixels=True)


def segnet_inference(side: Side, step: Step) -> Workload:
    """Inference."""
    return _inference(side, networks.segnet(side.nn, 11, step.width), step)


def segnet_basic_inference(side: Side, step: Step) -> Workload:
    """Inference."""
    return _inference(side, networks.segnet(side.nn, 11, step.width, basic=True), step)


def unet_inference(side: Side, step: Step) -> Workload:
    """Inference."""
    net = networks.unet(side.nn, side.functional, side.join, 11, step.width)
    return _inference(side, net, step)


def style(side: Side, step: Step) -> Workload:
    """One step of Adam on the picture: five Gram matrices and one content layer."""
    net = side.module(networks.vgg19_taps(side.nn, step.width)).eval().requires_grad_(False)
    rng = np.random.default_rng(0)
    shape = (step.batch, *step.shape)
    content, painting, start = (rng.standard_normal(shape, np.float32) for _ in range(3))
    with side.no_grad(), side.autocast():
        wanted = net(side.tensor(content))[4]
        grams = [side.gram(tap) for tap in _painted(net(side.tensor(painting)))]
    picture = side.leaf(start)
    optimizer = side.optim.Adam([picture], lr=0.01)
    difference = side.nn.MSELoss()

    def run() -> Any:
        optimizer.zero_grad()
        with side.autocast():
            taps = net(picture)
            loss = difference(taps[4], wanted)
            for tap, gram in zip(_painted(taps), grams, strict=True):
                loss = loss + 1000.0 * difference(side.gram(tap), gram)
        side.descend(loss, optimizer)
        return loss

    return Workload(run, (net,))


def _painted(taps: list[Any]) -> list[Any]:
    """The layers that the style is read from: all but the one of the content."""
    return [*taps[:4], taps[5]]


def dcgan(side: Side, step: Step) -> Workload:
    """A step of the discriminator on real and made pictures, and one of the generator."""
    # Radford et al. 2016, section 4: weights normal with 0.02, Adam with 0.0002 and 0.5.
    g = side.module(networks.generator(side.nn, step.width), std=0.02)
    d = side.module(networks.discriminator(side.nn, step.width), std=0.02)
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    g_optimizer = side.optim.Adam(g.parameters(), **adam)
    d_optimizer = side.optim.Adam(d.parameters(), **adam)
    rng = np.random.default_rng(0)
    real = side.tensor(rng.uniform(-1, 1, (step.batch, *step.shape)).astype(np.float32))
    noise = side.tensor(rng.standard_normal((step.batch, 100, 1, 1), np.float32))
    ones = side.tensor(np.ones((step.batch, 1), np.float32))
    zeros = side.tensor(np.zeros((step.batch, 1), np.float32))
    criterion = side.nn.BCEWithLogitsLoss()

    def run() -> Any:
        d_optimizer.zero_grad()
        with side.autocast():
            made = g(noise)
            d_loss = criterion(d(real), ones) + criterion(d(made.detach()), zeros)
        side.descend(d_loss, d_optimizer)
        g_optimizer.zero_grad()
        with side.autocast():
            g_loss = criterion(d(made), ones)
        side.descend(g_loss, g_optimizer)
        return d_loss + g_loss

    return Workload(run, (g, d))


def caption(side: Side, step: Step, vocabulary: int = 5000) -> Workload:
    """The words of the captions from the pictures' features and the words before, Adam."""
    (words,) = step.shape
    net = side.module(networks.captioner(side.nn, vocabulary, width=step.width))
    optimizer = side.optim.Adam(net.parameters())
    rng = np.random.default_rng(0)
    pictures = side.tensor(rng.standard_normal((step.batch, 1, 2048), np.float32))
    sentence = rng.integers(vocabulary, size=(step.batch, words))
    before = side.tensor(np.ascontiguousarray(sentence[:, :-1]))
    target = side.tensor(sentence.reshape(-1))
    criterion = side.nn.CrossEntropyLoss()

    def run() -> Any:
        optimizer.zero_grad()
        with side.autocast():
            logits = net(side.join, pictures, before)
            loss = criterion(logits.reshape(-1, vocabulary), target)
        side.descend(loss, optimizer)
        return loss

    return Workload(run, (net,))


def attention(side: Side, step: Step, vocabulary: int = 5000) -> Workload:
    """The words of the captions from feature maps of 7x7 places and the words before, Adam."""
    words, channels = step.shape[0], 8 * step.width
    net = side.module(
        networks.soft_attention(side.nn, side.join, vocabulary, channels, width=step.width)
    )
    optimizer = side.optim.Adam(net.parameters())
    rng = np.random.default_rng(0)
    maps = side.tensor(rng.standard_normal((step.batch, channels, 7, 7), np.float32))
    sentence = rng.integers(vocabulary, size=(step.batch, words + 1))
    before = side.tensor(np.ascontiguousarray(sentence[:, :-1]))
    target = side.tensor(np.ascontiguousarray(sentence[:, 1:]).reshape(-1))
    criterion = side.nn.CrossEntropyLoss()

    def run() -> Any:
        optimizer.zero_grad()
        with side.autocast():
            loss = criterion(net(maps, before).reshape(-1, vocabulary), target)
        side.descend(loss, optimizer)
        return loss

    return Workload(run, (net,))


def dqn(side: Side, step: Step, actions: int = 6) -> Workload:
    """One update towards the target network's values (Mnih et al. 2015, algorithm 1)."""
    build = (step.shape[-1], actions, step.width)
    online = side.module(networks.q_network(side.nn, *build))
    target = side.module(networks.q_network(side.nn, *build))
    optimizer = side.optim.RMSprop(online.parameters(), lr=2.5e-4, alpha=0.95, eps=0.01)
    rng = np.random.default_rng(0)
    shape = (step.batch, *step.shape)
    state, following = (side.tensor(rng.random(shape, np.float32)) for _ in range(2))
    reward = side.tensor(rng.integers(-1, 2, step.batch).astype(np.float32))
    goes_on = side.tensor((rng.random(step.batch) > 0.1).astype(np.float32))
    rows = side.tensor(np.arange(step.batch))
    taken = side.tensor(rng.integers(actions, size=step.batch))
    criterion = side.nn.HuberLoss()

    def run() -> Any:
        with side.no_grad(), side.autocast():
            wanted = reward + 0.99 * goes_on * target(following).amax(1)
        optimizer.zero_grad()
        with side.autocast():
            loss = criterion(online(state)[rows, taken], wanted)
        side.descend(loss, optimizer)
        return loss

    return Workload(run, (online, target))


def alexnet(side: Side, step: Step) -> Workload:
    """Inference."""
    return _inference(side, networks.alexnet(side.nn, step.width), step)


def vgg16(side: Side, step: Step) -> Workload:
    """Inference."""
    return _inference(side, networks.vgg16(side.nn, step.width), step)


def _supervised(
    side: Side, net: Any, optimizer: Any, step: Step, classes: int, pixels: bool = False
) -> Workload:
    """A step of `optimizer` on random pictures with a class each, or one at each pixel."""
    rng = np.random.default_rng(0)
    x = side.tensor(rng.standard_normal((step.batch, *step.shape), np.float32))
    labels = (step.batch, *step.shape[1:]) if pixels else (step.batch,)
    # The class behind the last one is "unlabelled".
    target = side.tensor(rng.integers(classes + pixels, size=labels))
    criterion = side.nn.CrossEntropyLoss(ignore_index=classes)

    def run() -> Any:
        optimizer.zero_grad()
        with side.autocast():
            loss = criterion(net(x), target)
        side.descend(loss, optimizer)
        return loss

    return Workload(run, (net,))


def _inference(side: Side, net: Any, step: Step) -> Workload:
    net = side.module(net).eval()
    rng = np.random.default_rng(0)
    x = side.tensor(rng.standard_normal((step.batch, *step.shape), np.float32))

    def run() -> Any:
        with side.inference():
            return net(x)

    return Workload(run, (net,))


@contextmanager
def _without_dropout(nets: tuple[Any, ...]) -> Iterator[None]:
    """Every side draws its own noise: losses can only be compared without."""
    layers = [m for net in nets for m in net.modules() if type(m).__name__ == "Dropout"]
    rates = [layer.p for layer in layers]
    for layer in layers:
        layer.p = 0.0
    try:
        yield
    finally:
        for layer, rate in zip(layers, rates, strict=True):
            layer.p = rate


STEPS = (
    Step("deep_convnet", "DeepConvNet (book), Adam", deep_convnet, 0.9, 100, (1, 28, 28)),
    Step("resnet20", "ResNet-20 CIFAR, momentum", resnet20, 1.0, 128, (3, 32, 32)),
    Step("segnet", "SegNet (VGG-16 encoder), 11 classes", segnet, 0.9, 1, (3, 360, 480)),
    Step("style", "VGG-19 style iteration", style, 0.7, 1, (3, 256, 256)),
    Step("style_512", "VGG-19 style iteration, 512 pixels", style, 0.7, 1, (3, 512, 512)),
    Step("dcgan", "DCGAN step (D and G)", dcgan, 1.0, 64, (3, 64, 64)),
    Step("nic", "NIC: LSTM 512, 5,000 words", caption, 1.0, 64, (20,)),
    Step("attention", "NIC with soft attention, 7x7 places", attention, 1.0, 64, (12,)),
    Step("dqn", "DQN update, Nature network", dqn, 1.0, 32, (4, 84, 84)),
    Step("alexnet", "AlexNet inference", alexnet, 0.9, 16, (3, 224, 224)),
    Step("vgg16", "VGG-16 inference", vgg16, 0.7, 4, (3, 224, 224)),
    Step("segnet_inference", "SegNet inference", segnet_inference, 1.0, 1, (3, 360, 480)),
    Step(
        "segnet_basic_inference",
        "SegNet-Basic inference",
        segnet_basic_inference,
        1.0,
        1,
        (3, 360, 480),
    ),
    Step("unet_inference", "U-Net inference", unet_inference, 1.0, 1, (3, 360, 480), width=32),
)


def step_named(name: str) -> Step:
    """The step with this name; ValueError for an unknown one."""
    # Here, because it is made of this module's parts.
    from benchmarks.loaded import LOADED

    for step in (*STEPS, *LOADED):
        if step.name == name:
            return step
    raise ValueError(f"step {name!r}, expected one of {', '.join(s.name for s in STEPS)}")
