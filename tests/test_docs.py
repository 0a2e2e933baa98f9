"""The pages name only commands, flags and files that there are."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_type_hints

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
OURS = ("core", "captioning", "dcgan", "detection", "dqn", "segmentation", "style_transfer")
_COMMAND = re.compile(rf"python -m ((?:{'|'.join(OURS)}|benchmarks)[\w.]*)([^`\n|]*)")
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")


@cache
def flags(module: str) -> frozenset[str]:
    """What the command takes, without the dashes."""
    if (ROOT / module.replace(".", "/")).is_dir():
        module += ".__main__"
    options = importlib.import_module(module).Options
    names = {field.name.replace("_", "-") for field in dataclasses.fields(options)}
    for hint in get_type_hints(options, include_extras=True).values():
        # As tyro.conf.arg(name=...) renames a field.
        notes = getattr(hint, "__metadata__", ())
        names |= {note.name for note in notes if getattr(note, "name", None)}
    return frozenset({"help"} | names | {f"no-{name}" for name in names})


def every_command() -> Iterator[str]:
    for name in (*OURS, "benchmarks"):
        for path in sorted((ROOT / name).glob("**/*.py")):
            if "\nclass Options" in path.read_text(encoding="utf-8"):
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_names_what_there_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = [
        f"{command} --{flag}"
        for command, rest in _COMMAND.findall(text)
        for flag in _FLAG.findall(rest)
        if flag not in flags(command)
    ]
    known = frozenset().union(*map(flags, every_command()))
    wrong += [f"--{flag}" for flag in _FLAG.findall(text) if flag not in known]
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    wrong += [link for link in linked if not (page.parent / link).exists()]
    assert wrong == []
