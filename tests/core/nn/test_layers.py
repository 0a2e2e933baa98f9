"""Layers: settings, errors, and every value and gradient beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import core
from core import nn
from core.tensor import Tensor
from tests.core.nn.peer import agree, close, values


@pytest.fixture
def float64() -> Iterator[None]:
    with core.default_dtype("float64"):
        yield


PICTURE = (2, 4, 7, 6)
LAYERS: list[tuple[str, tuple[int, ...]]] = [
    ("Linear(6, 3)", (2, 5, 6)),
    ("Linear(6, 3, bias=False)", (2, 6)),
    ("Conv1d(4, 6, 3, padding=1, groups=2)", (2, 4, 9)),
    ("Conv2d(4, 6, 3)", PICTURE),
    ("Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=2, bias=False)", PICTURE),
    ("Conv2d(4, 6, 3, padding='same', groups=2)", PICTURE),
    ("Conv3d(2, 3, 2, stride=(1, 2, 1))", (2, 2, 4, 5, 3)),
    ("ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1)", PICTURE),
    ("ConvTranspose2d(4, 6, (2, 3), groups=2, bias=False, dilation=2)", PICTURE),
    ("MaxPool2d(2)", PICTURE),
    ("MaxPool2d(3, stride=2, padding=1, ceil_mode=True)", PICTURE),
    ("AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)", PICTURE),
    ("AdaptiveAvgPool2d((3, None))", PICTURE),
    ("BatchNorm1d(4)", (5, 4)),
    ("BatchNorm1d(4, momentum=0.3)", (3, 4, 5)),
    ("BatchNorm2d(4)", PICTURE),
    ("BatchNorm2d(4, eps=1e-3, momentum=None)", PICTURE),
    ("BatchNorm2d(4, affine=False)", PICTURE),
    ("BatchNorm2d(4, track_running_stats=False)", PICTURE),
    ("InstanceNorm2d(4)", PICTURE),
    ("InstanceNorm2d(4, affine=True, eps=1e-3)", PICTURE),
    ("GroupNorm(2, 4)", PICTURE),
    ("GroupNorm(4, 4, affine=False)", (2, 4, 3)),
    ("LayerNorm(6)", (2, 3, 6)),
    ("LayerNorm((7, 6), bias=False)", PICTURE),
    ("LayerNorm((7, 6), elementwise_affine=False)", PICTURE),
    ("LocalResponseNorm(3, alpha=0.1, k=2.0)", PICTURE),
    ("ReLU()", PICTURE),
    ("LeakyReLU(0.2)", PICTURE),
    ("ELU(0.5)", PICTURE),
    ("Sigmoid()", PICTURE),
    ("Tanh()", PICTURE),
    ("Softmax(1)", PICTURE),
    ("LogSoftmax(dim=-1)", PICTURE),
    ("Flatten()", PICTURE),
    ("Flatten(2, 3)", PICTURE),
    ("Identity()", PICTURE),
    ("ReflectionPad2d(2)", PICTURE),
    ("ReflectionPad2d((1, 2, 0, 3))", PICTURE),
    ("Upsample(scale_factor=2)", PICTURE),
    ("Upsample(size=(9, 4), mode='bilinear', align_corners=True)", PICTURE),
]


def both(expression: str) -> tuple[nn.Module, Any]:
    """The same expression made with ours and with PyTorch's float64 modules."""
    torch = pytest.importorskip("torch")
    return eval(expression, vars(nn)), eval(expression, vars(torch.nn)).double()


@pytest.mark.peer
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("expression", "shape"), LAYERS)
def test_layers_agree_with_pytorch(
    expression: str, shape: tuple[int, ...], training: bool, float64: None
) -> None:
    ours, theirs = both(expression)
    # The second call starts from running statistics that the first one left.
    for seed in range(2):
        ours.zero_grad()
        theirs.zero_grad()
        agree(ours.train(training), theirs.train(training), values(*shape, seed=seed))


@pytest.mark.peer
@pytest.mark.parametrize("padding", [None, 0, -2])
def test_embedding_agrees_with_pytorch(padding: int | None, float64: None) -> None:
    ours, theirs = both(f"Embedding(5, 3, padding_idx={padding})")
    agree(ours, theirs, np.array([[0, 3, 4], [3, 3, 1]]))
    if padding is not None:
        assert (
            not eval(f"Embedding(5, 3, padding_idx={padding})", vars(nn)).weight.data[padding].any()
        )


CLASSES = np.array([0, 2, -100, 1])
LOSSES: list[tuple[str, np.ndarray]] = [
    ("CrossEntropyLoss()", CLASSES),
    ("CrossEntropyLoss(ignore_index=1, label_smoothing=0.1, reduction='none')", CLASSES.clip(0)),
    ("NLLLoss(reduction='sum')", CLASSES),
    ("MultiMarginLoss(margin=0.5)", CLASSES.clip(0)),
    ("BCEWithLogitsLoss()", values(4, 3).clip(0, 1)),
    ("MSELoss(reduction='sum')", values(4, 3)),
    ("L1Loss(reduction='none')", values(4, 3)),
    ("SmoothL1Loss(beta=0.5)", values(4, 3)),
    ("HuberLoss(delta=0.5)", values(4, 3)),
]


