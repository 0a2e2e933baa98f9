"""Containers: Sequential and its fusion, lists, dictionaries, shortcuts, branches."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import core
from core import amp, nn
from core import functional as F
from core.tensor import Tensor
from tests.core.nn.peer import agree, values


def chain() -> nn.Sequential:
    """Everything that fuses, and its neighbours that do not."""
    with core.default_dtype("float64"):
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 5),
            nn.ReLU(),
            nn.ReLU(),
            nn.Linear(5, 3),
        )


def unfused(model: nn.Sequential, x: Any) -> Any:
    for module in model:
        x = module.forward(x)
    return x


def operations(y: Tensor) -> list[str]:
    """Names of the graph's operations on the way from the result to the input."""
    names, node = [], y.node
    while node is not None and not node.is_leaf:
        names.append(node.name)
        node = node.parents[0]
    return names[::-1]


def run(model: nn.Sequential, fused: bool, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    model.zero_grad()
    input = Tensor(x, requires_grad=True)
    y = model(input) if fused else unfused(model, input)
    (y * values(*y.shape)).sum().backward()
    gradients = [t.grad for t in (input, *model.parameters())]
    return y.numpy(), [g.numpy() for g in gradients if g is not None]


@pytest.mark.parametrize("training", [True, False])
def test_fused_values_and_gradients_are_those_of_the_modules(training: bool) -> None:
    model, x = chain().train(training), values(3, 2, 6, 6)
    twin = copy.deepcopy(model)
    y, gradients = run(model, True, x)
    expected, expected_gradients = run(twin, False, x)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    assert len(gradients) == len(expected_gradients) == 11
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)
    for (name, ours), theirs in zip(
        model.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=name)


def test_neighbours_become_one_node() -> None:
    model = chain()
    x = Tensor(values(3, 2, 6, 6), requires_grad=True)
    fused = ["conv2d_relu", "conv2d", "batch_norm_relu", "max_pool2d", "relu", "reshape"]
    assert operations(model(x)) == [*fused, "linear_relu", "relu", "linear"]
    # The names of the state do not know about it.
    assert [n for n in model.state_dict() if n.startswith("3.")][:2] == ["3.weight", "3.bias"]


@pytest.mark.parametrize("training", [True, False])
def test_the_end_of_a_residual_block_is_one_node(training: bool) -> None:
    norm, relu = nn.BatchNorm2d(3).double().train(training), nn.ReLU()
    x, shortcut = (Tensor(values(2, 3, 4, 4) + i, requires_grad=True) for i in range(2))
    twins = [Tensor(t.numpy(), requires_grad=True) for t in (x, shortcut)]
    other = copy.deepcopy(norm)
    seen: list[Tensor] = []
    with relu.register_output_hook(lambda _, y: seen.append(y)):
        y = nn.join(x, norm, shortcut, relu)
    assert operations(y) == ["batch_norm_relu"]
    assert seen == [y]
    with other.register_output_hook(lambda _, y: seen.append(y)):
        z = nn.join(twins[0], other, twins[1], relu)
    assert operations(z) == ["batch_norm", "add", "relu"]
    assert seen[1].numpy().min() < 0
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-12)
    for result in (y, z):
        (result * Tensor(values(2, 3, 4, 4))).sum().backward()
    for ours, theirs in zip(
        [x, shortcut, *norm.parameters()], [*twins, *other.parameters()], strict=True
    ):
        assert ours.grad is not None
        assert theirs.grad is not None
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shortcut", [np.ones((2, 3, 1, 1)), np.ones((2, 3, 4, 4), np.float32)])
def test_a_shortcut_unlike_the_input_is_added_as_it_is(shortcut: np.ndarray) -> None:
    norm, relu, x = nn.BatchNorm2d(3).double(), nn.ReLU(), Tensor(values(2, 3, 4, 4))
    y = nn.join(x, norm, Tensor(shortcut), relu)
    expected = np.maximum(norm(x).numpy() + shortcut, 0)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12)


def test_a_norm_of_ones_own_is_called() -> None:
    class Doubled(nn.BatchNorm2d):
        def forward(self, input: Any) -> Tensor:
            return 2 * super().forward(input)

        def forward_relu(self, input: Any) -> Tensor:
            return F.relu(self.forward(input))

    x = Tensor(values(2, 3, 4, 4))
    y = nn.join(x, Doubled(3).double(), x, nn.ReLU())
    expected = np.maximum(2 * nn.BatchNorm2d(3).double()(x).numpy() + x.numpy(), 0)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12)


