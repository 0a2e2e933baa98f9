"""The command line: options as dataclasses, errors in one line, `openbook` and its verbs.

A command is a module `<application>.<verb>` that ends with

    if __name__ == "__main__":
        run_command(main, Options)

where `Options` is a frozen dataclass, with a sentence under each field, and `main` takes one.
"""

from __future__ import annotations

import ast
import difflib
import os
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, TypeVar

from core.options import need_positive

OptionsT = TypeVar("OptionsT")

VERBS = ("demo", "train", "search", "evaluate", "predict")


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Options of every command; subclasses are frozen, keyword-only dataclasses too."""

    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"data_root", "device"})
    """Options that may be others when a run is resumed: they say where, not what."""

    data_root: Path | None = None
    """Folder of the data sets; by default $OPENBOOK_DATA, else the user cache."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""

    precision: Literal["float32", "tf32", "float16", "bfloat16"] = "tf32"
    """How a GPU multiplies; the two of 16 bits keep weights and losses in float32."""

    seed: int = 0
    """Seed of everything random: the same seed gives the same figures."""

    out: Path | None = None
    """Folder for the results; by default runs/<application>-<verb>."""

    weights: Path | None = None
    """Weights (safetensors) to use instead of the shipped ones."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; expected 0 or more")

    def refuse_float16(self) -> None:
        """Raise ValueError for float16: a training that scales no loss would lose gradients."""
        if self.precision == "float16":
            raise ValueError("--precision float16: no loss is scaled here; bfloat16 needs none")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(CommonOptions):
    """Options of every training; an application overrides the defaults with its own."""

    epochs: int = 10
    """How many times to go through the training set."""

    batch_size: int = 100
    """Samples in one step."""

    lr: float = 0.001
    """Learning rate at the start."""

    resume: bool = False
    """Continue the unfinished run in the folder, as if it had not stopped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "epochs", "batch_size")
        if not self.lr > 0:
            raise ValueError(f"--lr is {self.lr}; expected more than 0")


@dataclass(frozen=True, kw_only=True)
class DemoOptions(CommonOptions):
    """Options of a demo that shows shipped weights on held-out samples, or trains first."""

    CHANGEABLE: ClassVar[frozenset[str]] = CommonOptions.CHANGEABLE | {"count"}

    count: int = 120
    """Held-out samples to look at."""

    train: bool = False
    """Train from scratch first instead of taking the shipped weights."""

    resume: bool = False
    """Continue an unfinished --train in the folder."""

    @property
    def trains(self) -> bool:
        """Whether the demo trains first; one that does so unasked says when."""
        return self.train

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "count")
        if self.resume and not self.trains:
            raise ValueError("--resume continues a training: add --train")
        if self.weights is not None and self.train:
            raise ValueError(
                "--weights is used instead of training: leave out --train or --weights"
            )


def resolve_device(device: str) -> Literal["cpu", "cuda"]:
    """The device that "auto", "cpu" or "cuda" stands for on this machine.

    Raises ValueError for another name, RuntimeError when "cuda" is asked for and CuPy or a GPU
    is missing.
    """
    from core.device import cuda_module

    if device == "cpu":
        return "cpu"
    if device == "cuda":
        cuda_module()
        return "cuda"
    if device != "auto":
        raise ValueError(f"device {device!r} is unknown; expected auto, cpu or cuda")
    try:
        cuda_module()
    except RuntimeError:
        return "cpu"
    return "cuda"


def run_command(
    main: Callable[[OptionsT], object],
    options_type: type[OptionsT],
    args: Sequence[str] | None = None,
    *,
    defaults: Callable[[Sequence[str]], OptionsT] | None = None,
) -> None:
    """Parse the command line into `options_type`, call `main` with it, and report errors.

    Fields without a default are positional. `device` of CommonOptions arrives resolved. `args`
    replaces sys.argv[1:]. `defaults`, given them, returns the options that the flags change. What
    a user can mend (ValueError, OSError, RuntimeError, MemoryError) ends the program with status 2
    and one line on stderr, Ctrl-C with 130; with OPENBOOK_TRACEBACK=1 the traceback shows. Raises
    SystemExit.
    """
    try:
        options = _parse(options_type, args, defaults)
        with _precision(options):
            main(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        # Whoever read our output is gone (`| head`); nothing may be flushed to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if isinstance(error, NotImplementedError | RecursionError) or _wants_traceback():
            raise
        _fail(_one_line(error))


def flag_value(flag: str, args: Sequence[str]) -> str | None:
    """The value of one flag in a command line that is not parsed yet; the last one counts."""
    from argparse import ArgumentParser

    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(flag, dest="value")
    value: str | None = parser.parse_known_args(list(args))[0].value
    return value


def _parse(
    options_type: type[OptionsT],
    args: Sequence[str] | None,
    defaults: Callable[[Sequence[str]], OptionsT] | None,
) -> OptionsT:
    import tyro

    args = sys.argv[1:] if args is None else args
    options: Any = tyro.cli(
        options_type,
        prog=_program_name(),
        args=args,
        default=None if defaults is None else defaults(args),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalRequiredArgs),
    )
    if isinstance(options, CommonOptions):
        options = replace(options, device=resolve_device(options.device))
    return options


