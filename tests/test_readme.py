"""The README's program is run as it stands there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_program_in_the_readme_learns(capsys: pytest.CaptureFixture[str]) -> None:
    text = README.read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(program.splitlines()) <= 22
    exec(compile(program, str(README), "exec"), {"__name__": "__main__"})
    share = re.search(r"([\d.]+)% of 360 held-out digits are right", capsys.readouterr().out)
    assert share is not None
    # What the page says beside the program.
    assert float(share[1]) >= 97.0


def test_every_file_that_the_readme_names_exists() -> None:
    text = README.read_text(encoding="utf-8")
    named = set(
        re.findall(
            r"`((?:docs|core|captioning|dcgan|detection|dqn|segmentation|style_transfer)/[\w./]+)`",
            text,
        )
    )
    named |= set(re.findall(r"\]\((docs/[\w./]+)\)", text))
    assert len(named) > 5
    assert [path for path in sorted(named) if not (README.parent / path).exists()] == []