def test_a_residual_module_in_16_bits_takes_a_float32_input() -> None:
    body = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    block = nn.Residual(body, activation=nn.ReLU())
    x = Tensor(values(3, 2, 4, 4).astype(np.float32))
    expected = block(x).numpy()
    with amp.autocast("float16"):
        y = block(x)
        assert operations(nn.join(body[0](x), body[1], body[0](x), nn.ReLU()))
    np.testing.assert_allclose(y.numpy(), expected, atol=0.05)


def test_a_residual_module_ends_in_one_node() -> None:
    body = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    block = nn.Residual(body, activation=nn.ReLU()).double()
    x = Tensor(values(3, 2, 4, 4), requires_grad=True)
    y = block(x)
    assert operations(y) == ["conv2d_relu", "conv2d", "batch_norm_relu"]
    seen: list[Tensor] = []
    with body.register_output_hook(lambda _, z: seen.append(z)):
        z = block(x)
    assert operations(z)[-2:] == ["add", "relu"]
    assert len(seen) == 1
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-12)


@pytest.mark.parametrize("hooked", [0, 1])
def test_a_hook_on_either_neighbour_sees_its_result(hooked: int) -> None:
    model = chain()
    x = Tensor(values(3, 2, 6, 6), requires_grad=True)
    seen: list[np.ndarray] = []
    handle = model[hooked].register_forward_hook(lambda m, args, y: seen.append(y.numpy()))
    assert operations(model(x))[:2] == ["conv2d", "relu"]
    assert (seen[0].min() >= 0) == (hooked == 1)
    handle.remove()
    assert operations(model(x))[0] == "conv2d_relu"


def test_an_output_hook_leaves_the_node_that_it_stands_at_the_end_of() -> None:
    model = chain()
    x = Tensor(values(3, 2, 6, 6), requires_grad=True)
    seen: list[tuple[nn.Module, Tensor]] = []
    with model[1].register_output_hook(lambda *call: seen.append(call)):
        y = model(x)
        assert operations(y)[0] == "conv2d_relu"
    assert [module for module, _ in seen] == [model[1]]
    assert operations(seen[0][1]) == ["conv2d_relu"]
    with model[0].register_output_hook(lambda *call: seen.append(call)):
        assert operations(model(x))[:2] == ["conv2d", "relu"]
    assert seen[1][1].numpy().min() < 0
    model(x)
    assert len(seen) == 2


def test_a_subclass_with_its_own_forward_is_not_fused() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Any) -> Tensor:
            return super().forward(input) * 2

    class Plain(nn.Linear):
        """Inherits both."""

    class Louder(nn.ReLU):
        def forward(self, input: Any) -> Tensor:
            return F.relu(input) * 2

    x = np.ones((1, 2), np.float32)
    doubled, plain = Doubled(2, 3), Plain(2, 3)
    for layer in (doubled, plain):
        nn.init.ones_(layer.weight)
    expected = np.maximum(doubled(x).numpy(), 0)
    np.testing.assert_array_equal(nn.Sequential(doubled, nn.ReLU())(x).numpy(), expected)
    assert operations(nn.Sequential(plain, nn.ReLU())(x)) == ["linear_relu"]
    expected = 2 * np.maximum(plain(x).numpy(), 0)
    np.testing.assert_array_equal(nn.Sequential(plain, Louder())(x).numpy(), expected)


def test_sequential_is_a_list_of_modules() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert len(model) == 2
    assert model.append(nn.Linear(3, 4)) is model
    assert isinstance(model[1], nn.ReLU)
    assert model[-1].out_features == 4
    assert [type(m).__name__ for m in model] == ["Linear", "ReLU", "Linear"]
    model[-1] = nn.Linear(3, 7)
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert model(np.ones((1, 2), np.float32)).shape == (1, 7)
    with pytest.raises(IndexError, match="index 3 is out of range for 3 modules"):
        model[3]


def test_a_slice_shares_its_modules_and_keeps_their_names() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
    tail = model[1:]
    assert isinstance(tail, nn.Sequential)
    assert tail[1] is model[2]
    assert list(tail.state_dict()) == ["2.weight", "2.bias"]
    tail.append(nn.Linear(4, 1))
    assert [name for name, _ in tail.named_children()] == ["1", "2", "3"]


