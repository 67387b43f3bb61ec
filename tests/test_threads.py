"""Work shared among threads: slices of a minibatch."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from functools import cache

import numpy as np
import pytest
from conftest import PATIENCE, compiled
from threadpoolctl import ThreadpoolController

from cs231n.kernels import threads

pytestmark = pytest.mark.q4
compiled("denormals_cython")

PROCESSORS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


@pytest.fixture
def two_threads():
    with threads.use_threads(2):
        assert threads.num_threads() == 2
        yield


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 100])
def test_slices_cover_every_example_once_and_in_order(monkeypatch, count, length):
    monkeypatch.setattr(threads, "num_threads", lambda: count)
    parts = threads.map_slices(lambda part: np.arange(length)[part], length)
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(length))
    assert len(parts) == min(count, length)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_slices_are_worked_on_at_the_same_time_each_on_one_thread(two_threads):
    together = threading.Barrier(2)

    def work(part):
        together.wait(timeout=PATIENCE)  # as long as nobody else comes, this one does not get on
        return threading.get_ident(), threads.num_threads()

    (first, _), (second, blas_threads) = threads.map_slices(work, 2)
    assert first != second and threading.get_ident() in (first, second)  # the caller does its share
    assert blas_threads == 2
    (_, blas_threads), _ = threads.map_slices(work, 2, calls_blas=True)
    assert blas_threads == 1
    assert threads.num_threads() == 2


def test_a_single_slice_has_all_threads_of_the_blas(two_threads):
    assert threads.map_slices(lambda part: (part, threads.num_threads()), 1) == [(slice(0, 1), 2)]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_is_raised_once_every_slice_has_ended(two_threads, failing):
    ended = []

    def work(part):
        if part.start == failing:
            raise ArithmeticError(f"slice {failing}")
        time.sleep(0.05)
        ended.append(part.start)

    with pytest.raises(ArithmeticError, match=f"slice {failing}"):
        threads.map_slices(work, 2)
    assert ended == [1 - failing]
    assert threads.num_threads() == 2
    assert threads.map_slices(lambda part: part.start, 2) == [0, 1]  # and the threads are still there


def test_an_error_is_raised_once_every_slice_of_many_has_ended(monkeypatch):
    monkeypatch.setattr(threads, "num_threads", lambda: 3)
    ended = []

    def work(part):
        if part.start == 1:
            raise ArithmeticError("slice 1")
        time.sleep(0.1 * part.start)
        ended.append(part.start)

    with pytest.raises(ArithmeticError, match="slice 1"):
        threads.map_slices(work, 3)
    assert ended == [0, 2]


def test_slices_within_slices_are_worked_on_where_they_are(monkeypatch):
    monkeypatch.setattr(threads, "num_threads", lambda: 2)

    def work(part):
        here = threading.get_ident()
        assert threads.map_slices(lambda inner: (inner, threading.get_ident()), 5) == [(slice(0, 5), here)]
        return part.start

    for _ in range(3):
        assert threads.map_slices(work, 4) == [0, 2]


def test_a_second_thread_does_not_wait_for_the_slices_of_the_first(monkeypatch):
    monkeypatch.setattr(threads, "num_threads", lambda: 2)
    in_the_middle, done = threading.Barrier(3), threading.Event()

    def work(part):
        in_the_middle.wait(timeout=PATIENCE)
        assert done.wait(timeout=PATIENCE)

    first = threading.Thread(target=threads.map_slices, args=(work, 2))
    first.start()
    in_the_middle.wait(timeout=PATIENCE)
    assert threads.map_slices(lambda part: part, 6) == [slice(0, 6)]
    done.set()
    first.join()
    assert threads.map_slices(lambda part: part.start, 2) == [0, 1]  # and work is shared again


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also in a process that a shell has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to threads here")
@pytest.mark.parametrize("duration", [0, 1], ids=["while_it_waits", "while_it_works"])
def test_an_interrupt_of_the_caller_is_raised_once_every_slice_has_ended(
    two_threads, interruptible, duration
):
    ended, caller, together = [], threading.get_ident(), threading.Barrier(2)

    def work(part):
        together.wait(timeout=PATIENCE)
        if threading.get_ident() == caller:
            time.sleep(duration)
            return
        time.sleep(0.05)
        signal.pthread_kill(caller, signal.SIGINT)
        time.sleep(0.1)
        ended.append(part)

    with pytest.raises(KeyboardInterrupt):
        threads.map_slices(work, 2)
    assert len(ended) == 1
    assert threads.num_threads() == 2
    assert threads.map_slices(lambda part: part.start, 2) == [0, 1]  # and the threads are still there


def test_an_interrupt_before_all_slices_have_begun_is_raised_once_those_that_have_ended(monkeypatch):
    class Interrupted:
        processors = frozenset()

        def start(self, function, part):
            raise KeyboardInterrupt

    monkeypatch.setattr(threads, "num_threads", lambda: 3)
    monkeypatch.setattr(threads, "_current_processor", lambda: -1)  # the caller has slice 0
    workers = threads._workers.__wrapped__(os.getpid(), 2)
    monkeypatch.setattr(threads, "_workers", lambda process, count: [*workers, Interrupted()])
    ended = []

    def work(part):
        time.sleep(0.05)
        ended.append(part.start)

    with pytest.raises(KeyboardInterrupt):
        threads.map_slices(work, 3)
    assert ended == [1]


def test_a_thread_keeps_nothing_of_what_it_was_given(two_threads):
    class Array:
        pass

    def share():
        array = Array()
        threads.map_slices(lambda part: array, 2)
        return weakref.ref(array)

    assert share()() is None


@pytest.mark.skipif(sys.platform == "win32", reason="no fork here")
def test_threads_are_there_again_after_a_fork():
    program = (
        "import os, signal\n"
        "from cs231n.kernels import threads\n"
        "threads.num_threads = lambda: 2\n"
        "assert threads.map_slices(lambda part: part.start, 2) == [0, 1]\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        f"    signal.alarm({PATIENCE})\n"
        "    os._exit(0 if threads.map_slices(lambda part: part.start, 2) == [0, 1] else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=PATIENCE, check=False)
    assert done.returncode == 0


@pytest.fixture
def processors(monkeypatch):
    """Those that this process may use, of which new threads are told."""
    if PROCESSORS is None:
        pytest.skip("a thread cannot be told where to stay here")
    assert sorted(os.sched_getaffinity(0)) == PROCESSORS  # no call before has tied its caller to one of them
    monkeypatch.setattr(threads, "_workers", cache(threads._workers.__wrapped__))
    return PROCESSORS


def test_as_many_threads_as_processors_stay_each_on_its_own(monkeypatch, processors):
    if len(processors) == 1:
        pytest.skip("there is just one processor")
    monkeypatch.setattr(threads, "num_threads", lambda: len(processors))
    for here in processors:
        monkeypatch.setattr(threads, "_current_processor", lambda here=here: here)
        expected = [set(processors) if processor == here else {processor} for processor in processors]
        for length in (len(processors), 10 * len(processors)):
            assert threads.map_slices(lambda part: os.sched_getaffinity(0), length) == expected
    assert sorted(os.sched_getaffinity(0)) == processors  # the caller's thread may go anywhere, as before


@pytest.mark.parametrize("count", [2, 4])
def test_fewer_or_more_threads_than_processors_may_go_anywhere(monkeypatch, processors, count):
    really = os.sched_getaffinity
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    monkeypatch.setattr(threads, "num_threads", lambda: count)
    assert threads.map_slices(lambda part: sorted(really(0)), count) == [processors] * count


def test_threads_that_cannot_be_told_where_to_stay_work_all_the_same(monkeypatch, processors):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(threads, "num_threads", lambda: len(processors) + 1)
    lengths = threads.map_slices(lambda part: part.stop - part.start, 3 * len(processors) + 3)
    assert lengths == [3] * (len(processors) + 1)


def test_threads_that_may_not_be_told_where_to_stay_work_all_the_same(monkeypatch, processors):
    def refuse(process, places):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setattr(threads, "num_threads", lambda: len(processors))
    places = threads.map_slices(lambda part: sorted(os.sched_getaffinity(0)), len(processors))
    assert places == [processors] * len(processors)


def test_a_thread_always_works_on_the_same_slice(monkeypatch, two_threads):
    monkeypatch.setattr(threads, "_current_processor", lambda: 0)
    before = threads.map_slices(lambda part: threading.get_ident(), 2)
    assert threads.map_slices(lambda part: threading.get_ident(), 9) == before


def test_a_sandbox_that_hides_the_blas_is_one_without_it(monkeypatch):
    def refuse():
        raise PermissionError

    monkeypatch.setattr(threads, "ThreadpoolController", refuse)
    monkeypatch.setattr(threads, "_blas", threads._blas.__wrapped__)
    with threads.use_threads(2):
        assert threads.map_slices(lambda part: part.start, 2) == [0, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.num_threads() == 3


@pytest.fixture
def silent_blas(monkeypatch):
    """As with Apple's Accelerate, of which threadpoolctl knows nothing."""
    none = ThreadpoolController().select(user_api="of none")
    monkeypatch.setattr(threads, "_blas", lambda: none)


