"""The other commands of the benchmarks: the book's way, loading, growth, profile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import book_step, linearity, loaded
from benchmarks.book_step import BOOK, TRAINER, BookStep, col2im, im2col
from benchmarks.linearity import Point
from benchmarks.measure import Timing, check
from benchmarks.profile import KernelTimes, kernel_table
from benchmarks.profile import Options as ProfileOptions
from benchmarks.profile import main as profile
from benchmarks.sides import OURS, PEER, PEER_LAST, Ours, Peer, Side
from benchmarks.steps import STEPS, step_named
from core import Tensor, nn

DEEP = replace(step_named("deep_convnet"), batch=3, shape=(1, 12, 12), width=8)


def test_im2col_and_col2im() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 6, 5))
    table = im2col(x, 3, 1, 1)
    assert table.shape == (2 * 6 * 5, 27)
    # The window in the middle of the picture, and one that hangs over its corner.
    assert (table[1 * 5 + 2] == x[0, :, 0:3, 1:4].ravel()).all()
    assert (table[0].reshape(3, 3, 3)[:, 0] == 0).all()
    # Each is the other's transpose.
    other = rng.standard_normal(table.shape)
    assert (table * other).sum() == pytest.approx((x * col2im(other, x.shape, 3, 1, 1)).sum())


def test_the_books_way_computes_the_same() -> None:
    book, workload = BookStep(DEEP), DEEP.build(Ours(1), DEEP)
    results = {OURS: [workload.value(), workload.value()], BOOK: [book.value(), book.value()]}
    check(results, BOOK)
    assert book.rate == 0.5
    before = book.parameters["19.weight"].copy()
    assert np.isfinite(book.run())
    assert (book.parameters["19.weight"] != before).any()


def test_the_books_way_has_a_process_of_its_own() -> None:
    found = book_step.compare(DEEP, 1, rounds=1, seconds=0.0)
    assert list(found) == [OURS, BOOK, TRAINER]
    assert all(timing.ms > 0 for timing in found.values())
    assert found[TRAINER].results == found[BOOK].results


@pytest.mark.parametrize("name", ["deep_convnet", "resnet20"])
def test_what_is_loaded_does_not_depend_on_who_loads(name: str) -> None:
    sides = {}
    for kind in ("loaded", "prefetched"):
        step = replace(step_named(f"{name}_{kind}"), batch=2, width=8)
        workload = step.build(Ours(1), step)
        sides[kind] = [workload.value() for _ in range(3)]
    assert sides["loaded"] == sides["prefetched"]
    # Another batch each time, of which the fixed step has the first.
    step = replace(step_named(f"{name}_fixed"), batch=2, width=8)
    fixed = step.build(Ours(1), step)
    first, second = fixed.value(), fixed.value()
    assert first == sides["loaded"][0]
    assert second != sides["loaded"][1]


@pytest.mark.peer
@pytest.mark.parametrize("step", loaded.LOADED, ids=lambda step: step.name)
def test_both_sides_load_the_same(step: loaded.Step) -> None:
    pytest.importorskip("torch")
    step = replace(step, batch=3, width=8)
    sides: dict[str, Side] = {OURS: Ours(1), PEER: Peer(1, False), PEER_LAST: Peer(1, True)}
    results = {}
    for key, side in sides.items():
        workload = step.build(side, step)
        results[key] = [workload.value(), workload.value()]
    check(results)


def test_the_share_of_loading() -> None:
    def timings(ours: float, theirs: float) -> dict[str, Timing]:
        sides = {OURS: ours, PEER: theirs, PEER_LAST: 2 * theirs}
        return {side: Timing([], [ms]) for side, ms in sides.items()}

    found = {"resnet20_fixed": timings(9, 10), "resnet20_loaded": timings(12, 20)}
    lines = loaded.table(found).splitlines()
    assert lines[-1] == "| resnet20, loaded | 12 | 25.0 % | 20 | 50.0 % | 0.60 |"
    assert loaded.details(found)["resnet20_fixed"][OURS]["rounds"] == [9]


def test_growth_per_picture_and_per_pixel() -> None:
    points = [Point(1, (3, 10, 10), 2.0), Point(2, (3, 10, 10), 3.0)]
    rows = linearity.table({"x, by batch": points}).splitlines()
    assert rows[-2] == "| x, by batch | 1 x 3x10x10 | 2 | 2 | 2e+04 | 1.00 |"
    assert rows[-1] == "| x, by batch | 2 x 3x10x10 | 3 | 1.5 | 1.5e+04 | 0.75 |"


def test_four_sizes_of_each() -> None:
    for name in linearity.SIZES:
        for steps in linearity.variants(name).values():
            assert len({(step.batch, step.shape) for step in steps}) == 4
    with pytest.raises(ValueError, match="--steps has 'dqn'; expected deep_convnet"):
        linearity.Options(steps=("dqn",))


def test_a_size_is_timed() -> None:
    options = linearity.Options(rounds=1, seconds=0.01)
    assert linearity.measure(DEEP, 1, options).ms > 0


def test_kernels_are_timed_where_operations_call_them() -> None:
    model, times = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), KernelTimes()
    x = Tensor(np.ones((1, 1, 5, 5)), requires_grad=True)
    with times.recording():
        model.double()(x).sum().backward()
    model(x)
    assert times.calls["reference.convolve"] == 1
    assert times.calls["reference.convolve_weight_gradient"] == 1
    lines = kernel_table(times, 1, 1e3 * sum(times.seconds.values()))
    assert lines[0].split() == ["kernel", "calls", "ms", "of", "the", "step"]
    assert len(lines) == 2 + len(times.calls)


def test_a_step_is_profiled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(step_named("dcgan"), batch=2, width=8)
    monkeypatch.setattr("benchmarks.profile.step_named", lambda name: tiny)
    profile(ProfileOptions(step="dcgan", steps=1, threads=1))
    text = capsys.readouterr().out
    # Generator and discriminator, with the layers of each, and the optimiser's kernel.
    assert "0.0" in text and "1.0" in text and "ConvTranspose2d" in text
    assert "outside the layers" in text and ".adam" in text


def test_names_of_loaded_steps_are_free() -> None:
    names = [step.name for step in (*STEPS, *loaded.LOADED)]
    assert len(set(names)) == len(names)
