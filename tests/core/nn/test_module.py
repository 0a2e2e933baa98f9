"""Module: registration, walking, modes, state, hooks, printing."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import core
from core import nn
from core.tensor import Parameter, Tensor


class Block(nn.Module):
    """A convolution, batch normalisation and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Parameter(np.ones(2, np.float32))
        self.conv = nn.Conv2d(3, 2, 3)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) * self.scale.reshape(2, 1, 1)


class Net(nn.Module):
    """A block under two names, a layer and a buffer."""

    anchors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = Block()
        self.again = self.first
        self.head = nn.Linear(4, 2, bias=False)
        self.register_buffer("anchors", np.arange(3), persistent=False)


BLOCK = ["scale", "conv.weight", "conv.bias", "norm.weight", "norm.bias"]
STATISTICS = ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


def test_names_are_attribute_paths_in_order() -> None:
    assert [name for name, _ in Block().named_parameters()] == BLOCK
    assert [name for name, _ in Block().named_buffers()] == STATISTICS
    assert list(Block().state_dict()) == BLOCK + STATISTICS
    assert [name for name, _ in Block().named_parameters(recurse=False)] == ["scale"]
    assert [name for name, _ in Block().named_children()] == ["conv", "norm"]


def test_shared_modules_are_walked_once_but_saved_under_both_names() -> None:
    net = Net()
    assert [name for name, _ in net.named_modules()] == [
        "",
        "first",
        "first.conv",
        "first.norm",
        "head",
    ]
    assert [name for name, _ in net.named_children()] == ["first", "head"]
    assert [n for n, _ in net.named_parameters()] == [f"first.{n}" for n in BLOCK] + ["head.weight"]
    assert "again.conv.weight" in net.state_dict()
    assert len(list(net.parameters())) == 6
    assert net.num_parameters() == 2 + 54 + 2 + 2 + 2 + 8


def test_a_buffer_that_is_not_persistent_is_not_saved() -> None:
    net = Net()
    assert "anchors" in dict(net.named_buffers())
    assert "anchors" not in net.state_dict()
    assert isinstance(net.anchors, Tensor)


def test_registration_needs_init() -> None:
    class Hasty(nn.Module):
        def __init__(self) -> None:
            self.weight = Parameter(np.ones(1))

    class Empty(nn.Module):
        def __init__(self) -> None:
            pass

        def forward(self) -> int:
            return 1

    with pytest.raises(AttributeError, match=r"Hasty: call super\(\).__init__\(\)"):
        Hasty()
    with pytest.raises(AttributeError, match=r"Empty: call super\(\).__init__\(\)"):
        Empty()()


def test_a_parameter_is_not_replaced_by_a_plain_tensor() -> None:
    block = Block()
    with pytest.raises(TypeError, match="cannot assign a Tensor to the parameter 'scale'"):
        block.scale = Tensor(np.ones(2))  # type: ignore[assignment]
    with pytest.raises(TypeError, match="cannot assign a ndarray to the buffer 'running_mean'"):
        block.norm.running_mean = np.zeros(2)  # type: ignore[assignment]
    block.scale = Parameter(np.zeros(2, np.float32))
    assert dict(block.named_parameters())["scale"].tolist() == [0, 0]


@pytest.mark.parametrize("name", ["", "a.b", "forward", "training"])
def test_names_that_cannot_be_used(name: str) -> None:
    with pytest.raises(KeyError, match="cannot name a module"):
        nn.Module().add_module(name, nn.ReLU())
    with pytest.raises(KeyError, match="cannot name a tensor"):
        nn.Module().register_buffer(name, np.ones(1))


def test_add_module_takes_modules_only() -> None:
    with pytest.raises(TypeError, match="'0' is a function, expected a Module"):
        nn.Sequential(lambda x: x)  # type: ignore[arg-type]


def test_train_and_eval_reach_everything() -> None:
    net = Net()
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())


def test_requires_grad_and_zero_grad() -> None:
    block = Block()
    x = np.ones((2, 3, 5, 5), np.float32)
    block.conv.requires_grad_(False)
    block(x).sum().backward()
    assert block.conv.weight.grad is None
    assert block.scale.grad is not None
    block.zero_grad(set_to_none=False)
    assert block.scale.grad.tolist() == [0, 0]
    block.zero_grad()
    assert block.scale.grad is None


def test_apply_visits_children_first() -> None:
    seen: list[str] = []
    Block().apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Conv2d", "BatchNorm2d", "Block"]


