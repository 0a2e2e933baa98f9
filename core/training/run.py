"""The folder of one run: options, metrics while it runs, a summary at the end."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

import core
from core.io.files import UNFINISHED, plain, write_json, write_text

CONFIG = "config.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
LAST = "last.safetensors"
BEST = "best.safetensors"


class Run:
    """One run and its folder; `Run.create` begins or resumes it.

    `config.json` says what was asked for, `metrics.jsonl` grows while the run goes on,
    `last.safetensors` and `best.safetensors` are the trainer's, `summary.json` comes at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pictures: list[Path] = []
        self._restart_clock()

    @classmethod
    def create(
        cls, out: str | os.PathLike[str] | None, application: str, verb: str, options: object
    ) -> Self:
        """Begin a run in the folder `out` (`runs/<application>-<verb>` when None), or resume it.

        `options` is a dataclass instance; its fields go to `config.json`. Where it has a field
        `resume` that is True, the run in the folder is continued; the options it was begun with
        must be the same, but for those that `options.CHANGEABLE` names. Otherwise the files of an
        earlier run there are replaced, but never an unfinished training, nor the result of
        `train`. Raises ValueError when the folder holds one of those or is a file, or when the
        run to resume was begun with other options; FileNotFoundError when there is none.
        """
        folder = Path("runs") / f"{application}-{verb}" if out is None else Path(out)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--out {folder} is a file; a run writes a folder")
        run = cls(folder)
        for part in folder.glob(f".*{UNFINISHED}"):
            # A write that a kill cut short; the file it was to replace is whole.
            part.unlink(missing_ok=True)
        if getattr(options, "resume", False):
            if not (folder / LAST).is_file():
                raise FileNotFoundError(f"nothing to resume: {folder} has no {LAST}")
            _refuse_other_options(folder, options)
            run._keep_until(None)
            (folder / SUMMARY).unlink(missing_ok=True)
        else:
            _refuse_to_overwrite(folder)
            # The summary first: without it, what is left counts as unfinished.
            for name in (SUMMARY, METRICS, BEST, LAST):
                (folder / name).unlink(missing_ok=True)
        write_json(folder / CONFIG, _config(application, verb, options))
        return run

    def path(self, name: str) -> Path:
        """Where the file `name` of this run goes; its folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def picture(self, name: str) -> Path:
        """Where the picture `name` goes; the summary will list it."""
        path = self.path(name)
        if path not in self._pictures:
            self._pictures.append(path)
        return path

    def log(self, step: int, figures: Mapping[str, object]) -> None:
        """Append one line to `metrics.jsonl`: `step`, `seconds` since the start, and `figures`."""
        line = {"step": step, **figures, "seconds": round(self.seconds, 3)}
        with open(self.path(METRICS), "a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(plain(line), ensure_ascii=False) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the metrics after `step`: those of a run that died after its last checkpoint."""
        self._keep_until(step)

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, those before it was resumed included."""
        return self._seconds_before + time.perf_counter() - self._start

    def finish(self, figures: Mapping[str, object]) -> dict[str, Any]:
        """Write `summary.json` and print it.

        Adds to `figures`: `seconds`, `peak_memory_mb` (of this process), and `pictures`, relative
        to the folder.
        """
        summary: dict[str, Any] = plain(
            {
                **figures,
                "seconds": round(self.seconds, 1),
                "peak_memory_mb": round(peak_memory_mb()),
                "pictures": [path.relative_to(self.folder) for path in self._pictures],
            }
        )
        write_json(self.folder / SUMMARY, summary)
        print(json.dumps(summary, indent=2, ensure_ascii=False), flush=True)
        return summary

    def _keep_until(self, step: int | None) -> None:
        """Keep the whole lines of the metrics up to `step` (all when None); go on from there."""
        path = self.folder / METRICS
        if not path.exists():
            return
        kept = [line for line in read_metrics(path) if step is None or line["step"] <= step]
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
        self._restart_clock(kept[-1].get("seconds", 0.0) if kept else 0.0)

    def _restart_clock(self, seconds_before: float = 0.0) -> None:
        self._seconds_before = seconds_before
        self._start = time.perf_counter()


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, each a dict with its `step`.

    A torn last line, as a killed run leaves it, is left out. Raises ValueError when any other
    line is broken, FileNotFoundError when there is no such file.
    """
    lines = Path(path).read_bytes().split(b"\n")
    torn = lines.pop()
    metrics = []
    for number, line in enumerate(lines, start=1):
        value = _parse_line(line)
        if value is None:
            raise ValueError(f"{path}, line {number}: expected a JSON object with a whole `step`")
        metrics.append(value)
    # Killed between the last brace and the end of the line: nothing is missing.
    last = _parse_line(torn)
    return metrics if last is None else [*metrics, last]


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("step"), int) else None


