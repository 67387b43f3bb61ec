"""Time everything and print one table: `python -m benchmarks [--threads N]`."""

import argparse
import os
import platform

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("--threads", type=int, default=2, help="for either side; default: 2")
threads = parser.parse_args().threads
for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM"):  # read once, when NumPy is imported
    os.environ[f"{library}_NUM_THREADS"] = str(threads)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import fully_connected  # noqa: E402
from benchmarks.timing import compare  # noqa: E402

torch.set_num_threads(threads)
print(
    f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {threads} threads for either side"
)
print(f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}; float32\n")
print("| what | ours, ms | PyTorch, ms | ratio |\n|---|---|---|---|")
for name, make_sides in fully_connected.CASES.items():
    ours, theirs = compare(*make_sides())
    print(f"| {name} | {1e3 * ours:.2f} | {1e3 * theirs:.2f} | {ours / theirs:.2f} |", flush=True)
