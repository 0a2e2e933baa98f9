"""The package as a whole: what is distributed, what `import core` costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

HEAVY = (
    "PIL",
    "cupy",
    "gymnasium",
    "llvmlite",
    "matplotlib",
    "numba",
    "pooch",
    "safetensors",
    "scipy",
    "skimage",
    "sklearn",
    "snowballstemmer",
    "threadpoolctl",
    "torch",
    "tqdm",
    "tyro",
)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def imported_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return {name.partition(".")[0] for name in json.loads(output)}


@pytest.mark.parametrize(
    "module",
    [
        *("core", "core.cli", "core.training.run"),
        *("captioning", "dcgan", "detection", "dqn", "segmentation", "style_transfer"),
    ],
)
def test_imports_are_light(module: str) -> None:
    imported = imported_by(f"import {module}")
    assert module.partition(".")[0] in imported
    assert imported.isdisjoint(HEAVY), f"import {module} loads {sorted(imported & set(HEAVY))}"


def test_every_top_level_package_is_listed(project: dict[str, Any]) -> None:
    present = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    listed = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert sorted(listed) == sorted([*present, *(f"{name}.*" for name in present)])


def test_every_application_is_an_entry_point(project: dict[str, Any]) -> None:
    applications = project["project"]["entry-points"]["openbook.applications"]
    present = {path.parent.name for path in ROOT.glob("*/demo.py")}
    assert set(applications) >= present
    assert all(name == package for name, package in applications.items())
    assert all((ROOT / package / "__main__.py").is_file() for package in applications.values())


def test_every_folder_with_code_is_a_package(project: dict[str, Any]) -> None:
    packages = set(project["project"]["entry-points"]["openbook.applications"].values())
    for package in packages:
        for source in (ROOT / package).rglob("*.py"):
            assert (source.parent / "__init__.py").is_file(), f"{source.parent} is not installed"


@pytest.mark.parametrize(
    "package",
    ["captioning", "core", "dcgan", "detection", "dqn", "segmentation", "style_transfer"],
)
def test_python_m_lists_the_verbs(package: str) -> None:
    output = subprocess.run(
        [sys.executable, "-m", package], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert output.startswith(f"usage: python -m {package}.VERB ")
    for path in (ROOT / package).glob("*.py"):
        if path.stem in ("demo", "train", "evaluate", "predict"):
            command = "__main__" in path.read_text(encoding="utf-8")
            assert (f"\n  {path.stem} " in output) == command
