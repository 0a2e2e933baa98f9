"""Looking into networks, on cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

import core
from core import nn
from core.look import inside


def edge_net() -> nn.Sequential:
    """One horizontal difference and one vertical one, ReLU, the mean of each as a logit."""
    conv = nn.Conv2d(1, 2, 2, bias=False)
    weight = np.zeros((2, 1, 2, 2), np.float32)
    weight[0, 0, 0] = [-1, 1]
    weight[1, 0, :, 0] = [-1, 1]
    conv.weight.copy_(weight)
    head = nn.Linear(2, 2, bias=False)
    head.weight.copy_(np.eye(2, dtype=np.float32))
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(conv, nn.ReLU(), pool, nn.Flatten(), head)


def step_picture(column: int = 3) -> np.ndarray:
    """Dark left of `column`, bright from there on, 6 x 6."""
    picture = np.zeros((1, 6, 6), np.float32)
    picture[:, :, column:] = 1
    return picture


def test_feature_maps_are_the_outputs_of_the_layers() -> None:
    maps = inside.feature_maps(edge_net(), step_picture(), ["0", "1"])
    assert list(maps) == ["0", "1"]
    expected = np.zeros((2, 5, 5))
    expected[0, :, 2] = 1
    np.testing.assert_array_equal(maps["1"], expected)


def test_the_strongest_crops_come_first_and_cover_what_was_seen() -> None:
    pictures = np.stack([0.5 * step_picture(2), step_picture(4), np.zeros((1, 6, 6), np.float32)])
    first, second, third = inside.strongest_crops(edge_net(), pictures, "0", 0, batch_size=2)
    assert (first.picture, first.value) == (1, 1.0)
    # The weight sees two columns of the first of its two rows.
    assert (first.top, first.bottom, first.left, first.right) == (0, 1, 3, 5)
    assert (second.picture, second.value, second.left) == (0, 0.5, 1)
    assert third.value == 0


def test_maximising_a_channel_raises_it() -> None:
    core.seed(0)
    model = edge_net()
    picture = inside.maximise(model, "1", 0, (1, 12, 12), steps=40, jitter=2)
    start = np.random.default_rng(0).standard_normal((1, 12, 12)).astype(np.float32) * 0.1

    def mean(x: np.ndarray) -> float:
        return float(inside.feature_maps(model, x, ["1"])["1"][0].mean())

    assert mean(picture) > 5 * mean(start)
    assert all(p.grad is None for p in model.parameters())


def test_grad_cam_marks_where_the_class_is_seen() -> None:
    model = edge_net()
    heat = inside.grad_cam(model, step_picture(), "1", target=0)
    expected = np.zeros((5, 5))
    expected[:, 2] = 1
    np.testing.assert_allclose(heat, expected)
    # By default the likeliest class, here the same one.
    np.testing.assert_array_equal(heat, inside.grad_cam(model, step_picture(), "1"))
    # No vertical difference anywhere: nothing to mark.
    assert not inside.grad_cam(model, step_picture(), "1", target=1).any()


def test_the_model_is_left_as_it_was() -> None:
    model = edge_net().train()
    inside.grad_cam(model, step_picture(), "1")
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_wrong_names_are_refused_by_name() -> None:
    model = edge_net()
    with pytest.raises(ValueError, match="Sequential has no layer 'conv9'; expected one such as"):
        inside.feature_maps(model, step_picture(), ["conv9"])
    with pytest.raises(ValueError, match="0: no channel 7"):
        inside.strongest_crops(model, step_picture()[None], "0", 7)
    with pytest.raises(ValueError, match=r"target 5, expected a class in 0\.\.1"):
        inside.grad_cam(model, step_picture(), "1", target=5)


def test_an_embedding_keeps_neighbours_together() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.eye(3, 8) * 20, 20, axis=0) + rng.standard_normal((60, 8))
    points = inside.embedding(groups.astype(np.float32), perplexity=10)
    centres = points.reshape(3, 20, 2).mean(axis=1)
    spread = points.reshape(3, 20, 2).std(axis=1).max()
    gaps = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)]
    assert gaps.min() > 3 * spread
    with pytest.raises(ValueError, match="60 samples, expected more than the perplexity 60"):
        inside.embedding(groups.astype(np.float32), perplexity=60)
