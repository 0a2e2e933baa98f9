"""A job in its run folder: metrics, pictures on the way, checkpoints, Ctrl-C."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

import numpy as np

from core import viz
from core.data.images import WRITABLE, Picture, read_image, save_image
from core.training import checkpoint
from core.training.interrupt import interruptible
from core.training.progress import Progress as Bar
from core.training.run import LAST, Run
from style_transfer import pictures
from style_transfer.objective import Losses
from style_transfer.stylise import Progress, Stylisation

RESULT = "result.png"
FRAMES = "frames"
ANIMATION = "animation.gif"
COURSE = "course.png"
_CHECKPOINT_SECONDS = 60.0


def work(
    job: Stylisation,
    run: Run,
    *,
    name: str = RESULT,
    save_every: int = 0,
    resumable: bool = True,
    resume: bool = False,
) -> Picture:
    """Run a job in a folder; the picture it made, saved there as `name`.

    With `save_every` a frame is kept every so many iterations, and an animation and a grid made of
    them. Ctrl-C saves the best picture so far and raises KeyboardInterrupt; `resume` goes on from
    there. What is not `resumable` leaves no checkpoint: the folder may be used again.
    """
    session = _Session(job, run, name, save_every, resumable)
    if resume:
        session.load()
    result = session.go()
    if save_every:
        paths = sorted((run.folder / FRAMES).glob("*.png"))
        frames = {int(path.stem): read_image(path) for path in paths}
        # None where the descent ended before the first.
        if frames:
            viz.save_animation(list(frames.values()), run.picture(ANIMATION))
            viz.save(pictures.course(frames), run.picture(COURSE))
    (run.folder / LAST).unlink(missing_ok=True)
    return result


class _Session:
    def __init__(
        self, job: Stylisation, run: Run, name: str, save_every: int, resumable: bool
    ) -> None:
        self._job = job
        self._run = run
        self._name = name
        self._every = save_every
        self._resumable = resumable
        self._at = Progress()
        self._saved = time.monotonic()

    def go(self) -> Picture:
        sizes = self._job.settings.sizes
        iterations = self._job.settings.descent.iterations
        if self._every and not self._count:
            for path in (self._run.folder / FRAMES).glob("*.png"):
                path.unlink()
        bar = Bar(epochs=len(sizes), steps_per_epoch=iterations, done=self._count)
        with interruptible() as interrupt, bar:

            def watch(at: Progress, losses: Losses) -> bool:
                self._seen(losses, bar)
                if at.done == iterations:
                    bar.epoch(at.level + 1, {"pixels": sizes[at.level], **_shown(losses)})
                return interrupt.requested

            self._job.run(watch, self._at)
            if interrupt.requested:
                self._interrupted(bar)
        return self._save_result()

    def load(self) -> None:
        """Go on from the checkpoint. Raises ValueError, naming the file, when it does not fit."""
        path = self._run.path(LAST)
        state = checkpoint.load(path)
        try:
            self._at = at = Progress(**state)
            shape = (*self._job.shape(self._job.settings.sizes[at.level]), 3)
            pictures = {"picture": at.picture, "best": at.best}
            for name, picture in pictures.items():
                if not isinstance(picture, np.ndarray) or picture.shape != shape:
                    raise ValueError(f"its {name} is not of shape {shape}")
        except (TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{path}: cannot continue from it: {error}") from None
        self._run.rewind(self._count)

    @property
    def _count(self) -> int:
        return self._at.level * self._job.settings.descent.iterations + self._at.done

    def _seen(self, losses: Losses, bar: Bar) -> None:
        """Log one iteration; keep its picture when it is time."""
        figures = {"size": self._job.settings.sizes[self._at.level], **_shown(losses)}
        self._run.log(self._count, figures | losses.layers)
        bar.step({"loss": losses.total})
        assert self._at.picture is not None
        if self._every and self._count % self._every == 0:
            frame = self._job.finished(self._at.picture)
            save_image(self._run.path(f"{FRAMES}/{self._count:05d}.png"), frame)
        if self._resumable and time.monotonic() - self._saved > _CHECKPOINT_SECONDS:
            self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        self._saved = time.monotonic()
        checkpoint.save(self._run.path(LAST), vars(self._at))

    def _save_result(self) -> Picture:
        assert self._at.best is not None
        result = self._job.finished(self._at.best)
        save_image(self._run.picture(self._name), result)
        return result

    def _interrupted(self, bar: Bar) -> NoReturn:
        self._save_result()
        how = ""
        if self._resumable:
            self._save_checkpoint()
            how = "; the same command with --resume continues"
        bar.note(
            f"stopped after iteration {self._count}; the best picture so far is in "
            f"{self._run.folder / self._name}{how}"
        )
        raise KeyboardInterrupt


def _shown(losses: Losses) -> dict[str, float]:
    return {
        "loss": losses.total,
        "content loss": losses.content,
        "style loss": losses.style,
        "tv": losses.tv,
    }


def folder_of(out: Path | None) -> Path | None:
    """The run folder that `--out` names: itself, or the default one when it names a picture."""
    return out if picture_of(out) is None else None


def picture_of(out: Path | None) -> Path | None:
    """The picture that `--out` names, if it does."""
    return out if out is not None and out.suffix.lower() in WRITABLE else None
