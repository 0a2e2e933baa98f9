"""Every operation of PyTorch's name against PyTorch: values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import functional as F
from tests.core import bench
from tests.core.bench import Case
from tests.core.cases import CASES
from tests.core.test_operations import convolutions, poolings

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peer

TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


class Peer:
    """PyTorch's operations under the core's names."""

    def __getattr__(self, name: str) -> Any:
        functional = getattr(torch.nn.functional, name, None)
        return functional if functional is not None else getattr(torch, name)

    add = staticmethod(lambda x, y: x + y)
    sub = staticmethod(lambda x, y: x - y)
    mul = staticmethod(lambda x, y: x * y)
    div = staticmethod(lambda x, y: x / y)
    getitem = staticmethod(lambda x, index: x[index])
    expand = staticmethod(lambda x, sizes: x.expand(sizes))
    cast = staticmethod(lambda x, dtype: x.to(getattr(torch, np.dtype(dtype).name)))

    @staticmethod
    def conv2d_relu(*args: Any, **kwargs: Any) -> Any:
        return torch.relu(torch.nn.functional.conv2d(*args, **kwargs))

    @staticmethod
    def batch_norm_relu(*args: Any, shortcut: Any = 0, **kwargs: Any) -> Any:
        return torch.relu(torch.nn.functional.batch_norm(*args, **kwargs) + shortcut)

    @staticmethod
    def linear_relu(*args: Any) -> Any:
        return torch.relu(torch.nn.functional.linear(*args))

    @staticmethod
    def hinge_loss(x: Any, target: Any) -> Any:
        return torch.relu(1 - target * x).mean()


def run_peer(case: Case, arrays: list[np.ndarray]) -> tuple[list[Any], list[Any]]:
    """The same call and the same output gradients with PyTorch."""
    tensors = [
        torch.tensor(a).requires_grad_(case.gradient and g.grad)
        for a, g in zip(arrays, case.given, strict=True)
    ]
    peer = case.run if case.peer == "same" else case.peer
    assert callable(peer)
    outputs = bench.flat(peer(Peer(), *tensors))
    wanted = [y for y in outputs if y.requires_grad]
    for y, gy in zip(wanted, bench.output_gradients(wanted), strict=True):
        y.backward(torch.tensor(gy).to(y.dtype), retain_graph=True)
    return outputs, [t.grad for t in tensors]


@pytest.mark.parametrize("dtype", bench.DTYPES)
@pytest.mark.parametrize("case", [c for c in CASES if c.peer is not None], ids=str)
def test_same_as_pytorch(case: Case, dtype: str) -> None:
    arrays = case.arrays(dtype)
    outputs, gradients = bench.run(case, arrays)
    expected, expected_gradients = run_peer(case, arrays)
    for y, e in zip(outputs, expected, strict=True):
        assert y.dtype.name == str(e.dtype).removeprefix("torch.")
        assert bench.relative_error(y.numpy(), e.detach().numpy()) < TOLERANCE[dtype]
    for g, e in zip(gradients, expected_gradients, strict=True):
        assert (g is None) == (e is None)
        if g is not None:
            assert bench.relative_error(g, e.numpy()) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    ("name", "spatial"), [("conv1d", 1), ("conv2d", 2), ("conv3d", 3), ("conv_transpose2d", 2)]
)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_convolution_of_any_shape(name: str, spatial: int, data: st.DataObject) -> None:
    drawn = data.draw(convolutions(spatial, transposed="transpose" in name))
    arrays = [drawn["x"], drawn["w"], drawn["b"]]
    ours = getattr(F, name)(*arrays, **drawn["keywords"]).numpy()
    theirs = getattr(torch.nn.functional, name)(*map(torch.tensor, arrays), **drawn["keywords"])
    assert bench.relative_error(ours, theirs.numpy()) < 1e-9


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@given(drawn=poolings())
@settings(max_examples=40, deadline=None)
def test_pooling_of_any_shape(name: str, drawn: tuple[np.ndarray, dict[str, Any]]) -> None:
    x, keywords = drawn
    theirs = getattr(torch.nn.functional, name)(torch.tensor(x), **keywords).numpy()
    assert bench.relative_error(getattr(F, name)(x, **keywords).numpy(), theirs) < 1e-12