def test_forward_is_demanded() -> None:
    with pytest.raises(NotImplementedError, match="Net defines no forward"):
        Net()(1)


# ---------------------------------------------------------------------------- hooks


def test_hooks_see_and_replace_the_output_until_removed() -> None:
    layer = nn.ReLU()
    seen: list[Any] = []
    handle = layer.register_forward_hook(lambda m, args, y: seen.append((m, args, y)))
    x = Tensor(np.array([-1.0, 2.0]))
    y = layer(x)
    assert seen[0][0] is layer
    assert seen[0][1] == (x,)
    assert seen[0][2] is y
    with layer.register_forward_hook(lambda m, args, y: y * 10):
        assert layer(x).tolist() == [0, 20]
    handle.remove()
    handle.remove()
    assert layer(x).tolist() == [0, 2]
    assert len(seen) == 2


# ---------------------------------------------------------------------------- state


def test_loading_copies_into_the_same_memory_and_order() -> None:
    source, target = Block(), Block()
    source.state_dict()["norm.running_var"][...] = 7
    memory = {name: (p.data, p.data.strides) for name, p in target.named_parameters()}
    target.conv(np.ones((1, 3, 4, 4), np.float32))
    version = target.conv.weight.version
    arrays = {k: np.array(v, order="C") for k, v in source.state_dict().items()}
    assert target.load_state_dict(arrays) == ([], [])
    for name, p in target.named_parameters():
        assert p.data is memory[name][0]
        assert p.data.strides == memory[name][1]
        assert p.data is not source.state_dict()[name]
    assert target.conv.weight.version == version + 1
    # (kh, kw, C, K) in memory.
    assert target.conv.weight.data.transpose(2, 3, 1, 0).flags.c_contiguous
    for name, value in target.state_dict().items():
        np.testing.assert_array_equal(value, arrays[name])


def test_loading_takes_tensors_and_other_float_dtypes() -> None:
    layer = nn.Linear(2, 1)
    layer.load_state_dict(
        {"weight": Tensor(np.array([[1.0, 2.0]])), "bias": np.array([3], "float16")}
    )
    assert layer(np.ones((1, 2), np.float32)).tolist() == [[6.0]]
    assert layer.weight.dtype == np.float32


def test_a_state_that_does_not_fit_changes_nothing_and_is_described() -> None:
    layer = nn.Linear(2, 3)
    before = layer.weight.numpy().copy()
    state = {"weight": np.ones((3, 2)), "bias": np.ones(4), "extra": np.ones(1)}
    with pytest.raises(RuntimeError) as error:
        layer.load_state_dict(state)
    assert "does not fit Linear" in str(error.value)
    assert "bias has shape (4,), expected (3,)" in str(error.value)
    assert "unexpected: extra" in str(error.value)
    np.testing.assert_array_equal(layer.weight.numpy(), before)
    with pytest.raises(RuntimeError, match="missing: weight, bias"):
        layer.load_state_dict({})
    with pytest.raises(RuntimeError, match="weight is a list, expected an array"):
        layer.load_state_dict({"weight": [[1.0]]}, strict=False)
    with pytest.raises(RuntimeError, match="running_mean has dtype complex128"):
        nn.BatchNorm1d(1).load_state_dict({"running_mean": np.ones(1, complex)}, strict=False)


def test_counts_of_batches_may_be_missing() -> None:
    """Files from before PyTorch 0.4.1 do not have them, and PyTorch takes those too."""
    layer = nn.BatchNorm1d(2)
    state = {n: a + 1 for n, a in layer.state_dict().items() if n != "num_batches_tracked"}
    assert layer.load_state_dict(state) == ([], [])
    np.testing.assert_array_equal(layer.state_dict()["running_mean"], [1, 1])
    assert layer.state_dict()["num_batches_tracked"] == 0
    with pytest.raises(RuntimeError, match="missing: running_mean"):
        layer.load_state_dict({n: a for n, a in state.items() if n != "running_mean"})


def test_modules_are_found_by_their_dotted_names() -> None:
    net = Net()
    assert net.get_submodule("first.conv") is net.first.conv
    assert net.get_submodule("again") is net.first
    assert net.get_submodule("") is net
    with pytest.raises(AttributeError, match=r"Net has no module 'first.scale': Block has conv, n"):
        net.get_submodule("first.scale")
    with pytest.raises(AttributeError, match=r"no module 'head\.0': Linear has none"):
        net.get_submodule("head.0")