def _refuse_to_overwrite(folder: Path) -> None:
    if not (folder / LAST).exists() and not (folder / BEST).exists():
        return
    if (folder / LAST).exists() and not (folder / SUMMARY).exists():
        raise ValueError(
            f"{folder} holds an unfinished training: continue it with --resume, "
            "or choose another folder with --out"
        )
    if _verb_of(folder) != "demo":
        raise ValueError(
            f"{folder} holds a finished training: choose another folder with --out, "
            "or remove this one"
        )


def _refuse_other_options(folder: Path, options: object) -> None:
    begun = _config_of(folder).get("options")
    if not isinstance(begun, dict):
        return
    changeable = {"resume", "out", *getattr(options, "CHANGEABLE", ())}
    # A run begun before an option existed had its default.
    begun = {**_without_home(plain(_defaults(options))), **begun}
    changed = [
        f"--{name.replace('_', '-')} {begun[name]}, not {value}"
        for name, value in _without_home(plain(options)).items()
        if name not in changeable and begun.get(name, value) != value
    ]
    if changed:
        raise ValueError(f"{folder} cannot be resumed so: it was begun with {'; '.join(changed)}")


def _defaults(options: Any) -> dict[str, Any]:
    """The fields of a dataclass instance that have a default, with it."""
    found = {one.name: one.default for one in fields(options) if one.default is not MISSING}
    made = {
        one.name: one.default_factory()
        for one in fields(options)
        if one.default_factory is not MISSING
    }
    return {**found, **made}


def _verb_of(folder: Path) -> str | None:
    return _config_of(folder).get("verb")


def _config_of(folder: Path) -> dict[str, Any]:
    """What `config.json` says; nothing when it is missing or broken."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _config(application: str, verb: str, options: object) -> dict[str, Any]:
    return {
        "application": application,
        "verb": verb,
        "seed": getattr(options, "seed", None),
        "options": _without_home(plain(options)),
        "openbook": core.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


def _without_home(value: Any) -> Any:
    """`value` with the user's home folder written as ~, so that a config can be shown around."""
    home = Path.home().as_posix()
    if isinstance(value, str) and value.startswith(home + "/"):
        return "~" + value[len(home) :]
    if isinstance(value, dict):
        return {key: _without_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_home(item) for item in value]
    return value


def peak_memory_mb() -> float:
    """The most memory that this process held so far, in MB of 10^6 bytes; NaN where unknown."""
    if sys.platform == "win32":
        return _peak_memory_windows() / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _peak_memory_windows() -> float:
    """PeakWorkingSetSize of GetProcessMemoryInfo (Windows, psapi.h), in bytes."""
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("cb", wintypes.DWORD),
            ("PageFaultCount", wintypes.DWORD),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("WorkingSetSize", ctypes.c_size_t),
            ("quotas_and_pagefile", ctypes.c_size_t * 6),
        )

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel32 = getattr(ctypes, "WinDLL")("kernel32")  # noqa: B009  mypy knows it on Windows only
    kernel32.GetCurrentProcess.restype = wintypes.HANDLE
    query = kernel32.K32GetProcessMemoryInfo
    query.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
    found = query(kernel32.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
    return float(counters.PeakWorkingSetSize) if found else float("nan")