@contextmanager
def _precision(options: Any) -> Iterator[None]:
    """Compute as `precision` of CommonOptions says inside the block."""
    if not isinstance(options, CommonOptions):
        yield
        return
    from core.amp import autocast
    from core.device import float32_matmul_precision, set_float32_matmul_precision

    half = options.precision in ("float16", "bfloat16")
    if half and options.device == "cpu":
        raise ValueError(f"--precision {options.precision} needs a GPU; the CPU computes float32")
    before = float32_matmul_precision()
    set_float32_matmul_precision("highest" if options.precision == "float32" else "high")
    try:
        with autocast(options.precision if half else None):
            yield
    finally:
        set_float32_matmul_precision(before)


def _program_name() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return Path(sys.argv[0]).name
    return f"python -m {spec.name.removesuffix('.__main__')}"


def _wants_traceback() -> bool:
    return os.environ.get("OPENBOOK_TRACEBACK", "") not in ("", "0")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, MemoryError):
        return f"not enough memory: {' '.join(str(error).split()) or 'choose something smaller'}"
    return " ".join(str(error).split()) or type(error).__name__


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def applications() -> dict[str, str]:
    """The applications that are installed: name -> package."""
    from importlib.metadata import entry_points

    found = sorted(entry_points(group="openbook.applications"), key=lambda point: point.name)
    return {point.name: point.value for point in found}


def verbs(package: str) -> dict[str, str]:
    """The verbs that the application `package` has, each with its sentence."""
    found = {}
    for verb in VERBS:
        spec = find_spec(f"{package}.{verb}")
        source = None if spec is None else spec.loader.get_source(spec.name)  # type: ignore[union-attr]
        # A module of that name without a command is a library.
        if source is not None and "__main__" in source:
            docstring = ast.get_docstring(ast.parse(source)) or ""
            found[verb] = docstring.partition("\n")[0]
    return found


def application_main(package: str, args: Sequence[str] | None = None) -> None:
    """`python -m <package>`: list the verbs, or run the one that comes first in `args`.

    Raises SystemExit.
    """
    args = sys.argv[1:] if args is None else list(args)
    known = verbs(package)
    if not args or args[0] in ("-h", "--help"):
        print(f"usage: python -m {package}.VERB [--help] [OPTIONS]\n")
        _print_table(known)
        return
    verb, *rest = args
    if verb not in known:
        _fail(f"{package} has no verb {verb!r}{_suggestion(verb, list(known))}")
    arguments, sys.argv = sys.argv, [f"{package}.{verb}", *rest]
    try:
        # As `python -m` does it, so that both ways of calling are the same.
        runpy.run_module(f"{package}.{verb}", run_name="__main__", alter_sys=True)
    finally:
        sys.argv = arguments


def main(args: Sequence[str] | None = None) -> None:
    """The console script: `openbook`, `openbook APPLICATION`, `openbook APPLICATION VERB ...`.

    Raises SystemExit.
    """
    args = sys.argv[1:] if args is None else list(args)
    known = applications()
    if not args or args[0] in ("-h", "--help"):
        print("usage: openbook APPLICATION VERB [--help] [OPTIONS]\n")
        _print_table({name: ", ".join(verbs(package)) for name, package in known.items()})
        return
    name, *rest = args
    if name not in known:
        _fail(f"no application {name!r} is installed{_suggestion(name, list(known))}")
    application_main(known[name], rest)


def _print_table(rows: dict[str, str]) -> None:
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        print(f"  {name:<{width}}  {text}")


def _suggestion(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there is {', '.join(known) or 'none'}"
