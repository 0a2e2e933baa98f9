"""The parameters that the book's authors published, for the networks here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Names of the layers in the order of the book's numbers 1, 2, 3 ...
_SIMPLE = ("features.0", "classifier.0", "classifier.2")
_DEEP = (
    *(f"features.{number}" for number in (0, 2, 5, 7, 10, 12)),
    "classifier.0",
    "classifier.3",
)
_MLP = ("layers.0", "layers.2", "layers.4")


def convert(
    arrays: Mapping[str, np.ndarray], *, dropout_factor: float = 0.5
) -> dict[str, np.ndarray]:
    """The book's arrays W1, b1, W2 ... as the state dict of the network they belong to.

    SimpleConvNet (three layers, the first a convolution), DeepConvNet (eight layers) or MLP
    (three affine layers), told apart by their shapes; affine weights (inputs, outputs) are
    transposed, everything becomes float32. DeepConvNet was trained with a dropout that
    scales at test time instead of in training: its last affine layer sees `dropout_factor` times
    what comes in and gives `dropout_factor` times what goes out, and both are put into that
    layer's parameters. 1 leaves them as they are, which the book's 99.38 % come from. Raises
    ValueError for arrays of no such network.
    """
    layers = _layers_of(arrays)
    state: dict[str, np.ndarray] = {}
    for number, layer in enumerate(layers, start=1):
        weight, bias = arrays[f"W{number}"], arrays[f"b{number}"]
        state[f"{layer}.weight"] = weight if weight.ndim == 4 else weight.T
        state[f"{layer}.bias"] = bias
    if layers is _DEEP:
        state[f"{_DEEP[-1]}.weight"] = state[f"{_DEEP[-1]}.weight"] * dropout_factor**2
        state[f"{_DEEP[-1]}.bias"] = state[f"{_DEEP[-1]}.bias"] * dropout_factor
    return {name: np.ascontiguousarray(array, np.float32) for name, array in state.items()}


def _layers_of(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    for layers, convolutions in ((_SIMPLE, 1), (_DEEP, 6), (_MLP, 0)):
        axes = {f"W{i}": 4 if i <= convolutions else 2 for i in range(1, len(layers) + 1)}
        axes |= {f"b{i}": 1 for i in range(1, len(layers) + 1)}
        if {name: array.ndim for name, array in arrays.items()} == axes:
            return layers
    shapes = ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items())[:4])
    raise ValueError(f"convert: these are no parameters of the book: {shapes or 'no arrays'}")
