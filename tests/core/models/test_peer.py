"""The networks written a second time with PyTorch's layers: states, values and gradients agree.

The architectures are spelled out here, not imported, so that a network that is wrong in one place
is not compared with itself. The names are those of torchvision's state dicts.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, models, nn, no_grad
from tests.core.nn.peer import agree, values

pytestmark = pytest.mark.peer

torch = pytest.importorskip("torch")
t = torch.nn


class Branches(t.Module):  # type: ignore[name-defined]
    """The results of all children, joined along the channels."""

    def __init__(self, **branches: Any) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Any) -> Any:
        return torch.cat([branch(x) for branch in self.children()], 1)


def named(**layers: Any) -> Any:
    return t.Sequential(OrderedDict(layers))


def conv(channels: int, filters: int, size: int, stride: int = 1, **options: Any) -> list[Any]:
    """A convolution and a ReLU."""
    return [t.Conv2d(channels, filters, size, stride, **options), t.ReLU()]


def alexnet(grouped: bool) -> Any:
    a, b, c, groups = (96, 256, 384, 2) if grouped else (64, 192, 256, 1)
    norm = [t.LocalResponseNorm(5, 5e-4, 0.75, 2.0)] if grouped else []
    drop = [] if grouped else [t.Dropout(0.0)]
    features = [
        *conv(3, a, 11, 4, padding=0 if grouped else 2),
        *norm,
        t.MaxPool2d(3, 2),
        *conv(a, b, 5, padding=2, groups=groups),
        *norm,
        t.MaxPool2d(3, 2),
        *conv(b, 384, 3, padding=1),
        *conv(384, c, 3, padding=1, groups=groups),
        *conv(c, 256, 3, padding=1, groups=groups),
        t.MaxPool2d(3, 2),
    ]
    head = [*drop, t.Linear(9216, 8), t.ReLU(), t.Dropout(0.0), t.Linear(8, 8), t.ReLU()]
    last = [t.Dropout(0.0)] if grouped else []
    return named(
        features=t.Sequential(*features),
        avgpool=t.AdaptiveAvgPool2d(6),
        flatten=t.Flatten(),
        classifier=t.Sequential(*head, *last, t.Linear(8, 5)),
    )


def vgg16(batch_norm: bool) -> Any:
    features: list[Any] = []
    channels = 3
    for filters, count in ((4, 2), (4, 2), (8, 3), (8, 3), (8, 3)):
        for _ in range(count):
            norm = [t.BatchNorm2d(filters)] if batch_norm else []
            features += [t.Conv2d(channels, filters, 3, padding=1), *norm, t.ReLU()]
            channels = filters
        features.append(t.MaxPool2d(2))
    head = [t.Linear(8 * 49, 6), t.ReLU(), t.Dropout(), t.Linear(6, 6), t.ReLU(), t.Dropout()]
    return named(
        features=t.Sequential(*features),
        avgpool=t.AdaptiveAvgPool2d(7),
        flatten=t.Flatten(),
        classifier=t.Sequential(*head, t.Linear(6, 5)),
    )


class Fire(t.Module):  # type: ignore[name-defined]
    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = t.Conv2d(channels, squeeze, 1)
        self.expand1x1 = t.Conv2d(squeeze, expand, 1)
        self.expand3x3 = t.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def squeezenet(version: str) -> Any:
    pool = t.MaxPool2d(3, 2, ceil_mode=True)
    old = version == "1_0"
    first = conv(3, 96, 7, 2) if old else conv(3, 64, 3, 2)
    fires = [
        Fire(96 if old else 64, 16, 64),
        Fire(128, 16, 64),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    ]
    a, b = (3, 7) if old else (2, 4)
    features = [*first, pool, *fires[:a], pool, *fires[a:b], pool, *fires[b:]]
    head = [t.Dropout(), t.Conv2d(512, 5, 1), t.ReLU(), t.AdaptiveAvgPool2d(1)]
    return named(
        features=t.Sequential(*features), classifier=t.Sequential(*head), flatten=t.Flatten()
    )


def unit(channels: int, filters: int, size: int, stride: int = 1) -> Any:
    """GoogLeNet's convolution."""
    return named(
        conv=t.Conv2d(channels, filters, size, stride, size // 2, bias=False),
        bn=t.BatchNorm2d(filters, eps=0.001),
        relu=t.ReLU(),
    )


def inception(channels: int, a: int, b: int, c: int, d: int, e: int, f: int) -> Any:
    return Branches(
        branch1=unit(channels, a, 1),
        branch2=t.Sequential(unit(channels, b, 1), unit(b, c, 3)),
        branch3=t.Sequential(unit(channels, d, 1), unit(d, e, 3)),
        branch4=t.Sequential(t.MaxPool2d(3, 1, 1), unit(channels, f, 1)),
    )


class GoogLeNet(t.Module):  # type: ignore[name-defined]
    def __init__(self) -> None:
        super().__init__()
        pool = t.MaxPool2d(3, 2, ceil_mode=True)
        self.conv1, self.maxpool1 = unit(3, 64, 7, 2), pool
        self.conv2, self.conv3, self.maxpool2 = unit(64, 64, 1), unit(64, 192, 3), pool
        self.inception3a = inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = inception(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = inception(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1, self.aux2 = self.auxiliary(512), self.auxiliary(528)
        self.fc = t.Linear(1024, 5)

    def auxiliary(self, channels: int) -> Any:
        return named(
            pool=t.AdaptiveAvgPool2d(4),
            conv=unit(channels, 128, 1),
            flatten=t.Flatten(),
            fc1=t.Linear(2048, 1024),
            relu=t.ReLU(),
            fc2=t.Linear(1024, 5),
        )

    def forward(self, x: Any) -> Any:
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.maxpool1(self.inception3b(self.inception3a(x)))
        first = self.inception4a(x)
        second = self.inception4d(self.inception4c(self.inception4b(first)))
        x = t.functional.max_pool2d(self.inception4e(second), 2, 2, ceil_mode=True)
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(x.mean((2, 3)))
        return (logits, self.aux2(second), self.aux1(first)) if self.training else logits


class Block(t.Module):  # type: ignore[name-defined]
    """A residual block of `sizes` filters; its shortcut is padded, projected or plain."""

    def __init__(self, channels: int, filters: list[int], sizes: list[int], stride: int) -> None:
        super().__init__()
        self.count, before = len(sizes), channels
        for i, (after, size) in enumerate(zip(filters, sizes, strict=True), start=1):
            # The stride stands at the first 3x3 convolution.
            step = stride if i == sizes.index(3) + 1 else 1
            self.add_module(f"conv{i}", t.Conv2d(before, after, size, step, size // 2, bias=False))
            self.add_module(f"bn{i}", t.BatchNorm2d(after))
            before = after
        self.stride, self.added = stride, before - channels
        self.downsample: Any = None

    def project(self) -> Any:
        last = getattr(self, f"conv{self.count}").out_channels
        if self.stride > 1 or self.added:
            layer = t.Conv2d(last - self.added, last, 1, self.stride, bias=False)
            self.downsample = t.Sequential(layer, t.BatchNorm2d(last))
        return self

    def forward(self, x: Any) -> Any:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.count else y
        if self.downsample is not None:
            return (y + self.downsample(x)).relu()
        fill = (0, 0, 0, 0, self.added // 2, self.added // 2)
        return (y + t.functional.pad(x[:, :, :: self.stride, :: self.stride], fill)).relu()


def resnet(counts: list[int], bottleneck: bool) -> Any:
    layers = {"conv1": t.Conv2d(3, 8, 7, 2, 3, bias=False), "bn1": t.BatchNorm2d(8)}
    layers |= {"relu": t.ReLU(), "maxpool": t.MaxPool2d(3, 2, 1)}
    channels = 8
    for stage, count in enumerate(counts):
        inner, blocks = 8 * 2**stage, []
        filters = [inner, inner, 4 * inner] if bottleneck else [inner, inner]
        for i in range(count):
            sizes = [1, 3, 1] if bottleneck else [3, 3]
            stride = 2 if stage and not i else 1
            blocks.append(Block(channels, filters, sizes, stride).project())
            channels = filters[-1]
        layers[f"layer{stage + 1}"] = t.Sequential(*blocks)
    layers |= {"avgpool": t.AdaptiveAvgPool2d(1), "flatten": t.Flatten()}
    return named(**layers, fc=t.Linear(channels, 5))


def cifar_resnet20(projected: bool) -> Any:
    layers = {"conv1": t.Conv2d(3, 8, 3, 1, 1, bias=False), "bn1": t.BatchNorm2d(8)}
    layers["relu"] = t.ReLU()
    channels = 8
    for stage, filters in enumerate((8, 16, 32), start=1):
        blocks = []
        for i in range(3):
            block = Block(channels, [filters] * 2, [3, 3], 2 if stage > 1 and not i else 1)
            blocks.append(block.project() if projected else block)
            channels = filters
        layers[f"layer{stage}"] = t.Sequential(*blocks)
    layers |= {"avgpool": t.AdaptiveAvgPool2d(1), "flatten": t.Flatten()}
    return named(**layers, linear=t.Linear(channels, 5))


THIN = {"channels": (4, 4, 8, 8, 8), "hidden": 6}
CASES: list[tuple[str, dict[str, Any], Any, int]] = [
    ("alexnet", {"hidden": 8, "dropout": 0.0}, lambda: alexnet(grouped=False), 63),
    ("alexnet_published", {"hidden": 8, "dropout": 0.0}, lambda: alexnet(grouped=True), 67),
    ("vgg16", THIN, lambda: vgg16(batch_norm=False), 33),
    ("vgg16_bn", THIN, lambda: vgg16(batch_norm=True), 32),
    ("squeezenet1_0", {}, lambda: squeezenet("1_0"), 29),
    ("squeezenet1_1", {}, lambda: squeezenet("1_1"), 29),
    ("resnet34", {"width": 8}, lambda: resnet([3, 4, 6, 3], bottleneck=False), 33),
    ("resnet50", {"width": 8}, lambda: resnet([3, 4, 6, 3], bottleneck=True), 32),
    ("cifar_resnet20", {"width": 8}, lambda: cifar_resnet20(projected=False), 17),
    ("cifar_resnet20", {"width": 8, "shortcut": "B"}, lambda: cifar_resnet20(projected=True), 16),
]


def unlike_the_start(network: Any) -> Any:
    """Statistics, scales and biases that matter."""
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "bn1.weight", "bn2.weight")):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1:
            tensor.normal_(0, 0.2)
    return network.double()


@pytest.mark.parametrize("name, options, peer, size", CASES)
def test_values_and_gradients(name: str, options: dict[str, Any], peer: Any, size: int) -> None:
    with core.default_dtype("float64"), nn.init.skip_draws():
        ours = models.build(name, num_classes=5, **options).eval()
    agree(ours, unlike_the_start(peer()).eval(), values(2, 3, size, size))


def test_googlenet_with_its_auxiliary_classifiers() -> None:
    with nn.init.skip_draws():
        ours = models.build("googlenet", num_classes=5).eval()
    theirs = unlike_the_start(GoogLeNet()).float().eval()
    ours.load_state_dict({name: a.numpy() for name, a in theirs.state_dict().items()})
    # The three results of training, with the statistics of inference.
    ours.training = theirs.training = True
    x = values(2, 3, 64, 64).astype(np.float32)
    with no_grad(), torch.no_grad():
        results, expected = ours(Tensor(x)), theirs(torch.tensor(x))
    for y, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(y.numpy(), other, atol=1e-5 * float(other.abs().max()))
    assert list(ours.state_dict()) == list(theirs.state_dict())
