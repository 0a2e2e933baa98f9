"""The networks that are timed, on both sides, and the processes that time them."""

import io
import json
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import networks
from benchmarks.__main__ import Options, scaled
from benchmarks.measure import Child, Job, Round, Timing, check, serve, start
from benchmarks.report import HEAD, Report, Row
from benchmarks.sides import OURS, PEER, PEER_LAST, Ours, Peer, Side, side_of, weights
from benchmarks.steps import STEPS, Step, step_named
from captioning.decoders import SoftAttention
from core import Tensor, functional, nn
from core.models import DeepConvNet
from segmentation.unet import UNet

# Batch and shape in which each step runs in a moment, with an eighth of the width.
TINY: dict[str, tuple[int, tuple[int, ...]]] = {
    "deep_convnet": (3, (1, 12, 12)),
    "resnet20": (3, (3, 16, 16)),
    "segnet": (1, (3, 45, 60)),
    "style": (1, (3, 32, 32)),
    "style_512": (1, (3, 48, 48)),
    "dcgan": (3, (3, 64, 64)),
    "nic": (2, (4,)),
    "attention": (2, (4,)),
    "dqn": (3, (4, 36, 36)),
    "alexnet": (2, (3, 70, 70)),
    "vgg16": (2, (3, 64, 64)),
    "segnet_inference": (1, (3, 45, 60)),
    "segnet_basic_inference": (1, (3, 45, 60)),
    "unet_inference": (1, (3, 45, 60)),
}


def tiny(name: str) -> Step:
    batch, shape = TINY[name]
    return replace(step_named(name), batch=batch, shape=shape, width=8)


def test_parameters_as_published() -> None:
    # The book's DeepConvNet; 0.27 M (He et al. 2016, table 6); 20,024,384 less the last three of
    # VGG-19's convolutions; PyTorch's DCGAN example; 1.69 M for six actions; torchvision's two.
    counts = {
        networks.deep_convnet(nn): DeepConvNet().num_parameters(),
        networks.resnet20(nn, functional): 269_722,
        networks.vgg19_taps(nn): 20_024_384 - 3 * (512 * 512 * 9 + 512),
        networks.generator(nn): 3_576_704,
        networks.discriminator(nn): 2_765_568,
        networks.q_network(nn): 1_687_206,
    }
    assert [net.num_parameters() for net in counts] == list(counts.values())


@pytest.mark.peer
def test_large_networks_have_the_published_parameters() -> None:
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        counts = {
            networks.alexnet(torch.nn): 61_100_840,
            networks.vgg16(torch.nn): 138_357_544,
        }
    for net, expected in counts.items():
        assert sum(p.numel() for p in net.parameters()) == expected


def test_the_encoder_of_segnet_is_vgg16() -> None:
    encoder = networks.segnet(nn, width=8).encoder
    vgg = nn.Sequential(*networks.vgg_features(nn, networks.VGG16, width=8))
    shapes = [p.shape for p in encoder.parameters() if p.ndim == 4]
    assert shapes == [p.shape for p in vgg.parameters() if p.ndim == 4]


def test_the_unet_is_that_of_the_application() -> None:
    own = UNet(11, width=8, stride=2).eval()
    net = networks.unet(nn, functional, functional.cat, width=8).eval()
    net.load_state_dict(own.state_dict())
    x = Tensor(np.random.default_rng(0).standard_normal((1, 3, 45, 60), np.float32))
    np.testing.assert_array_equal(net(x).numpy(), own(x).numpy())


def test_soft_attention_is_that_of_the_application() -> None:
    own = SoftAttention(30, channels=24, width=64, attention=32).eval()
    net = networks.soft_attention(nn, functional.cat, vocabulary=30, channels=24, width=8)
    net.load_state_dict(own.state_dict())
    rng = np.random.default_rng(0)
    maps = Tensor(rng.standard_normal((2, 24, 3, 3), np.float32))
    words = rng.integers(30, size=(2, 5))
    np.testing.assert_array_equal(net(maps, words).numpy(), own(maps, words).logits.numpy())


def test_weights_depend_on_the_name_alone() -> None:
    assert (weights("a.weight", (4, 3)) == weights("a.weight", (4, 3))).all()
    assert (weights("a.weight", (4, 3)) != weights("b.weight", (4, 3))).any()
    assert weights("a.weight", (2,)).tolist() == [1, 1]
    assert weights("a.bias", (2,)).tolist() == [0, 0]


@pytest.mark.peer
@pytest.mark.parametrize("name", TINY)
def test_both_sides_compute_the_same(name: str) -> None:
    pytest.importorskip("torch")
    step = tiny(name)
    sides: dict[str, Side] = {OURS: Ours(1), PEER: Peer(1, False), PEER_LAST: Peer(1, True)}
    results = {}
    for key, side in sides.items():
        workload = step.build(side, step)
        results[key] = [workload.value(), workload.value()]
        workload.run()
    check(results)


