"""Work shared among threads: slices of a minibatch, or of a matrix product.

The threads are Python's own. They gain where the work releases the interpreter's lock for long, as matrix
products and the compiled kernels do. There are as many as the BLAS has been given, so that one setting
serves both: OMP_NUM_THREADS in the environment, or `use_threads` in a program. Some BLAS, such as Apple's
Accelerate, do not say how many they use and take no limit: our threads then follow OMP_NUM_THREADS, or else
are as many as the processors, and matrix products are left to the BLAS.

Where there are as many threads as processors, each stays on a processor of its own, and the calling thread
does the work of the one that would share its processor. Left to themselves, threads that sleep between tasks
of a millisecond are often woken on the processor of the one that wakes them: they then work one after the
other, while another processor has nothing to do.

Threads of the BLAS itself would do for matrix products, but these spin for a while after their last task,
and then take the processor from whatever comes next in ours: see `cs231n.kernels.matmul`.

`denormals_as_zeros` is for training. Denormal numbers lie closer to 0 than the smallest normal one, 1e-38 in
float32. Where a net has learned its minibatch, probabilities and averages decay into them, and some
processors take up to a hundred times as long for each. (On threads of the BLAS they stay what they are.)
"""

import ctypes
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

import scipy.linalg.cython_blas  # noqa: F401  loads the BLAS of the compiled kernels, to be found below
from threadpoolctl import ThreadpoolController

try:
    from cs231n.kernels.denormals_cython import flush, flushes
except ImportError:  # not built: denormals are computed with

    def flush(on: bool) -> bool:
        return False

    def flushes() -> bool:
        return False


Result = TypeVar("Result")

# Work is measured in multiplications of a compiled convolution. Threads share work of at least WORTH_SHARING:
# less is done before they have been woken and waited for, which takes some 0.05 ms.
WORTH_SHARING = 2**22
MATRIX_PRODUCT = 0.5  # the work of one multiplication of a matrix product
COMPARISON = 64  # of comparing two numbers in a pooling
COMPILED_UPDATE = 32  # of updating one element of a parameter in compiled code
NORMALIZATION = 32  # of normalizing one number, forward or backward
ELEMENTWISE = 16  # of a ReLU or of dropout, likewise
EXPONENTIAL = 64  # of one number of a softmax
# Updates in NumPy take longer, but threads gain less from it: they wait for each other between operations.
NUMPY_UPDATE = 16

_sharing = Lock()  # held while a call shares its work: the BLAS has one limit for the whole process
_asked: int | None = None  # the number of threads within `use_threads`


def is_worth_sharing(work: float) -> bool:
    """Return whether threads share this much work, in multiplications of a compiled convolution."""
    return work >= WORTH_SHARING


def map_slices(
    function: Callable[[slice], Result], length: int, work: float = math.inf, calls_blas: bool = False
) -> list[Result]:
    """Return [function(slice), ...] for slices that divide `length` examples among the threads, in order.

    The calling thread does work that is not worth sharing, see above, in one slice. Calls from several
    threads at once, or from within `function`, do not share their work again: they do it where they are.

    - calls_blas: whether `function` does; each thread's matrix products then stay on it, which takes a while
      to arrange
    """
    count = min(num_threads(), length) if is_worth_sharing(work) else 1
    if count <= 1 or not _sharing.acquire(blocking=False):
        return [function(slice(0, length))]
    slices = [slice(length * i // count, length * (i + 1) // count) for i in range(count)]
    flushing = flushes()

    def as_the_caller(part: slice) -> Result:
        flush(flushing)
        return function(part)

    try:
        with use_threads(1) if calls_blas else nullcontext():
            workers = _workers(os.getpid(), count)
            own = _slice_of_the_caller(workers)
            tasks: list[_Task[Result]] = []
            try:
                for i, worker in enumerate(workers):
                    if i != own:
                        tasks.append(worker.start(as_the_caller, slices[i]))
                result = function(slices[own])
                results = [task.result() for task in tasks]
                return [*results[:own], result, *results[own:]]
            finally:  # after an error or Ctrl-C too: what they write into must outlive them
                for task in tasks:
                    task.wait()
    finally:
        _sharing.release()


def blas_takes_a_limit() -> bool:
    """Return whether the BLAS can be held to fewer threads than it has."""
    return bool(_blas().lib_controllers)


def num_threads() -> int:
    """Return the number of threads that share work at present: see the top of this module."""
    if _asked is not None:
        return _asked
    libraries = _blas().lib_controllers
    return max(library.num_threads for library in libraries) if libraries else _from_environment()


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Share work among this many threads in the `with` block; the BLAS uses as many, if it takes a limit."""
    global _asked
    before, _asked = _asked, count
    try:
        with _limited_blas(count):
            yield
    finally:
        _asked = before


@contextmanager
def denormals_as_zeros() -> Iterator[None]:
    """Take denormal numbers for 0 in the `with` block, on the calling thread and on ours that work for it."""
    before = flush(True)
    try:
        yield
    finally:
        flush(before)


@contextmanager
def _limited_blas(count: int) -> Iterator[None]:
    """Let each BLAS use this many threads within the block; threadpoolctl's own `limit` is slower."""
    before = [(library, library.num_threads) for library in _blas().lib_controllers]
    try:
        for library, _ in before:
            library.set_num_threads(count)
        yield
    finally:
        for library, number in before:
            library.set_num_threads(number)


def _from_environment() -> int:
    """Return OMP_NUM_THREADS or, where that is not a number, how many processors this process may use."""
    with suppress(ValueError):
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "")))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _UnknownBlas:
    """Stands for a BLAS that tells nothing and takes no limit."""

    lib_controllers = ()


