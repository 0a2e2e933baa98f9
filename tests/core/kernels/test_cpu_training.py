"""Whole trainings on the fast kernels: the reference's losses, and what compiling costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import core
from core import functional as F
from core import kernels, optim
from core.data import embedded_digits
from core.models import DeepConvNet

pytest.importorskip("numba")

ROOT = Path(__file__).parents[3]


def losses(backend: str, algorithm: str, steps: int) -> list[float]:
    """Of DeepConvNet without dropout, half as wide, on batches of 100 digits at 28 pixels.

    On small batches rounding alone moves the losses by more than the bound: the reference's
    own, between float32 and float64.
    """
    core.seed(0)
    rng = np.random.default_rng(0)
    digits = embedded_digits()
    pictures = np.pad(digits.images.repeat(3, 2).repeat(3, 3), ((0, 0), (0, 0), (2, 2), (2, 2)))
    model = DeepConvNet(channels=(8, 16, 32), dropout=0.0)
    optimizer = getattr(optim, algorithm)(model.parameters(), lr=1e-3)
    found = []
    with kernels.use(backend):
        for _ in range(steps):
            chosen = rng.integers(len(digits), size=100)
            x = core.Tensor(pictures[chosen].astype(np.float32) / 255)
            loss = F.cross_entropy(model(x), digits.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return found


@pytest.mark.parametrize(("algorithm", "steps"), [("SGD", 100), ("Adam", 3)])
def test_losses_are_the_references(algorithm: str, steps: int) -> None:
    # After Adam's first steps rounding grows too fast to compare, in PyTorch too.
    fast, expected = losses("cpu", algorithm, steps), losses("reference", algorithm, steps)
    assert len(set(expected)) == steps
    assert fast == pytest.approx(expected, abs=1e-3)


# The difference between the first steps and the later ones is compiling, or loading.
TRAINING = """
import time
import numpy as np
import core
from core import functional as F, optim
from core.data import embedded_digits
from core.models import DeepConvNet

model = DeepConvNet()
optimizer = optim.Adam(model.parameters())
x = core.Tensor(np.random.default_rng(0).standard_normal((4, 1, 28, 28), np.float32))
target = np.array([3, 1, 4, 1])

def step():
    start = time.process_time()
    optimizer.zero_grad()
    F.cross_entropy(model(x), target).backward()
    optimizer.step()
    model.eval()
    with core.no_grad():
        F.softmax(model(x), 1)
    model.train()
    return time.process_time() - start

first = step()
print(first - min(step() for _ in range(5)))
"""


def run(code: str, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "OPENBOOK_KERNELS"}
    # The folder of the code comes first, whatever is installed.
    paths = {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command,
        cwd=root,
        env=kept | paths | environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
def test_a_training_compiles_in_seconds_and_loads_in_less_than_one(tmp_path: Path) -> None:
    # In the processor's time, which is the wall's on a quiet machine: one thread compiles.
    cold = run(TRAINING, NUMBA_CACHE_DIR=str(tmp_path))
    assert cold.stderr.count("compiling kernels, once") == 1
    assert float(cold.stdout) < 20
    warm = [run(TRAINING, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    assert all(each.stderr == "" for each in warm)
    assert min(float(each.stdout) for each in warm) < 1


SMALL = """
import numpy as np
from core import kernels
gy, y = np.array([[1.0, 2.0], [0.0, 2.0]], np.float32)
with kernels.use("cpu"):
    print(kernels.of(gy, y).relu_backward(gy, y).tolist())
"""


def test_kernels_of_a_read_only_installation_are_kept_in_the_users_cache(tmp_path: Path) -> None:
    installed, cache = tmp_path / "installed", tmp_path / "cache"
    shutil.copytree(ROOT / "core", installed / "core", ignore=shutil.ignore_patterns("__pycache__"))
    # A file where the cache belongs: nobody can write there, not even root.
    (installed / "core" / "kernels" / "cpu" / "__pycache__").touch()
    environment = {"XDG_CACHE_HOME": str(cache), "HOME": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    first = run(SMALL, installed, **environment)
    assert first.stdout == "[0.0, 2.0]\n"
    assert "compiling kernels, once" in first.stderr
    assert not list(installed.rglob("*.nbi"))
    assert list(tmp_path.rglob("*.nbi"))
    assert run(SMALL, installed, **environment).stderr == ""