@pytest.mark.peer
@pytest.mark.parametrize(("expression", "target"), LOSSES)
def test_losses_agree_with_pytorch(expression: str, target: np.ndarray, float64: None) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = both(expression)
    x = values(4, 3, seed=9)
    own, peer = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, t = ours(own, target), theirs(peer, torch.tensor(target))
    close(y, t.detach())
    y.sum().backward()
    t.sum().backward()
    close(own.grad, peer.grad)


@pytest.mark.peer
def test_class_weights_are_buffers(float64: None) -> None:
    torch = pytest.importorskip("torch")
    weight, x = np.array([1.0, 2.0, 0.5]), values(4, 3)
    for name, target in (("CrossEntropyLoss", CLASSES), ("NLLLoss", CLASSES)):
        ours = getattr(nn, name)(weight)
        theirs = getattr(torch.nn, name)(torch.tensor(weight))
        assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]
        close(ours(x, target), theirs(torch.tensor(x), torch.tensor(target)))
    ours = nn.BCEWithLogitsLoss(weight, pos_weight=weight + 1)
    theirs = torch.nn.BCEWithLogitsLoss(torch.tensor(weight), pos_weight=torch.tensor(weight + 1))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    target = (x > 0).astype(float)
    close(ours(x, target), theirs(torch.tensor(x), torch.tensor(target)))


def test_hinge_loss() -> None:
    assert nn.HingeLoss()(Tensor(np.array([0.5, 2.0])), np.array([1, -1])).item() == 1.75


# ---------------------------------------------------------------------------- memory, first values


@pytest.mark.parametrize(
    "layer",
    [nn.Conv1d(2, 4, 3), nn.Conv2d(2, 4, 3), nn.Conv3d(2, 4, 3), nn.ConvTranspose2d(2, 4, 3)],
)
def test_a_weight_lies_in_memory_as_the_kernels_read_it(layer: Any) -> None:
    weight = layer.weight.data
    assert weight.shape[:2] == ((2, 4) if isinstance(layer, nn.ConvTranspose2d) else (4, 2))
    assert weight.transpose(*range(2, weight.ndim), 1, 0).flags.c_contiguous
    x = np.ones((1, 2, *(5,) * (weight.ndim - 2)), np.float32)
    layer(x).sum().backward()
    assert layer.weight.grad.data.strides == weight.strides


@pytest.mark.peer
@pytest.mark.parametrize(
    "expression", ["Linear(20, 30)", "Conv2d(6, 30, 5, groups=3)", "ConvTranspose2d(6, 30, 5)"]
)
def test_first_values_have_pytorchs_bounds(expression: str, float64: None) -> None:
    ours, theirs = both(expression)
    for p, t in zip(ours.parameters(), theirs.parameters(), strict=True):
        bound = t.abs().max().item()
        assert 0.8 * bound < abs(p.numpy()).max() < 1.25 * bound
        assert abs(p.numpy().mean()) < 0.3 * bound


def test_new_parameters_have_the_default_dtype() -> None:
    assert nn.Linear(2, 3).weight.dtype == np.float32
    with core.default_dtype("float64"):
        assert nn.BatchNorm2d(2).state_dict()["running_var"].dtype == np.float64


# ---------------------------------------------------------------------------- behaviour


def test_dropout_acts_in_training_only() -> None:
    core.seed(0)
    layer, x = nn.Dropout(0.5), Tensor(np.ones(1000, np.float32))
    y = layer(x).numpy()
    assert set(y.tolist()) == {0.0, 2.0}
    assert 400 < (y == 0).sum() < 600
    assert layer.eval()(x) is x


def test_batch_norm_counts_in_training_only() -> None:
    layer, x = nn.BatchNorm1d(2), values(8, 2).astype(np.float32)
    layer(x)
    layer(x)
    layer.eval()(x)
    assert layer.num_batches_tracked is not None
    assert layer.num_batches_tracked.item() == 2
    layer.reset_running_stats()
    assert layer.state_dict()["num_batches_tracked"] == 0
    assert layer.state_dict()["running_var"].tolist() == [1, 1]


def test_unpooling_puts_values_back() -> None:
    x = Tensor(np.array([[[[1.0, 2.0], [4.0, 3.0]]]]))
    y, indices = nn.MaxPool2d(2, return_indices=True)(x)
    assert nn.MaxUnpool2d(2)(y, indices).tolist() == [[[[0, 0], [4, 0]]]]


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.BatchNorm2d(128, 0.8), TypeError, "positional"),  # type: ignore[call-arg]
    (lambda: nn.BatchNorm2d(3)(np.ones((2, 4, 5, 5))), ValueError, "expected 3 channels in 4 axes"),
    (lambda: nn.BatchNorm1d(3)(np.ones((2, 3, 5, 5))), ValueError, "3 channels in 2 axes or 3"),
    (lambda: nn.BatchNorm2d(3)([1.0]), TypeError, "BatchNorm2d: input is a list"),
    (lambda: nn.InstanceNorm2d(3)(np.ones((2, 3, 5))), ValueError, "InstanceNorm2d: input has"),
    (lambda: nn.GroupNorm(3, 4), ValueError, "4 channels do not divide into 3 groups"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "do not divide into 2 groups"),
    (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ValueError, "expected one number or 2"),
    (lambda: nn.Conv2d(3, 4, 3)(np.ones((1, 2, 5, 5), np.float32)), ValueError, "2 channels"),
    (lambda: nn.Dropout(1.5), ValueError, "p is 1.5"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "outside a table of 3 rows"),
    (lambda: nn.MSELoss(reduction="avg"), ValueError, "reduction 'avg'"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_mistakes_are_named(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
