"""Time our layers and PyTorch's, and print tables: `python -m benchmarks [--threads N]`."""

import argparse
import os
import platform


def main():
    """Print the machine and the versions, then the tables; compare results before timing them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads for every side; default: 2")
    threads = parser.parse_args().threads
    for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM"):  # read once, when NumPy is imported
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    # Import only now, after the setting. The processes that measure memory inherit it.
    import numpy as np
    import torch

    from benchmarks import layers, training
    from benchmarks.timing import matrix_product_rate

    torch.set_num_threads(threads)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, {threads} threads for every side")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}")
    for dtype in (np.float32, np.float64):
        print(f"a large matrix product, {dtype.__name__}: {matrix_product_rate(dtype) / 1e9:.0f} GFLOP/s")
    for dtype in (np.float32, np.float64):
        heading = "x; filters; stride, pad"
        layers.print_table("convolution", heading, layers.convolutions(), dtype)
        layers.print_table("max pooling", "x; window; stride", layers.poolings(), dtype)
    training.print_table()


if __name__ == "__main__":
    main()
