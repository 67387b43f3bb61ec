"""Work shared among threads: slices of a minibatch, and large matrix products.

The threads are Python's own. They gain where the work releases the interpreter's lock for long, as matrix
products and the compiled kernels do. There are as many as the BLAS has been given, so that one setting
serves both: OMP_NUM_THREADS in the environment, or `use_threads` in a program. Some BLAS, such as Apple's
Accelerate, do not say how many they use and take no limit: our threads then follow OMP_NUM_THREADS, or else
are as many as the processors, and matrix products are left to the BLAS.

Where there are as many threads as processors, each stays on a processor of its own, and the calling thread
waits. Left to themselves, threads that sleep between tasks of a millisecond are often woken on the processor
of the one that wakes them: they then work one after the other, while another processor has nothing to do.

Threads of the BLAS itself would do for matrix products, but these spin for a while after their last task,
and then take the processor from whatever comes next in ours.
"""

import os
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  loads the BLAS of the compiled kernels, to be found below
from threadpoolctl import ThreadpoolController

LARGE = 2**26  # multiplications from which on a matrix product is worth waking our threads

_sharing = Lock()  # held while a call shares its work out: the BLAS's limit is one for the whole process
_asked = None  # the number of threads within `use_threads`


def matmul(a, b):
    """The matrix product a @ b; of a large one, each thread computes some of the rows or columns."""
    if len(a) * b.size < LARGE or not _blas().lib_controllers:  # its threads and ours would be too many
        return a @ b
    out = np.empty((len(a), b.shape[1]), a.dtype)
    if len(a) > b.shape[1]:
        map_slices(lambda rows: np.matmul(a[rows], b, out=out[rows]), len(a))
    else:
        map_slices(lambda columns: np.matmul(a, b[:, columns], out=out[:, columns]), b.shape[1])
    return out


def map_slices(function, length):
    """[function(slice), ...] for slices that share `length` examples out, one to each thread, in order.

    Meanwhile every thread's matrix products stay on that thread. Calls from several threads at once, or
    from within `function`, do not share their work out again: they do it where they are.
    """
    count = min(num_threads(), length)
    if count == 1 or not _sharing.acquire(blocking=False):
        return [function(slice(0, length))]
    slices = [slice(length * i // count, length * (i + 1) // count) for i in range(count)]
    try:
        with use_threads(1):
            workers, results = _workers(os.getpid(), count), []
            try:
                for worker, part in zip(workers, slices, strict=True):
                    results.append(worker.submit(function, part))
                return [result.result() for result in results]
            finally:  # after an error or Ctrl-C too: what they write into must outlive them
                wait(results)
    finally:
        _sharing.release()


def num_threads():
    """The number of threads that share work at present, see above."""
    if _asked is not None:
        return _asked
    return max((library.num_threads for library in _blas().lib_controllers), default=_from_environment())


@contextmanager
def use_threads(count):
    """Share work among this many threads in the `with` block; the BLAS uses as many, if it takes a limit."""
    global _asked
    before, _asked = _asked, count
    try:
        with _blas().limit(limits=count):
            yield
    finally:
        _asked = before


def _from_environment():
    """OMP_NUM_THREADS; without it, or where it is no number, the processors that this process may use."""
    with suppress(ValueError):
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "")))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _blas():
    return ThreadpoolController().select(user_api="blas")


@cache
def _workers(process, count):
    """As many waiting threads of a process, each a pool of one; its parent's are not there after a fork."""
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    own = [{processor} for processor in processors] if len(processors) == count else [None] * count
    name = f"cs231n-{process}"
    return [ThreadPoolExecutor(1, name, initializer=_stay_on, initargs=(place,)) for place in own]


def _stay_on(processors):
    with suppress(OSError):  # where that is forbidden, as in some sandboxes, threads go anywhere
        if processors:
            os.sched_setaffinity(0, processors)  # of this thread alone, on Linux
