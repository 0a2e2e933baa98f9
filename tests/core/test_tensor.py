"""Tensor: what it is made of, how it prints, operators, promotion, errors."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

import core
from core import Parameter, Tensor
from core import functional as F

# ---------------------------------------------------------------------------- making


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        (3, "int64"),
        (True, "bool"),
        ([[1.0, 2.0], [3.0, 4.0]], "float32"),
        ([1, 2], "int64"),
        (np.float64(1), "float64"),
        (np.zeros(2), "float64"),
        (np.zeros(2, np.uint8), "uint8"),
        ([np.float64(1), np.float64(2)], "float32"),
    ],
)
def test_dtype_of_a_new_tensor(data: Any, dtype: str) -> None:
    assert Tensor(data).dtype == dtype


def test_a_tensor_keeps_its_array() -> None:
    array = np.zeros((2, 3))
    assert Tensor(array).data is array
    assert core.tensor(array).data is not array
    assert core.tensor(array, dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize(
    "data",
    ["text", None, [[1, 2], [3]], {1: 2}, 1j, np.array(["a"]), np.array([1j]), np.array([None])],
)
def test_only_numbers_make_a_tensor(data: Any) -> None:
    with pytest.raises(TypeError, match="tensor: "):
        Tensor(data)


def test_only_floats_have_gradients() -> None:
    with pytest.raises(TypeError, match="dtype int64 has no gradient, expected a float"):
        Tensor([1, 2], requires_grad=True)


def test_default_dtype() -> None:
    with core.default_dtype(np.float64):
        assert Tensor([1.0]).dtype == core.get_default_dtype() == np.float64
    assert Tensor([1.0]).dtype == np.float32
    message = "default_dtype: got int64, expected a float dtype"
    with pytest.raises(ValueError, match=message), core.default_dtype(np.int64):
        pass


# ---------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (Tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (Tensor(3), "tensor(3)"),
        (Tensor([True, False]), "tensor([ True, False])"),
        (Tensor(np.zeros(2)), "tensor([0., 0.], dtype=float64)"),
        (Tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (Tensor([1.0], requires_grad=True) * 2, "tensor([2.], from=mul)"),
        (Parameter(np.float32(1)), "tensor(1., requires_grad=True)"),
        (Tensor([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
    ],
)
def test_repr(tensor: Tensor, text: str) -> None:
    assert repr(tensor) == text


def test_numbers_and_lists() -> None:
    x = Tensor([[1.5, 2.5]])
    assert (x.shape, x.ndim, x.numel(), x.size(), x.size(1)) == ((1, 2), 2, 2, (1, 2), 2)
    assert x.tolist() == [[1.5, 2.5]]
    assert x[0, 1].item() == 2.5 and isinstance(x[0, 1].item(), float)
    assert float(Tensor(2.5)) == 2.5 and int(Tensor(2.5)) == 2 and bool(Tensor(0)) is False
    assert [10, 20, 30][Tensor(1)] == 20
    assert [row.tolist() for row in Tensor([[1], [2]])] == [[1], [2]]
    assert len(Tensor([[1], [2]])) == 2
    assert isinstance(x.numpy(), np.ndarray) and np.shares_memory(x.numpy(), x.data)
    assert np.asarray(x).tolist() == [[1.5, 2.5]]
    assert x.device == "cpu" and x.cpu() is x


def test_one_value_is_asked_of_many() -> None:
    with pytest.raises(ValueError, match=r"item: tensor has shape \(2,\), expected exactly one"):
        Tensor([1, 2]).item()
    with pytest.raises(ValueError, match="expected exactly one"):
        bool(Tensor([1, 2]))
    with pytest.raises(TypeError, match="dtype float32, expected an integer"):
        operator.index(Tensor(1.0))
    with pytest.raises(TypeError, match="0-d tensor has no length"):
        len(Tensor(1.0))


def test_tensors_are_hashed_by_identity() -> None:
    x, y = Tensor([1.0]), Tensor([1.0])
    assert len({x, y, x}) == 2


# ---------------------------------------------------------------------------- operators

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
]


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "other",
    [2, 0.5, np.float32(2), np.array([1.0, 2.0, 3.0], np.float32), np.ones((2, 3), np.float32)],
    ids=["int", "float", "scalar", "row", "matrix"],
)
def test_operators_take_numbers_and_arrays_on_both_sides(
    function: Callable[[Any, Any], Any], other: Any
) -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    x = Tensor(array)
    for result, expected in (
        (function(x, other), function(array, other)),
        (function(other, x), function(other, array)),
        (function(x, Tensor(other)), function(array, other)),
    ):
        assert isinstance(result, Tensor)
        assert np.array_equal(result.numpy(), expected)
        assert result.dtype == (np.float32 if function in BINARY[:4] else bool)


def test_matrix_product_on_both_sides() -> None:
    a, b = np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)
    for result in (Tensor(a) @ b, a @ Tensor(b), Tensor(a) @ Tensor(b)):
        assert isinstance(result, Tensor) and result.tolist() == [[3, 3], [3, 3]]


def test_unary_operators() -> None:
    x = Tensor([-1.5, 2.0])
    assert (
        (-x).tolist() == [1.5, -2] and abs(x).tolist() == [1.5, 2] and (x**2).tolist() == [2.25, 4]
    )


@pytest.mark.parametrize(
    "method",
    [
        "exp",
        "abs",
        "relu",
        "sigmoid",
        "tanh",
        "sum",
        "mean",
        "var",
        "std",
        "amax",
        "amin",
        "argmax",
        "flatten",
        "squeeze",
        "neg",
    ],
)
def test_methods_are_the_operations(method: str) -> None:
    x = Tensor(np.array([[-1.0, 2.0, 0.5]]))
    if method != "neg":
        assert np.array_equal(getattr(x, method)().numpy(), getattr(F, method)(x).numpy())
    else:
        assert np.array_equal((-x).numpy(), F.neg(x).numpy())


def test_shape_methods_take_sizes_one_by_one_or_together() -> None:
    x = Tensor(np.arange(6.0))
    assert x.reshape(2, 3).shape == x.reshape((2, -1)).shape == x.view(2, -1).shape == (2, 3)
    y = x.reshape(1, 2, 3)
    assert y.permute(2, 0, 1).shape == y.permute((2, 0, 1)).shape == (3, 1, 2)
    assert y.expand(4, -1, 3).shape == (4, 2, 3)
    assert y[0].T.shape == (3, 2)
    assert [p.shape for p in x.split(4)] == [(4,), (2,)]
    assert [p.shape for p in x.chunk(4)] == [(2,), (2,), (2,)]


# ---------------------------------------------------------------------------- promotion

UINT8, INT32, INT64 = np.dtype("uint8"), np.dtype("int32"), np.dtype("int64")


@pytest.mark.parametrize(
    ("result", "dtype"),
    [
        (lambda: Tensor(np.ones(2, UINT8)) / 255, "float32"),
        (lambda: Tensor(np.ones(2, UINT8)) + 1, "uint8"),
        (lambda: Tensor(np.ones(2, INT64)) / Tensor(np.ones(2, INT64)), "float32"),
        (lambda: Tensor(np.ones(2, INT32)) * 2.5, "float32"),
        (lambda: Tensor(np.ones(2, "float16")) * 1e-3, "float16"),
        (lambda: Tensor(np.ones(2, "float32")) * 2.5, "float32"),
        (lambda: Tensor(np.ones(2, "float32")) * np.float64(2.5), "float32"),
        (lambda: Tensor(np.ones(2, "float32")) * Tensor(np.array(2.5)), "float32"),
        (lambda: Tensor(np.ones(2, INT64)) * Tensor(np.array(2.5)), "float64"),
        (lambda: Tensor(np.ones(2, "float32")) * Tensor(np.ones(2)), "float64"),
        (lambda: Tensor(np.ones(2, "float32")) + Tensor(np.ones(2, INT64)), "float32"),
        (lambda: Tensor(np.ones(2, "float16")) + Tensor(np.ones(2, INT64)), "float16"),
        (lambda: Tensor(np.ones((), "float32")) + 1.5, "float32"),
        (lambda: Tensor(np.ones(2, bool)) + 1, "int64"),
        (lambda: Tensor(np.ones(2, bool)) * 1.5, "float32"),
        (lambda: Tensor(np.ones(2, UINT8)).sum(), "int64"),
        (lambda: Tensor(np.ones(2, INT64)).exp(), "float32"),
        (lambda: F.where(np.ones(2, bool), 1.0, 2.0), "float32"),
        (lambda: F.cat([Tensor(np.ones(2, "float32")), Tensor(np.ones(2))]), "float64"),
    ],
)
def test_promotion(result: Callable[[], Tensor], dtype: str) -> None:
    assert result().dtype == dtype


@pytest.mark.peer
@pytest.mark.parametrize("name", ["add", "mul", "div", "maximum", "eq"])
def test_promotion_is_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    dtypes = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")
    ours = [np.ones(shape, d) for d in dtypes for shape in ((2,), ())] + [True, 2, 1.5]
    theirs = [torch.tensor(x) if isinstance(x, np.ndarray) else x for x in ours]
    for a, ta in zip(ours[:-3], theirs[:-3], strict=True):
        for b, tb in zip(ours, theirs, strict=True):
            if name == "maximum" and not isinstance(b, np.ndarray):
                continue
            expected = str(getattr(torch, name)(ta, tb).dtype).removeprefix("torch.")
            assert getattr(F, name)(a, b).dtype == expected, (name, a, b)


# ---------------------------------------------------------------------------- 0-d arrays


@pytest.mark.parametrize(
    "result",
    [
        lambda x: x.sum(),
        lambda x: x.mean(),
        lambda x: x.var(),
        lambda x: x.std(),
        lambda x: x.max(),
        lambda x: x.amin(),
        lambda x: x.argmax(),
        lambda x: x[0, 1],
        lambda x: x[0] @ x[0],
        lambda x: x.sum() + x.mean(),
        lambda x: -x.sum(),
        lambda x: x.sum().exp(),
        lambda x: F.logsumexp(x[0], 0),
        lambda x: F.mse_loss(x, x),
        lambda x: F.cross_entropy(x, np.array([0, 1])),
        lambda x: x.sum().relu(),
        lambda x: x.sum().sigmoid(),
        lambda x: F.where(x.sum() > 0, x.sum(), 0.0),
        lambda x: x.max(1)[0].sum(),
    ],
)
def test_a_single_value_is_a_0d_array(result: Callable[[Tensor], Tensor]) -> None:
    y = result(Tensor(np.array([[1, 2, 3], [4, 5, 6]], np.float32)))
    assert type(y.data) is np.ndarray and y.shape == ()


# ---------------------------------------------------------------------------- leaves


def test_requires_grad_is_for_leaves() -> None:
    x = Tensor([1.0])
    assert x.requires_grad_() is x and x.requires_grad and x.is_leaf
    x.requires_grad = False
    assert not (x * 2).requires_grad
    x.requires_grad = True
    with pytest.raises(RuntimeError, match="only leaves can change"):
        (x * 2).requires_grad_(False)


def test_grad_is_set_and_cleared() -> None:
    x = Parameter(np.ones(2))
    x.grad = np.array([1.0, 2.0])
    assert x.grad is not None and x.grad.tolist() == [1, 2]
    x.grad = None
    assert x.grad is None
    with pytest.raises(ValueError, match=r"grad: got shape \(3,\), expected \(2,\)"):
        x.grad = np.ones(3)
    with pytest.raises(RuntimeError, match="requires no gradient"):
        Tensor([1.0]).grad = np.ones(1)


def test_conversions() -> None:
    x = Tensor([1.5], requires_grad=True)
    assert x.double().dtype == np.float64 and x.half().dtype == np.float16
    assert x.long().dtype == np.int64 and x.float() is x and x.to(np.float32) is x
    (x.double() * 2).sum().backward()
    assert x.grad is not None and x.grad.dtype == np.float32


# ---------------------------------------------------------------------------- errors

X, W = np.zeros((2, 3, 8, 8), np.float32), np.zeros((4, 16, 3, 3), np.float32)
A, I64 = np.zeros((2, 3), np.float32), np.zeros(2, np.int64)

WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: F.conv2d(X, W), ValueError, r"^conv2d: input has 3 channels, weight expects 16$"),
    (lambda: F.conv2d(X[0], W), ValueError, r"conv2d: input has shape \(3, 8, 8\), expected 4"),
    (lambda: F.conv2d(X, W[:, :3], np.zeros(3, "f")), ValueError, r"bias has shape \(3,\), exp"),
    (lambda: F.conv2d(X[..., :2], W[:, :3]), ValueError, r"kernel \(3, 3\) does not fit into"),
    (lambda: F.conv2d(X, W[:, :3], padding=-1), ValueError, "padding >= 0"),
    (lambda: F.conv2d(X, W[:, :3], stride=0), ValueError, "stride, dilation and groups >= 1"),
    (lambda: F.conv2d(X, W[:, :3], padding="full"), ValueError, "padding 'full'"),
    (lambda: F.conv2d(X, W[:, :3].astype("f8")), TypeError, "float32, weight float64"),
    (lambda: F.conv2d(X.astype("i8"), W), TypeError, "input has dtype int64, expected a float"),
    (lambda: F.conv_transpose2d(X, W), ValueError, "input has 3 channels, weight .* expects 4"),
    (lambda: F.linear(A, np.zeros((4, 5), "f")), ValueError, r"weight expects \(\.\.\., 5\)"),
    (lambda: F.add(A, X), ValueError, r"add: shapes \(2, 3\) and \(2, 3, 8, 8\) do not broad"),
    (lambda: F.add(1, 2), TypeError, "add: got two numbers, expected a tensor or array"),
    (lambda: F.add(A, "x"), TypeError, "add: got a str, expected a tensor, array or number"),
    (lambda: F.matmul(A, A), ValueError, r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit"),
    (lambda: F.matmul(A, np.zeros((3, 1))), TypeError, "matmul: dtypes float32 and float64"),
    (lambda: F.relu(3.0), TypeError, "relu: input is a float, expected a tensor or array"),
    (lambda: F.softmax(A, 2), IndexError, "softmax: dim 2 is out of range for 2 axes"),
    (lambda: F.sigmoid(I64), TypeError, "sigmoid: input has dtype int64, expected a float"),
    (lambda: F.sum(A, (0, 0)), ValueError, r"sum: dim \(0, 0\) names an axis twice"),
    (lambda: F.mean(I64), TypeError, "mean: input has dtype int64, expected a float"),
    (lambda: F.var(A[:1], 0), ValueError, "leaves 0 degrees of freedom"),
    (lambda: F.amax(A[:0]), ValueError, r"amax: tensor of shape \(0, 3\) has no values"),
    (lambda: F.getitem(A, 5), IndexError, r"getitem: shape \(2, 3\): index 5"),
    (lambda: F.reshape(A, (4, 2)), ValueError, r"reshape: \(2, 3\) has no shape \(4, 2\)"),
    (lambda: F.permute(A, (0, 0)), ValueError, "do not name each of 2 axes once"),
    (lambda: F.expand(A, (2, 4)), ValueError, r"expand: shape \(2, 3\) does not expand to"),
    (lambda: F.cat([A, A[:1]], 1), ValueError, "cat: shapes .* differ beside axis 1"),
    (lambda: F.cat([]), ValueError, "cat: expected at least one tensor"),
    (lambda: F.stack([A, A[0]]), ValueError, "stack: shapes"),
    (lambda: F.split(A, [1, 1], 1), ValueError, r"split: sizes \[1, 1\] do not add up to 3"),
    (lambda: F.pad(A, (1,)), ValueError, "pad: got .* expected pairs"),
    (lambda: F.pad(A, (3, 3), mode="reflect"), ValueError, "reflect padding .* not smaller"),
    (lambda: F.pad(A, (1, 1), mode="circular"), ValueError, "pad: mode 'circular', expected"),
    (lambda: F.embedding(I64 + 9, A), IndexError, r"embedding: index 9\.\.9 outside 0\.\.1"),
    (lambda: F.embedding(A, A), TypeError, "embedding: input has dtype float32, expected integ"),
    (lambda: F.dropout(A, 1.5), ValueError, r"dropout: p is 1.5, expected a probability"),
    (lambda: F.clamp(A), ValueError, "clamp: give min, max or both"),
    (lambda: F.where(A, A, A), TypeError, "where: condition has dtype float32, expected bool"),
    (
        lambda: F.pow(A, cast(Any, "2")),
        TypeError,
        "pow: got a str, expected a tensor, array or number",
    ),
    (lambda: F.cross_entropy(A, I64 + 3), ValueError, r"target 3 is outside 0\.\.2"),
    (lambda: F.cross_entropy(A, I64[:1]), ValueError, r"target has shape \(1,\), expected \(2,\)"),
    (lambda: F.cross_entropy(A, I64, np.ones(4)), ValueError, r"weight has shape \(4,\), expected"),
    (lambda: F.mse_loss(A, A[0]), ValueError, r"input has shape \(2, 3\), target \(3,\)"),
    (lambda: F.mse_loss(A, A, reduction="avg"), ValueError, "reduction 'avg', expected 'mean'"),
    (lambda: Tensor(A).T.T.reshape(1, 2, 3).T, ValueError, r"T: tensor has shape \(1, 2, 3\)"),
    (lambda: Tensor(A).to("gpu"), (ValueError, TypeError), "gpu"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_a_wrong_call_is_one_line_that_says_what_was_expected(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_deep_copy_is_another_leaf_and_joins_the_same_graph() -> None:
    original = core.Parameter(np.arange(3, dtype=np.float32))
    (original * 2).sum().backward()
    twin = copy.deepcopy(original)
    assert type(twin) is core.Parameter
    assert twin.requires_grad and not np.shares_memory(twin.data, original.data)
    np.testing.assert_array_equal(np.asarray(twin.grad), [2, 2, 2])
    twin.grad = None
    (original + twin * 3).sum().backward()
    np.testing.assert_array_equal(np.asarray(twin.grad), [3, 3, 3])
    np.testing.assert_array_equal(np.asarray(original.grad), [3, 3, 3])


def test_a_deep_copy_of_a_result_is_refused() -> None:
    x = core.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"deepcopy: only leaves can be copied"):
        copy.deepcopy(x * 2)


def test_masks_are_combined() -> None:
    x = core.tensor([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(((x > 1) & (x < 4)).numpy(), [False, True, True, False])
    np.testing.assert_array_equal(((x < 2) | (x > 3)).numpy(), [True, False, False, True])
    np.testing.assert_array_equal((~(x > 2)).numpy(), [True, True, False, False])
    rows = cast(Any, np.array([True, False, True, False]))
    np.testing.assert_array_equal((rows & (x > 2)).numpy(), [False, False, True, False])
    np.testing.assert_array_equal(x[(x > 1) & (x < 4)].numpy(), [2, 3])


@pytest.mark.parametrize("wrong", [1, 2.0, np.ones(4, np.float32)], ids=["int", "float", "array"])
def test_masks_are_made_of_bools(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"&: got (int|float|float32), expected bools"):
        (core.tensor([1.0, 2.0, 3.0, 4.0]) > 2) & wrong


def test_powers_of_numbers_and_tensors() -> None:
    x = core.tensor([0.0, 1.0, 2.0], requires_grad=True)
    (2**x + x**x).sum().backward()
    # d 2^x = ln 2 * 2^x; d x^x = x^x (ln x + 1), where 0^0 has the exponent's gradient 0.
    expected = [np.log(2), 2 * np.log(2) + 1, 4 * np.log(2) + 4 * (np.log(2) + 1)]
    np.testing.assert_allclose(np.asarray(x.grad), expected, rtol=1e-6)


def test_a_gradient_of_another_dtype_is_refused() -> None:
    x = core.tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="grad: got dtype float64, expected float32"):
        x.grad = np.ones(1)
