"""The benchmark on a GPU, tried on the CPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cuda
from benchmarks.cuda import CUDNN, GEMM, HOST, PEER, Options, Results
from benchmarks.gpu_child import CONTIGUOUS, EAGER, GRAPH, LAST, STEPS, gpu_step

SMALL = replace(gpu_step("deep_convnet"), batch=3, shape=(1, 12, 12), width=8)


@pytest.mark.peer
def test_all_sides_on_the_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    options = Options(seconds=0.01, cpu=True, out=tmp_path, device="cpu", precision="float32")
    results = cuda.measure([SMALL], options)
    assert results.problems == {}
    assert set(results.ms["deep_convnet"]) == {
        *((side, mode) for side in (CUDNN, GEMM) for mode in (EAGER, GRAPH)),
        *((PEER, mode) for mode in (CONTIGUOUS, LAST, GRAPH)),
        (HOST, EAGER),
    }
    assert results.is_same("deep_convnet") and results.gflop["deep_convnet"] > 0
    saved = json.loads((tmp_path / "float32.json").read_bytes())["steps"]["deep_convnet"]
    assert saved["ratio"] == results.ratio("deep_convnet", CUDNN, GEMM) != 0
    assert "DeepConvNet" in (tmp_path / "float32.md").read_text()
    assert "ratio" in capsys.readouterr().out


def test_a_problem_leaves_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Options(seconds=0.01, out=tmp_path, device="cpu")
    results = Results([SMALL, gpu_step("nic@2")], "tf32")
    steps = [
        {"name": "deep_convnet", "batch": 3, "shape": (1, 1, 1), "width": 8},
        {"name": "nic@2", "batch": 2, "shape": (4,), "width": 1},
    ]
    job = cuda.Job(cuda.OURS, steps, "cpu", "tf32", 0.01, (EAGER,))
    cuda.collect(CUDNN, job, options, results, {})
    assert list(results.ms) == ["nic@2"]
    assert "deep_convnet cudnn eager: " in results.markdown()
    capsys.readouterr()


def test_results_that_differ_are_marked() -> None:
    results = Results([SMALL], "tf32")
    for side, loss in ((CUDNN, 2.0), (PEER, 2.01)):
        answer = {"step": "deep_convnet", "mode": EAGER, "ms": 1.0, "results": [loss, loss]}
        results.take(side, answer)
    assert results.is_same("deep_convnet")
    results.first["deep_convnet"][CUDNN] = [float("nan")] * 2
    assert not results.is_same("deep_convnet")
    assert "(results differ)" in results.markdown()


def test_steps_by_name() -> None:
    assert gpu_step("resnet20@512").batch == 512
    assert len({step.name for step in STEPS}) == len(STEPS)
    with pytest.raises(ValueError, match="step 'resnet', expected one of deep_convnet"):
        gpu_step("resnet")
