"""The loss: its definition, its gradient, its options, and PyTorch's."""

import numpy as np
import pytest

from core import functional as F
from core.tensor import Tensor
from style_transfer.network import Network
from style_transfer.objective import (
    Objective,
    Weights,
    picture_of,
    tensor_of,
    total_variation,
    unit_gradient,
)
from tests.style_transfer.conftest import floats

WEIGHTS = Weights(
    content={"features.18": 1.0},
    style={"features.1": 0.5, "features.11": 0.25},
    style_weight=3.0,
    tv_weight=2.0,
)


def objective(network: Network, weights: Weights = WEIGHTS, **options: object) -> Objective:
    content, style = tensor_of(floats(0)), tensor_of(floats(1, 60, 48))
    return Objective(network, weights, content, [(style, 1.0)], **options)  # type: ignore[arg-type]


def test_the_loss_is_what_the_page_says(network: Network) -> None:
    losses, _ = objective(network).evaluate(floats(2))
    names = ("features.1", "features.11", "features.18")
    own, content, style = (
        network.features(tensor_of(one), names) for one in (floats(2), floats(0), floats(1, 60, 48))
    )

    def relative(x: Tensor, target: Tensor) -> float:
        difference = x.numpy().astype(float) - target.numpy()
        return float((difference**2).sum() / (target.numpy().astype(float) ** 2).sum())

    layers = {
        f"style {name}": relative(F.gram_matrix(own[name]), F.gram_matrix(style[name]))
        for name in names[:2]
    }
    layers["content features.18"] = relative(own["features.18"], content["features.18"])
    for name, value in layers.items():
        assert losses.layers[name] == pytest.approx(value, rel=1e-5)
    assert losses.content == pytest.approx(layers["content features.18"], rel=1e-5)
    wanted = 0.5 * layers["style features.1"] + 0.25 * layers["style features.11"]
    assert losses.style == pytest.approx(wanted, rel=1e-5)
    total = losses.content + 3 * losses.style + 2 * losses.tv
    assert losses.total == pytest.approx(total, rel=1e-5)


def test_content_and_style_of_themselves_are_zero(network: Network) -> None:
    start, _ = objective(network).evaluate(floats(0))
    assert start.content == 0 and start.style > 0
    same = Objective(network, WEIGHTS, None, [(tensor_of(floats(1)), 1.0)])
    assert same.evaluate(floats(1))[0].style == pytest.approx(0, abs=1e-9)


def test_total_variation_by_hand() -> None:
    x = Tensor(np.array([[0.0, 1.0], [2.0, 4.0]]).reshape(1, 1, 2, 2))
    assert total_variation(x).item() == pytest.approx((4 + 9) / 2 + (1 + 4) / 2)


def test_the_gradient_against_central_differences(network: Network) -> None:
    network.model.to(np.float64)
    content, style = (Tensor(tensor_of(floats(seed)).data.astype(float)) for seed in (0, 1))
    regions = [np.tri(40, 48, dtype=np.float32), 1 - np.tri(40, 48, dtype=np.float32)]
    loss = Objective(network, WEIGHTS, content, [(style, 1.0), (content, 1.0)], regions)
    # Noise: where neighbours are equal, a pooling has no derivative.
    x = Tensor(np.random.default_rng(4).random((1, 3, 40, 48)), requires_grad=True)
    loss.losses(x)[0].backward()
    assert x.grad is not None
    direction = np.random.default_rng(3).standard_normal(x.shape)
    step = 1e-6
    up, down = (loss.losses(Tensor(x.data + sign * step * direction))[0].item() for sign in (1, -1))
    expected = (up - down) / (2 * step)
    assert float((x.grad.numpy() * direction).sum()) == pytest.approx(expected, rel=1e-5)


