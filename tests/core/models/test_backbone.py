"""The backbone, and the distillation that trains it, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import core
from core import Tensor, distil, nn, optim
from core.models import features
from core.models.backbone import Backbone, folded
from core.models.squeezenet import SqueezeNet


@pytest.fixture(autouse=True)
def seeded() -> None:
    core.seed(0)


def pictures(n: int = 4, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).random((n, 3, size, size)).astype(np.float32)


def test_its_size_is_what_it_says() -> None:
    assert Backbone().num_parameters() == 2_354_986
    model = Backbone(5, channels=(4, 8, 8))
    assert model(Tensor(pictures())).shape == (4, 5)
    found = features(model, ["relu1_2", "relu2_2", "pool2", "relu3_2"])(Tensor(pictures()))
    assert [tap.shape for tap in found.values()] == [
        (4, 4, 32, 32),
        (4, 8, 16, 16),
        (4, 8, 8, 8),
        (4, 8, 8, 8),
    ]
    assert isinstance(model.get_submodule(model.layer_names["relu3_2"]), nn.ReLU)


def test_folding_changes_no_result() -> None:
    model = Backbone(5, channels=(4, 8), batch_norm=True)
    for _ in range(3):  # so that the running statistics are something
        model(Tensor(3 * pictures(16) - 1))
    model.eval()
    plain = folded(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    x = Tensor(pictures())
    np.testing.assert_allclose(plain(x).numpy(), model(x).numpy(), rtol=1e-4, atol=1e-5)


def test_the_student_comes_nearer_to_the_teacher() -> None:
    teacher = SqueezeNet("1_0").eval().requires_grad_(False)
    model = distil.Distillation(Backbone(10, channels=(4, 8, 16, 16, 16), batch_norm=True))
    forward = distil.objective(teacher)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    batch = pictures(6, 64), np.array([1, 2, 10, 10, 3, 10])
    losses = []
    for _ in range(8):
        loss, figures = forward(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert list(figures) == ["distance"]
    assert all(p.grad is None for p in teacher.parameters())


def test_without_a_label_only_the_distance_counts() -> None:
    teacher = SqueezeNet("1_0").eval().requires_grad_(False)
    model = distil.Distillation(Backbone(10, channels=(4, 8, 16, 16, 16)))
    loss, figures = distil.objective(teacher)(model, (pictures(2, 64), np.array([10, 10])))
    assert list(figures) == ["distance"] and loss.item() == figures["distance"]


def test_enlarged_pictures_keep_their_values() -> None:
    flat = np.full((3, 3, 32, 32), 77, np.uint8)
    grown = distil._enlarged(flat)
    assert grown.shape == (3, 3, 64, 64) and (grown == 77).all()


def test_a_distillation_takes_no_weights() -> None:
    with pytest.raises(ValueError, match="--weights: the backbone is learned from its beginning"):
        distil.Options(weights=Path("w.safetensors"))