@cache
def _blas() -> Any:
    try:
        return ThreadpoolController().select(user_api="blas")
    except OSError:  # a sandbox may forbid to look which libraries are loaded
        return _UnknownBlas()


class _Task(Generic[Result]):
    """What a worker has been given to do."""

    def __init__(self, function: Callable[[slice], Result], part: slice) -> None:
        self._function, self._part = function, part
        self._error: BaseException | None = None
        self._running = Lock()
        self._running.acquire()

    def run(self) -> None:
        try:
            self._result = self._function(self._part)
        except BaseException as error:  # raised where the result is asked for
            self._error = error
        finally:
            self._running.release()

    def wait(self) -> None:
        with self._running:
            pass

    def result(self) -> Result:
        self.wait()
        if self._error is not None:
            raise self._error
        return self._result


class _Worker:
    """A thread that sleeps until it is given something to do.

    A pool of one thread (concurrent.futures) does more, and takes ten times as long to hand a slice over.
    """

    def __init__(self, name: str, processors: set[int]) -> None:
        self.processors = processors
        self._tasks: SimpleQueue[_Task[Any]] = SimpleQueue()
        Thread(target=self._work, name=name, daemon=True).start()

    def start(self, function: Callable[[slice], Result], part: slice) -> _Task[Result]:
        task = _Task(function, part)
        self._tasks.put(task)
        return task

    def _work(self) -> None:
        _stay_on(self.processors)
        while True:
            self._tasks.get().run()  # without a name, which would keep its arrays until the next one


@cache
def _workers(process: int, count: int) -> list[_Worker]:
    """Return this many waiting threads. A process that was forked starts its own."""
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    own: list[set[int]] = [{processor} for processor in processors]
    if len(own) != count:
        own = [set()] * count  # of no processor in particular
    return [_Worker(f"cs231n-{process}", place) for place in own]


def _slice_of_the_caller(workers: list[_Worker]) -> int:
    """Return which slice the calling thread computes: that of the worker that stays where it is now."""
    here = {_current_processor()}
    return next((i for i, worker in enumerate(workers) if worker.processors == here), 0)


def _current_processor() -> int:
    """Return the processor that the calling thread is on; -1 where the system does not tell."""
    return int(_sched_getcpu()())


@cache
def _sched_getcpu() -> Callable[[], int]:
    """Return the function of Linux. It keeps the interpreter's lock: to give that away takes longer."""
    try:
        function: Callable[[], int] = ctypes.PyDLL(None).sched_getcpu
        return function
    except (AttributeError, OSError, TypeError):  # another system, or a sandbox that forbids to look
        return lambda: -1


def _stay_on(processors: set[int]) -> None:
    with suppress(OSError):  # some sandboxes forbid it: then threads run on any processor
        if processors:
            os.sched_setaffinity(0, processors)  # of this thread alone, on Linux
