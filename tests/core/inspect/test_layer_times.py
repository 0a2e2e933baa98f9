"""Time by layer: what ran is what is shown, the parts add up, and nothing stays behind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from core import functional as F
from core import nn
from core.inspect.__main__ import Options, main
from core.inspect.spans import Spans
from core.models import DeepConvNet, LeNet5
from core.tensor import record


class Slow(nn.Module):
    """Sleeps a given number of milliseconds, forward and backward."""

    def __init__(self, forward: float, backward: float) -> None:
        super().__init__()
        self.seconds = forward / 1e3, backward / 1e3

    def forward(self, input: Any) -> Any:
        before, after = self.seconds
        time.sleep(before)

        def backward(gy: Any) -> tuple[Any]:
            time.sleep(after)
            return (gy,)

        return record(input.data, (input,), backward)


def digits(count: int = 2) -> core.Tensor:
    return core.Tensor(np.random.default_rng(0).random((count, 1, 28, 28), np.float32))


def test_the_time_goes_to_the_layer_that_takes_it() -> None:
    model = nn.Sequential(Slow(1, 60), nn.Sequential(Slow(60, 1), nn.Identity()))
    found = core.profile(model, core.tensor([1.0], requires_grad=True), steps=3)
    layers = {layer.name: layer for layer in found.layers}
    assert 1 <= layers["0"].forward < 60 <= layers["1.0"].forward
    assert layers["0"].backward >= 60 > layers["1.0"].backward >= 1
    # A container has only what it adds itself.
    assert layers["1"].forward < 60 and layers[""].forward < 60


def test_parts_add_up_to_the_whole() -> None:
    found = core.profile(DeepConvNet(), digits(), steps=3)
    assert 0 < sum(layer.forward for layer in found.layers) <= found.forward
    assert 0 < sum(layer.backward for layer in found.layers) <= found.backward
    assert all(layer.forward >= 0 and layer.backward >= 0 for layer in found.layers)
    alone, with_linear = found.share("convolution"), found.share("convolution", "fully connected")
    assert 0 < alone[0] < with_linear[0] <= 1
    assert 0 < alone[1] < with_linear[1] <= 1


def test_fused_steps_are_shown_as_they_run() -> None:
    kinds = {layer.name: layer.kind for layer in core.profile(DeepConvNet(), digits()).layers}
    assert kinds["features.0"] == "Conv2d + relu"
    assert "features.1" not in kinds
    assert kinds["features.4"] == "MaxPool2d"
    assert kinds["classifier.3"] == "Linear"


def test_the_model_is_left_as_it_was() -> None:
    model = DeepConvNet()
    first = next(model.parameters())
    model(digits()).sum().backward()
    before = {name: vars(module).copy() for name, module in model.named_modules()}
    assert first.grad is not None
    gradient = first.grad.numpy().copy()
    core.profile(model, digits())
    assert {name: vars(module) for name, module in model.named_modules()} == before
    assert first.grad is not None
    assert (first.grad.numpy() == gradient).all()


def test_an_error_leaves_nothing_behind() -> None:
    model = DeepConvNet()
    with pytest.raises(ValueError, match="channels"):
        core.profile(model, core.tensor(np.zeros((1, 2, 28, 28), np.float32)))
    assert not any("forward" in vars(module) for module in model.modules())
    with pytest.raises(ValueError, match="0 steps"):
        core.profile(model, digits(), steps=0)
    with pytest.raises(ValueError, match="nothing that the model returns"):
        core.profile(nn.Identity(), digits())


def test_results_are_those_without_timing() -> None:
    model = DeepConvNet(dropout=0.0)
    results = []
    for timed in (False, True):
        model.zero_grad()
        spans = Spans(model)
        if timed:
            with spans.recording():
                y = model(digits())
        else:
            y = model(digits())
        y.sum().backward()
        gradients = [p.grad for p in model.parameters()]
        results.append([y.numpy(), *(g.numpy() for g in gradients if g is not None)])
    assert len(results[0]) == 17
    for plain, other in zip(*results, strict=True):
        assert (plain == other).all()


def test_inference_and_another_loss() -> None:
    found = core.profile(DeepConvNet().eval(), digits(), backward=False)
    assert found.backward == 0 and all(layer.backward == 0 for layer in found.layers)
    assert "of backward" not in str(found)
    target = np.array([1, 2])
    model = DeepConvNet()
    trained = core.profile(model, digits(), loss=lambda y: F.cross_entropy(y, target))
    assert trained.backward > 0


def test_a_layer_that_runs_twice_has_one_row() -> None:
    layer = nn.Linear(3, 3)
    found = core.profile(nn.Sequential(layer, layer), core.tensor(np.ones((2, 3), np.float32)))
    assert [each.kind for each in found.layers] == ["Sequential", "Linear"]


def test_what_kind_of_layer_takes_the_time() -> None:
    found = {layer.name: layer.family for layer in core.profile(LeNet5(), digits(), steps=1).layers}
    assert {found[name] for name in ("c1", "c3", "c5")} == {"convolution"}
    assert found["f6"] == found["output"] == "fully connected"
    assert found["s2"] == found["c3_squash"] == "other"


def test_table_and_figure() -> None:
    found = core.profile(DeepConvNet(), digits())
    text = str(found)
    assert "features.0" in text and "Conv2d + relu" in text
    assert "convolutions: " in text and "with fully connected layers: " in text
    figure = found.figure("DeepConvNet")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["forward", "backward"]
    widths = [bar.get_width() for bar in figure.axes[0].patches]  # type: ignore[attr-defined]
    assert 0 < sum(widths) <= 100


def test_shares_that_do_not_fit() -> None:
    from core import viz

    with pytest.raises(ValueError, match="2 names but 1 values of 'forward'"):
        viz.shares(["a", "b"], {"forward": [1.0]})
    with pytest.raises(ValueError, match="2 names but 1 families"):
        viz.shares(["a", "b"], {"forward": [0.5, 0.5]}, ["x"])
    with pytest.raises(ValueError, match="nothing to draw"):
        viz.shares([], {})


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(Options(model="deep_convnet", batch_size=2, steps=1, out=tmp_path))
    text = capsys.readouterr().out
    assert "123,552 parameters" in text and "convolutions: " in text
    assert (tmp_path / "deep_convnet.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="--batch-size is 0"):
        Options(model="deep_convnet", batch_size=0)
