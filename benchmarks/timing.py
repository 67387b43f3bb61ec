"""Time several sides fairly on a noisy machine, and describe and measure the machine itself."""

import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from cs231n.kernels.threads import map_slices

BLOCK_SECONDS = 0.05
ROUNDS, FEWEST_ROUNDS = 5, 3
LIMIT_SECONDS = 2  # after this time there are no more than FEWEST_ROUNDS
LOOK_SECONDS = 0.01  # how long to look whether threads still spin
MOST_LOOKS = 100
SPIN = "import os\nwhile os.getppid() == {}: pass"  # ends with its parent, whatever ends that


def seconds_per_call(side, calls):
    """Return the seconds per call of `side`, after a pause and one call that does not count."""
    wait_for_threads()
    side()
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls


def compare(*sides, rounds=ROUNDS, block_seconds=BLOCK_SECONDS, time_block=seconds_per_call):
    """Return the median seconds per call of each side, in alternating blocks with a pause before each.

    Without the pause the spinning threads of one side would slow down the next. Without the alternation any
    other load on the machine could affect one side alone. Slow sides get fewer rounds.

    - time_block: time_block(side, calls) returns the seconds per call; a side may be what only it understands
    """
    calls = [max(1, round(block_seconds / time_block(side, 1))) for side in sides]
    end = time.perf_counter() + LIMIT_SECONDS
    blocks = []
    while len(blocks) < min(rounds, FEWEST_ROUNDS) or (len(blocks) < rounds and time.perf_counter() < end):
        blocks.append([time_block(side, count) for side, count in zip(sides, calls, strict=True)])
    return [statistics.median(times) for times in zip(*blocks, strict=True)]


def wait_for_threads():
    """Wait until this process's threads sleep; those of BLAS and OpenMP spin for a while after a task."""
    for _ in range(MOST_LOOKS):
        before = time.process_time()
        time.sleep(LOOK_SECONDS)
        if time.process_time() - before < LOOK_SECONDS / 10:
            return


def describe_machine():
    """Describe the processor and the versions in one line."""
    file = Path("/proc/cpuinfo")  # Linux has the processor's name there, where `platform` does not look
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    processor = f"{name} ({torch.backends.cpu.get_cpu_capability()}), {os.cpu_count()} cores"
    python = platform.python_version()
    return f"{processor}; Python {python}, NumPy {np.__version__}, PyTorch {torch.__version__}"


def matrix_product_rate(dtype, size=2048):
    """Return the best rate of NumPy's product of two large square matrices, in operations per second."""
    a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    return 2 * size**3 / min(seconds_per_call(lambda: a @ a, 1) for _ in range(4))


def copy_rate(megabytes=256):
    """Return the best rate of copying a large array on all threads, in bytes read and written per second."""
    source = np.ones(megabytes * 2**20, np.uint8)
    target = np.empty_like(source)

    def copy(part):
        target[part] = source[part]

    return 2 * source.size / min(seconds_per_call(lambda: map_slices(copy, source.size), 1) for _ in range(5))


@contextmanager
def busy_processes():
    """Keep every processor that this process may use busy with a process of its own, in a `with` block."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN.format(os.getpid())]) for _ in range(count)]
    try:
        time.sleep(0.2)  # until they have started
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
