"""Work shared among threads: slices of a minibatch, and large matrix products.

The threads are Python's own. They gain where the work releases the interpreter's lock for long, as matrix
products and the compiled kernels do. There are as many as the BLAS has been given, so that one setting
serves both: OMP_NUM_THREADS in the environment, or `threadpoolctl.threadpool_limits` in a program.

Where there are as many threads as processors, each stays on a processor of its own, and the calling thread
waits. Left to themselves, threads that sleep between tasks of a millisecond are often woken on the processor
of the one that wakes them: they then work one after the other, while another processor has nothing to do.

Threads of the BLAS itself would do for matrix products, but these spin for a while after their last task,
and then take the processor from whatever comes next in ours.
"""

import os
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from threading import Lock

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  loads the BLAS of the compiled kernels, to be found below
from threadpoolctl import ThreadpoolController

LARGE = 2**26  # multiplications from which on a matrix product is worth waking our threads

_sharing = Lock()  # held while a call shares its work out: the BLAS's limit is one for the whole process


def matmul(a, b):
    """The matrix product a @ b; of a large one, each thread computes some of the rows or columns."""
    if len(a) * b.size < LARGE:
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
        with _blas().limit(limits=1):
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
    """The number of threads that the BLAS may use at present; all cores where it does not tell."""
    return max((library.num_threads for library in _blas().lib_controllers), default=os.cpu_count() or 1)


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