def test_every_step_has_a_tiny_form() -> None:
    assert set(TINY) == {step.name for step in STEPS}


def test_dropout_is_off_only_for_the_comparison() -> None:
    step = tiny("deep_convnet")
    workload = step.build(Ours(1), step)
    (dropout,) = (m for m in workload.networks[0].modules() if isinstance(m, nn.Dropout))
    seen: list[float] = []
    dropout.register_forward_hook(lambda module, inputs, output: seen.append(dropout.p))
    workload.value()
    workload.run()
    assert seen == [0.0, 0.5]


def test_results_that_differ_are_refused() -> None:
    same = {OURS: [1.00005, 2.01], PEER: [1.0, 2.0]}
    check(same)
    for wrong in ([1.0002, 2.0], [1.0, 2.03], [float("nan"), 2.0]):
        with pytest.raises(RuntimeError, match=r"results differ: openbook"):
            check({**same, OURS: wrong})


class Dummy:
    """A step of two milliseconds."""

    def run(self) -> None:
        time.sleep(0.002)

    def value(self) -> float:
        return 0.5


def test_a_child_answers_orders_with_times() -> None:
    orders = io.StringIO('{"seconds": 0.02, "least": 2}\n{"seconds": 0, "least": 3}\n')
    answers = io.StringIO()
    serve(Dummy(), orders, answers)
    first, *rounds = map(json.loads, answers.getvalue().splitlines())
    assert first == {"results": [0.5, 0.5]}
    assert [r["steps"] for r in rounds][1] == 3
    assert rounds[0]["steps"] <= 10
    assert all(r["ms"] >= 2 for r in rounds)


CHILD = """
import sys
import numpy as np
from benchmarks.measure import serve

class Dummy:
    def value(self):
        return 0.5
    def run(self):
        self.kept = np.ones(5_000_000)

serve(Dummy(), sys.stdin, sys.stdout)
"""


def test_a_process_is_started_asked_and_ended() -> None:
    with Child([sys.executable, "-c", CHILD]) as child:
        assert child.hear() == {"results": [0.5, 0.5]}
        answer = child.ask(Round(0.0, least=1))
    assert child.process.returncode == 0
    assert answer["ms"] > 0
    # Two arrays of 40 MB are alive when the second is made.
    assert answer["peak_mb"] is None or 35 < answer["peak_mb"] < 120


def test_a_process_that_ends_is_reported() -> None:
    child = Child([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="status 3"), child:
        child.hear()


def test_a_step_runs_in_its_process() -> None:
    step = tiny("dqn")
    with start(Job("dqn", OURS, 1, step.batch, step.shape, step.width)) as child:
        first = child.hear()["results"]
        assert child.ask(Round(0.0, least=2))["steps"] == 2
    workload = step.build(side_of(OURS, 1), step)
    assert first == pytest.approx([workload.value(), workload.value()], rel=1e-5)


def test_the_better_layout_counts(tmp_path: Any) -> None:
    timings = {
        OURS: Timing([1.0, 1.0], [3.0, 1.0, 2.0], 10.0),
        PEER: Timing([1.0, 1.0], [5.0], 30.0),
        PEER_LAST: Timing([1.0, 1.0], [4.0], None),
    }
    row = Row(step_named("dqn"), timings, gflop=1.0)
    report = Report({"threads": 1}, peak=1000.0, rows=[row, Row(step_named("nic"), problem="no")])
    assert (row.peer, row.ratio, row.speed(OURS)) == (PEER_LAST, 0.5, 500.0)
    cells = report.cells(row)
    assert cells[2:9] == ["2", "4 (channels-last)", "0.50", "<= 1.0", "10", "", "500 (50 %)"]
    assert all(len(report.cells(r)) == len(HEAD) for r in report.rows)
    report.save(tmp_path)
    saved = json.loads((tmp_path / "steps.json").read_text())
    assert saved["steps"]["dqn"]["sides"][PEER]["ms"] == 5.0
    assert saved["steps"]["nic"]["problem"] == "no"
    assert "| 2 | 4 (channels-last) | 0.50 |" in (tmp_path / "steps.md").read_text()


def test_options_and_names_are_checked() -> None:
    with pytest.raises(ValueError, match="--rounds is 0"):
        Options(rounds=0)
    with pytest.raises(ValueError, match="--batch is -1"):
        Options(batch=-1)
    with pytest.raises(ValueError, match="step 'dqm', expected one of deep_convnet"):
        step_named("dqm")
    with pytest.raises(ValueError, match="side 'jax'"):
        side_of("jax", 1)
    assert scaled(step_named("segnet"), 0.1).batch == 1
    assert scaled(step_named("dqn"), 0.5).batch == 16