@pytest.mark.parametrize("setting, count", [("3", 3), ("0", 1), ("", None), ("many", None), ("2,1", None)])
def test_with_a_silent_blas_the_environment_decides(silent_blas, monkeypatch, setting, count):
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    processors = len(PROCESSORS) if PROCESSORS else os.cpu_count()
    assert threads.num_threads() == (count or processors)


def test_with_a_silent_blas_work_is_shared_all_the_same(silent_blas):
    assert not threads.blas_takes_a_limit()
    with threads.use_threads(2):
        counts = threads.map_slices(lambda part: (part.start, threads.num_threads()), 2, calls_blas=True)
        assert counts == [(0, 1), (1, 1)]


# Denormal numbers as 0

SMALLEST = np.full(3, np.finfo(np.float32).tiny)  # of the normal numbers
HALF_OF_SMALLEST = SMALLEST / 2


def keeps_denormals():
    """Whether this thread computes with denormal numbers: both as an operand and as a result."""
    as_result, as_operand = (SMALLEST / 2).any(), (HALF_OF_SMALLEST * 2).any()
    assert as_result == as_operand
    return bool(as_result)


def test_denormals_are_0_within_the_block_and_nowhere_else():
    assert keeps_denormals()
    with threads.denormals_as_zeros():
        assert not keeps_denormals()
        with threads.denormals_as_zeros():
            assert not keeps_denormals()
        assert not keeps_denormals()
    assert keeps_denormals()


def test_denormals_are_back_after_an_error():
    with pytest.raises(ArithmeticError), threads.denormals_as_zeros():
        raise ArithmeticError
    assert keeps_denormals()


def test_threads_take_denormals_as_their_caller_does(two_threads):
    assert threads.map_slices(lambda part: keeps_denormals(), 2) == [True, True]
    with threads.denormals_as_zeros():
        assert threads.map_slices(lambda part: keeps_denormals(), 2) == [False, False]
    assert threads.map_slices(lambda part: keeps_denormals(), 2) == [True, True]
