"""The pool: every chunk once, errors come out, forks and nesting work."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from core.kernels import threads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(before)


def test_every_chunk_runs_once() -> None:
    seen: list[int] = []
    threads.run(seen.append, 100)
    assert sorted(seen) == list(range(100))


def test_two_threads_share_the_work() -> None:
    meeting = threading.Barrier(2, timeout=10)
    threads.run(lambda chunk: meeting.wait(), 2)


def test_one_chunk_stays_on_the_calling_thread() -> None:
    names: list[str] = []
    threads.run(lambda chunk: names.append(threading.current_thread().name), 1)
    assert names == [threading.current_thread().name]


def test_nested_work_does_not_wait_for_itself() -> None:
    seen: list[tuple[int, int]] = []
    threads.run(lambda i: threads.run(lambda j: seen.append((i, j)), 3), 4)
    assert sorted(seen) == [(i, j) for i in range(4) for j in range(3)]


def test_errors_come_out() -> None:
    def fail(chunk: int) -> None:
        raise RuntimeError(f"chunk {chunk}")

    with pytest.raises(RuntimeError, match="chunk"):
        threads.run(fail, 8)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_pool_is_remade_after_a_fork() -> None:
    threads.run(lambda chunk: None, 4)
    child = os.fork()
    if not child:
        seen: list[int] = []
        threads.run(seen.append, 10)
        os._exit(0 if sorted(seen) == list(range(10)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_scratch_grows_and_is_each_threads_own() -> None:
    first = threads.scratch("a", 10)
    assert threads.scratch("a", 5) is first
    assert threads.scratch("b", 5) is not first
    assert threads.scratch("a", 1000).size >= 1000
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.append(threads.scratch("a", 5)))
    thread.start()
    thread.join()
    assert others[0] is not threads.scratch("a", 5)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_bad_numbers_of_threads(number: object) -> None:
    with pytest.raises(ValueError, match="expected an int >= 1"):
        threads.set_num_threads(number)  # type: ignore[arg-type]


def test_the_environment_sets_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBOOK_NUM_THREADS", "3")
    monkeypatch.setattr(threads, "_state", threads._State())
    assert threads.get_num_threads() == 3


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_a_bad_environment_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OPENBOOK_NUM_THREADS", text)
    monkeypatch.setattr(threads, "_state", threads._State())
    with pytest.raises(ValueError, match="OPENBOOK_NUM_THREADS"):
        threads.get_num_threads()