def test_blended_styles_lie_between(network: Network) -> None:
    pictures = [tensor_of(floats(1)), tensor_of(floats(2))]

    def loss(*weights: float) -> float:
        styles = list(zip(pictures, weights, strict=True))
        return Objective(network, WEIGHTS, None, styles).evaluate(floats(1))[0].style

    assert loss(1, 0) == pytest.approx(0, abs=1e-9)
    assert 0 < loss(3, 1) < loss(1, 1) < loss(0, 1)


def test_each_region_sees_its_own_style(network: Network) -> None:
    left = np.zeros((40, 48), np.float32)
    left[:, :24] = 1
    styles = [(tensor_of(floats(seed)), 1.0) for seed in (1, 2)]
    both = floats(1)
    both[:, 24:] = floats(2)[:, 24:]
    right, swapped = (
        Objective(network, WEIGHTS, None, styles, regions).evaluate(both)[0].style
        for regions in ([left, 1 - left], [1 - left, left])
    )
    assert right < swapped / 2
    with pytest.raises(ValueError, match="1 regions for 2 styles"):
        Objective(network, WEIGHTS, None, styles, [left])


def test_gradients_of_unit_size() -> None:
    x = Tensor(np.array([[1.0, -2.0]]), requires_grad=True)
    y = unit_gradient(x, 6.0)
    assert (y.numpy() == x.numpy()).all()
    (y * np.array([[3.0, -1.0]])).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [[4.5, -1.5]])


def test_normalised_gradients_do_not_change_the_loss(network: Network) -> None:
    from dataclasses import replace

    plain, gradient = objective(network).evaluate(floats(2))
    weights = replace(WEIGHTS, normalise_gradients=True)
    scaled, other = objective(network, weights).evaluate(floats(2))
    assert plain == scaled
    assert np.abs(gradient - other).max() > 1e-3 * np.abs(gradient).max()


def test_nothing_asked_for_is_refused(network: Network) -> None:
    with pytest.raises(ValueError, match="nothing to transfer"):
        Objective(network, WEIGHTS)
    wrong = Weights(content={"relu9_9": 1.0}, style={})
    with pytest.raises(ValueError, match="Backbone has no layer 'relu9_9'"):
        Objective(network, wrong, tensor_of(floats(0)))


def test_pictures_and_tensors_share_memory() -> None:
    one = floats(0)
    assert np.shares_memory(tensor_of(one).data, one)
    assert (picture_of(tensor_of(one)) == one).all()


def test_several_pictures_towards_contents_of_their_own(network: Network) -> None:
    contents = np.stack([floats(0), floats(3)]).transpose(0, 3, 1, 2)
    made = np.stack([floats(2), floats(4)]).transpose(0, 3, 1, 2)
    styles = [(tensor_of(floats(1)), 1.0)]
    only_style = Objective(network, WEIGHTS, styles=styles)
    _, parts = only_style.towards(Tensor(contents)).losses(Tensor(made))
    alone = [
        Objective(network, WEIGHTS, Tensor(content[None]), styles).losses(Tensor(one[None]))[1]
        for content, one in zip(contents, made, strict=True)
    ]
    for name in ("style", "tv", "style features.11"):
        mean = sum(one[name].item() for one in alone) / 2
        assert parts[name].item() == pytest.approx(mean, rel=1e-4)
    # The contents count by their size.
    sizes = [
        float(
            (network.features(Tensor(c[None]), ["features.18"])["features.18"].numpy() ** 2).sum()
        )
        for c in contents
    ]
    content = sum(size * one["content"].item() for size, one in zip(sizes, alone, strict=True))
    assert parts["content"].item() == pytest.approx(content / sum(sizes), rel=1e-4)
    assert only_style.losses(Tensor(made))[1]["content"].item() == 0


def test_recomputed_activations_change_nothing(network: Network) -> None:
    plain, gradient = objective(network).evaluate(floats(2))
    again, other = objective(network, recompute=True).evaluate(floats(2))
    assert plain == again and (gradient == other).all()