def test_a_state_that_is_not_strict_may_lack_and_have_names() -> None:
    layer = nn.Linear(2, 1)
    result = layer.load_state_dict({"weight": np.ones((1, 2)), "extra": np.ones(1)}, strict=False)
    assert result.missing_keys == ["bias"]
    assert result.unexpected_keys == ["extra"]
    assert layer.weight.tolist() == [[1, 1]]


def test_many_wrong_names_are_counted() -> None:
    with pytest.raises(RuntimeError, match="x5 and 14 more"):
        nn.Identity().load_state_dict({f"x{i}": np.ones(1) for i in range(20)})


def test_to_a_dtype_keeps_objects_order_and_integers() -> None:
    block = Block()
    weight, strides = block.conv.weight, block.conv.weight.data.strides
    assert block.to("float64") is block
    assert block.conv.weight is weight
    assert weight.dtype == np.float64
    assert weight.data.strides == tuple(2 * s for s in strides)
    assert block.norm.running_mean is not None
    assert block.norm.running_mean.dtype == np.float64
    assert block.norm.num_batches_tracked is not None
    assert block.norm.num_batches_tracked.dtype == np.int64
    assert block.to("cpu").conv.weight.dtype == np.float64
    with pytest.raises(TypeError, match="dtype int64, expected a float dtype"):
        block.to(np.int64)


def test_a_deep_copy_learns_by_itself() -> None:
    block = Block()
    twin = copy.deepcopy(block)
    twin.load_state_dict({k: v + 1 for k, v in block.state_dict().items()})
    assert block.scale.tolist() == [1, 1]
    assert twin.scale.tolist() == [2, 2]
    assert twin.conv.weight.data.strides == block.conv.weight.data.strides
    x = np.ones((2, 3, 5, 5), np.float32)
    twin(x).sum().backward()
    assert twin.conv.weight.grad is not None
    assert block.conv.weight.grad is None


# ---------------------------------------------------------------------------- printing

PRINTED = """\
Net(
  (body): Sequential(
    (0): Conv2d(3, 16, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
    (1): ReLU()
  )
  (head): Linear(in_features=16, out_features=2, bias=True)
)"""


def test_printed_as_pytorch_prints() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.ReLU()
            )
            self.head = nn.Linear(16, 2)

    assert repr(Net()) == PRINTED
    assert repr(nn.Sequential()) == "Sequential()"


PRINTABLE = [
    "Linear(2, 3)",
    "Conv1d(2, 4, 3, padding=2, dilation=2, groups=2)",
    "Conv2d(2, 4, 3, padding='same')",
    "Conv3d(2, 4, (1, 2, 3), bias=False)",
    "ConvTranspose2d(2, 4, 4, stride=2, padding=1, output_padding=1)",
    "MaxPool2d(2)",
    "MaxPool2d(3, stride=2, padding=1, ceil_mode=True)",
    "AvgPool2d(2)",
    "AdaptiveAvgPool2d((1, 1))",
    "BatchNorm2d(4, momentum=None)",
    "InstanceNorm2d(4)",
    "GroupNorm(2, 4)",
    "LayerNorm((3, 4))",
    "LocalResponseNorm(5, k=2.0)",
    "LeakyReLU(0.2)",
    "ELU()",
    "Softmax(1)",
    "LogSoftmax(1)",
    "Dropout(0.2)",
    "Flatten()",
    "Identity()",
    "Embedding(5, 3, padding_idx=-1)",
    "MSELoss()",
    "Sequential(Linear(2, 3), Sequential(ReLU()))",
]


# Settings that only PyTorch has, or only its newer releases print.
EXTRAS = [", bias=True", ", bias=False", ", track_running_stats=False", ", momentum=0.1"]
EXTRAS += [", inplace=False"]


@pytest.mark.peer
@pytest.mark.parametrize("expression", PRINTABLE)
def test_every_layer_is_printed_alike(expression: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = (repr(eval(expression, vars(module))) for module in (nn, torch.nn))
    for unsupported in EXTRAS:
        if unsupported not in ours:
            theirs = theirs.replace(unsupported, "")
    assert ours == theirs


def test_seeded_initialisation_repeats() -> None:
    def weights() -> list[np.ndarray]:
        core.seed(3)
        return [p.numpy() for p in Block().parameters()]

    for a, b in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(a, b)
