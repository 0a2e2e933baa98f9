"""The command line: options, errors in one line, applications and their verbs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from core import cli
from core.cli import CommonOptions, TrainingOptions, resolve_device, run_command


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """Train something small."""

    picture: Path
    """Picture to start from."""

    epochs: int = 3


def parse(*args: str) -> Options:
    seen: list[Options] = []
    run_command(seen.append, Options, args)
    return seen[0]


def fail_with(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    def main(options: CommonOptions) -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run_command(main, CommonOptions, ["--device", "cpu"])
    return stop.value.code, capsys.readouterr().err


def test_options_and_their_defaults() -> None:
    options = parse("photo.png", "--device", "cpu", "--lr", "0.5", "--resume")
    assert options == Options(picture=Path("photo.png"), device="cpu", lr=0.5, resume=True)
    assert (options.epochs, options.seed, options.out, options.data_root) == (3, 0, None, None)


def test_help_documents_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for word in (
        "--data-root",
        "--batch-size",
        "--weights",
        "Picture to start from.",
        "default: 3",
    ):
        assert word in text
    assert "--no-resume" not in text


def test_an_unknown_option_exits_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("photo.png", "--epoch", "3")
    assert stop.value.code == 2
    assert "--epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--seed", "-1"), "--seed is -1; expected 0 or more"),
        (("--epochs", "0"), "--epochs is 0; expected 1 or more"),
        (("--batch-size", "-5"), "--batch-size is -5; expected 1 or more"),
        (("--lr", "0"), "--lr is 0.0; expected more than 0"),
        (("--lr", "nan"), "--lr is nan; expected more than 0"),
    ],
)
def test_values_out_of_range(
    args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("photo.png", *args)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("conv2d: 3 channels,\n  expected 16"), "conv2d: 3 channels, expected 16"),
        (RuntimeError("device 'cuda' needs CuPy"), "device 'cuda' needs CuPy"),
        (FileNotFoundError("no data set 'x'"), "no data set 'x'"),
        (
            FileNotFoundError(2, "No such file or directory", "a.jpg"),
            "No such file or directory: a.jpg",
        ),
        (ValueError(), "ValueError"),
        (MemoryError("Unable to allocate\n2 TiB"), "not enough memory: Unable to allocate 2 TiB"),
        (MemoryError(), "not enough memory: choose something smaller"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBOOK_TRACEBACK", raising=False)
    assert fail_with(error, capsys) == (2, f"error: {line}\n")


def test_the_traceback_shows_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBOOK_TRACEBACK", "1")
    with pytest.raises(ValueError, match="broken"):
        fail_with(ValueError("broken"), capsys)


@pytest.mark.parametrize(
    "error", [TypeError("a bug"), NotImplementedError("a bug"), KeyError("bug")]
)
def test_a_bug_keeps_its_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error), match="bug"):
        fail_with(error, capsys)


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(KeyboardInterrupt(), capsys) == (130, "interrupted\n")


def test_cuda_without_cupy_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(SystemExit) as stop:
        parse("photo.png", "--device", "cuda")
    assert stop.value.code == 2
    assert "CuPy" in capsys.readouterr().err.removeprefix("error: ")
    assert parse("photo.png").device == "cpu"
    with pytest.raises(ValueError, match="device 'tpu' is unknown"):
        resolve_device("tpu")


@pytest.fixture
def applications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two applications in a folder of their own, as if installed."""
    for name in ("painter", "reader"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "demo.py").write_text(
            f'"""Show what {name} does.\n\nMore."""\nimport sys\nimport not_installed_anywhere\n'
            "if __name__ == '__main__':\n    pass\n"
        )
        (tmp_path / name / "evaluate.py").write_text('"""A library."""\n')
    (tmp_path / "painter" / "train.py").write_text(
        '"""Learn to paint."""\n'
        "import json, sys\n"
        "if __name__ == '__main__':\n"
        "    print(json.dumps([__spec__.name, *sys.argv[1:]]))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "applications", lambda: {"painter": "painter", "reader": "reader"})


@pytest.mark.usefixtures("applications")
def test_openbook_alone_lists_the_applications(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([])
    assert "  painter  demo, train\n  reader   demo\n" in capsys.readouterr().out


@pytest.mark.usefixtures("applications")
def test_an_application_lists_its_verbs_without_importing_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = "  demo   Show what painter does.\n  train  Learn to paint.\n"
    cli.main(["painter"])
    assert expected in capsys.readouterr().out
    cli.application_main("painter", ["--help"])
    assert expected in capsys.readouterr().out


@pytest.mark.usefixtures("applications")
def test_a_verb_runs_as_python_m_does(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(sys.argv)
    cli.main(["painter", "train", "--epochs", "3"])
    assert json.loads(capsys.readouterr().out) == ["painter.train", "--epochs", "3"]
    assert sys.argv == before


@pytest.mark.usefixtures("applications")
@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["paintr"], "no application 'paintr' is installed; did you mean painter?"),
        (["xyz"], "no application 'xyz' is installed; there is painter, reader"),
        (["painter", "trian"], "painter has no verb 'trian'; did you mean train?"),
        (["reader", "train"], "reader has no verb 'train'; there is demo"),
    ],
)
def test_unknown_words_get_a_suggestion(
    args: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_command_as_a_process(tmp_path: Path) -> None:
    (tmp_path / "painter").mkdir()
    (tmp_path / "painter" / "demo.py").write_text(
        '"""Paint."""\n'
        "from core.cli import CommonOptions, run_command\n"
        "def main(options):\n"
        "    for _ in range(100_000): print('a line')\n"
        "    raise ValueError('no brush')\n"
        "if __name__ == '__main__':\n"
        "    run_command(main, CommonOptions)\n"
    )
    root = Path(cli.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"}
    environment.pop("OPENBOOK_TRACEBACK", None)
    command = [sys.executable, "-m", "painter.demo"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: no brush\n")
    done = subprocess.run(
        [*command, "--help"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.startswith("usage: python -m painter.demo ")

    # A reader that goes away early, like `| head -1`, is no error worth a traceback.
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