def test_a_slice_of_a_subclass_is_a_plain_chain() -> None:
    class Network(nn.Sequential):
        def __init__(self, width: int) -> None:
            super().__init__({"first": nn.Linear(2, width), "second": nn.ReLU()})

    part = Network(3)[:1]
    assert type(part) is nn.Sequential
    assert list(part.state_dict()) == ["first.weight", "first.bias"]


def test_modules_with_names_elsewhere_run_as_a_chain() -> None:
    model, x = chain().eval(), Tensor(values(3, 2, 6, 6), requires_grad=True)
    y = nn.chain(x, *model)
    np.testing.assert_array_equal(y.numpy(), model(x).numpy())
    assert operations(y) == operations(model(x))
    assert nn.chain(x) is x


def test_a_module_may_stand_twice() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(relu, nn.Linear(2, 2), relu)
    assert len(model) == 3
    assert len(list(model.children())) == 2
    assert operations(model(Tensor(np.ones((1, 2), np.float32)))) == ["linear_relu"]


def test_sequential_with_names() -> None:
    model = nn.Sequential({"fc": nn.Linear(2, 3), "act": nn.ReLU()})
    assert list(model.state_dict()) == ["fc.weight", "fc.bias"]
    assert operations(model(np.ones((1, 2), np.float32))) == ["linear_relu"]
    assert nn.Sequential()(5) == 5


def test_module_list_and_dict() -> None:
    layers = nn.ModuleList([nn.Linear(2, 2)]).extend([nn.ReLU()])
    assert [type(m) for m in layers] == [nn.Linear, nn.ReLU]
    assert list(layers.state_dict()) == ["0.weight", "0.bias"]
    table = nn.ModuleDict({"a": nn.Linear(2, 2)})
    table["b"] = nn.ReLU()
    assert list(table) == list(table.keys()) == ["a", "b"]
    assert len(table) == 2
    assert "b" in table
    assert "c" not in table
    assert isinstance(table["b"], nn.ReLU)
    assert [type(m) for _, m in table.items()] == [type(m) for m in table.values()]
    assert list(table.state_dict()) == ["a.weight", "a.bias"]


def test_residual_adds_the_shortcut_before_the_activation() -> None:
    x = np.array([[1.0, -3.0]], np.float32)
    body = nn.Linear(2, 2)
    body.load_state_dict({"weight": np.eye(2), "bias": np.ones(2)})
    assert nn.Residual(body)(Tensor(x)).tolist() == [[3, -5]]
    assert nn.Residual(body, activation=nn.ReLU())(Tensor(x)).tolist() == [[3, 0]]
    model = nn.Residual(body, nn.Linear(2, 2))
    assert [n for n, _ in model.named_parameters()] == [
        "body.weight",
        "body.bias",
        "shortcut.weight",
        "shortcut.bias",
    ]
    with pytest.raises(ValueError, match=r"body gives shape \(1, 1\), the shortcut \(1, 2\)"):
        nn.Residual(nn.Linear(2, 1))(Tensor(x))


def test_concat_joins_channels() -> None:
    x = Tensor(values(2, 3, 4, 4).astype(np.float32))
    model = nn.Concat(nn.Conv2d(3, 2, 1), nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()))
    y = model(x)
    assert y.shape == (2, 7, 4, 4)
    np.testing.assert_array_equal(y.numpy()[:, :2], model[0](x).numpy())
    np.testing.assert_array_equal(y.numpy()[:, 2:], model[1](x).numpy())
    assert next(iter(model.state_dict())) == "0.weight"


@pytest.mark.peer
@pytest.mark.parametrize("training", [True, False])
def test_a_chain_agrees_with_pytorch(training: bool) -> None:
    torch = pytest.importorskip("torch")
    t = torch.nn
    theirs = t.Sequential(
        t.Conv2d(2, 4, 3, padding=1),
        t.ReLU(),
        t.Conv2d(4, 4, 3),
        t.BatchNorm2d(4),
        t.ReLU(),
        t.MaxPool2d(2),
        t.ReLU(),
        t.Flatten(),
        t.Linear(16, 5),
        t.ReLU(),
        t.ReLU(),
        t.Linear(5, 3),
    )
    agree(chain().train(training), theirs.double().train(training), values(3, 2, 6, 6))
