"""Run folders: begun, resumed, never mixed; interruption and progress."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

import core
from core.training.interrupt import interruptible
from core.training.progress import Progress, track
from core.training.run import LAST, Run, peak_memory_mb, read_metrics


@dataclass(frozen=True)
class Options:
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"data_root"})

    seed: int = 7
    lr: float = 0.1
    data_root: Path | None = None
    resume: bool = False


def finish_training(folder: Path, verb: str = "train") -> None:
    run = Run.create(folder, "core", verb, Options())
    run.log(1, {"loss": 0.5})
    run.path(LAST).write_bytes(b"weights")
    run.path("best.safetensors").write_bytes(b"weights")
    run.finish({"accuracy": 0.9})


def test_a_run_from_begin_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    run = Run.create(folder, "detection", "demo", Options(data_root=Path.home() / "sets"))
    run.log(1, {"loss": 0.5})
    run.log(2, {"loss": float("nan"), "accuracy": 0.25})
    run.picture("pictures/first.png").write_bytes(b"")
    run.picture("pictures/first.png")
    print("work")
    returned = run.finish({"mAP@0.5": 0.91})

    config = json.loads((folder / "config.json").read_bytes())
    assert config["application"] == "detection"
    assert config["verb"] == "demo"
    assert config["seed"] == 7
    assert config["openbook"] == core.__version__
    assert config["options"] == {"seed": 7, "lr": 0.1, "data_root": "~/sets", "resume": False}
    assert Path.home().as_posix() + "/" not in json.dumps(config)

    lines = read_metrics(folder / "metrics.jsonl")
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.5), (2, None)]
    assert lines[1]["accuracy"] == 0.25
    assert 0 <= lines[0]["seconds"] <= lines[1]["seconds"]

    summary = json.loads((folder / "summary.json").read_bytes())
    assert summary == returned
    assert summary["mAP@0.5"] == 0.91
    assert summary["pictures"] == ["pictures/first.png"]
    assert summary["peak_memory_mb"] > 1
    printed = capsys.readouterr().out
    assert json.loads(printed.removeprefix("work\n")) == summary
    assert printed.startswith('work\n{\n  "mAP@0.5": 0.91,\n')


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Run.create(None, "core", "train", Options()).folder == Path("runs/core-train")
    assert Path("runs/core-train/config.json").is_file()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"photo\.png is a file; a run writes a folder"):
        Run.create(tmp_path / "photo.png", "core", "train", Options())


def test_a_training_is_never_overwritten(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "core", "train", Options())
    run.log(1, {"loss": 0.5})
    run.path(LAST).write_bytes(b"weights")
    with pytest.raises(ValueError, match="unfinished training: continue it with --resume"):
        Run.create(tmp_path, "core", "train", Options())

    run.finish({})
    for verb in ("train", "demo"):
        with pytest.raises(ValueError, match="finished training: choose another folder"):
            Run.create(tmp_path, "core", verb, Options())
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1
    assert (tmp_path / LAST).read_bytes() == b"weights"


def test_a_finished_demo_is_replaced_without_a_trace(tmp_path: Path) -> None:
    finish_training(tmp_path, verb="demo")
    (tmp_path / "notes.txt").write_text("the user's own")
    Run.create(tmp_path, "core", "demo", Options())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]


def test_a_run_without_a_checkpoint_is_begun_again(tmp_path: Path) -> None:
    Run.create(tmp_path, "core", "train", Options()).log(1, {"loss": 0.5})
    Run.create(tmp_path, "core", "train", Options()).log(1, {"loss": 0.25})
    assert [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [0.25]


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "core", "train", Options())
    for step in (1, 2, 3):
        run.log(step, {"loss": 1 / step})
    run.path(LAST).write_bytes(b"weights")
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 4, "lo')

    resumed = Run.create(tmp_path, "core", "train", Options(resume=True))
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    resumed.rewind(2)
    resumed.log(3, {"loss": 0.3})
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 0.5), (3, 0.3)]


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    half = tmp_path / ".last.safetensors.0123456789ab.part"
    half.write_bytes(b"half")
    (tmp_path / "notes.part").write_text("the user's own")
    Run.create(tmp_path, "core", "train", Options())
    assert not half.exists()
    assert (tmp_path / "notes.part").exists()


def test_seconds_go_on_where_the_run_was_resumed(tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"weights")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "seconds": 100.0}\n')
    run = Run.create(tmp_path, "core", "train", Options(resume=True))
    assert 100 <= run.seconds < 200
    run.rewind(0)
    assert run.seconds < 100


def test_a_run_is_not_resumed_with_other_options(tmp_path: Path) -> None:
    finish_training(tmp_path)
    config = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ValueError, match=r"was begun with --lr 0\.1, not 0\.5"):
        Run.create(tmp_path, "core", "train", Options(lr=0.5, resume=True))
    assert (tmp_path / "config.json").read_bytes() == config
    assert (tmp_path / "summary.json").exists()
    Run.create(tmp_path, "core", "train", Options(data_root=tmp_path, resume=True))


def test_a_run_begun_before_an_option_existed_had_its_default(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Grown(Options):
        steps: tuple[int, ...] = field(default_factory=lambda: (1, 2))
        attend: str = "before"

    finish_training(tmp_path)
    with pytest.raises(ValueError, match=r"was begun with --attend before, not after"):
        Run.create(tmp_path, "core", "train", Grown(attend="after", resume=True))
    with pytest.raises(ValueError, match=r"was begun with --steps \[1, 2\], not \[3\]"):
        Run.create(tmp_path, "core", "train", Grown(steps=(3,), resume=True))
    Run.create(tmp_path, "core", "train", Grown(resume=True))


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing to resume: .* has no last.safetensors"):
        Run.create(tmp_path / "new", "core", "train", Options(resume=True))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "steps"),
    [
        (b"", []),
        (b'{"step": 1}\n{"step": 2}\n', [1, 2]),
        (b'{"step": 1}\n{"st', [1]),
        (b'{"step": 1}\n{"step": 2}', [1, 2]),
        (b'{"step": 1}\n\xff', [1]),
    ],
)
def test_a_torn_last_line_is_left_out(tmp_path: Path, content: bytes, steps: list[int]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    assert [line["step"] for line in read_metrics(path)] == steps


@pytest.mark.parametrize("broken", [b"[1]", b"{", b'{"loss": 1}', b"\xff", b""])
def test_a_broken_line_is_named(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + broken + b'\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: expected a JSON object"):
        read_metrics(path)


def test_metrics_outlive_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import dataclasses, sys, time\n"
        "from core.training.run import Run\n"
        "options = dataclasses.make_dataclass('Options', [])()\n"
        "Run.create(sys.argv[1], 'core', 'train', options).log(1, {'loss': 0.5})\n"
        "print('logged', flush=True)\n"
        "time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "logged\n"
        child.kill()
    assert [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [0.5]


def test_peak_memory_sees_an_allocation() -> None:
    before = peak_memory_mb()
    size = int(before + 100) * 1_000_000
    block = b"x" * size
    assert peak_memory_mb() >= before + 50
    assert len(block) == size


def test_the_first_signal_sets_a_flag_and_the_second_raises() -> None:
    earlier = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.requested
        signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == earlier


def test_other_threads_get_a_flag_that_stays_down() -> None:
    earlier = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with interruptible() as interrupt:
            seen.append((interrupt.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, earlier)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_two_epochs(stream: io.StringIO, done: int = 0) -> str:
    with Progress(epochs=2, steps_per_epoch=3, done=done, title="cnn", stream=stream) as progress:
        for epoch in range(done // 3, 2):
            for _ in range(3):
                progress.step({"loss": 0.125})
            progress.epoch(epoch + 1, {"loss": 0.125, "accuracy": 0.98765})
    return stream.getvalue()


def test_one_line_per_epoch_where_there_is_no_terminal() -> None:
    text = run_two_epochs(io.StringIO())
    assert text.splitlines() == [
        "cnn epoch 1/2: loss 0.125, accuracy 0.9877 (0 s)",
        "cnn epoch 2/2: loss 0.125, accuracy 0.9877 (0 s)",
    ]


def test_the_remaining_time_counts_from_where_a_resumed_run_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    stream = io.StringIO()
    with Progress(epochs=4, steps_per_epoch=1, done=2, stream=stream) as progress:
        progress.step()
        progress.epoch(3, {"loss": 1.0})
    assert stream.getvalue() == "epoch 3/4: loss 1 (10 s, 20 s left)\n"


def test_a_bar_on_a_terminal() -> None:
    text = run_two_epochs(Terminal(), done=3)
    assert "3/6" in text
    assert "cnn epoch 2/2: loss 0.125" in text


def test_track_passes_the_items_on() -> None:
    stream = io.StringIO()
    assert list(track([3, 4], "features", stream=stream)) == [3, 4]
    assert stream.getvalue() == "features: 2 in 0.0 s\n"
    terminal = Terminal()
    assert list(track(iter("ab"), "features", total=2, stream=terminal)) == ["a", "b"]
    assert "2/2" in terminal.getvalue()
