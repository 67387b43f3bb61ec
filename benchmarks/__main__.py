"""Time our layers, updates and training steps beside PyTorch's, and print tables: `python -m benchmarks`."""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context


def main():
    """Start the processes, print the machine and the versions, then the tables."""
    options = parser().parse_args()
    for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM"):  # read once, when NumPy is imported
        os.environ[f"{library}_NUM_THREADS"] = str(options.threads)
    # Import only now, after the setting, which the processes inherit.
    from benchmarks import measure
    from benchmarks.sides import why_not_compiled
    from benchmarks.tables import Bench
    from benchmarks.timing import describe_machine

    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                ProcessPoolExecutor(1, get_context("spawn"), measure.start, (seed, options.kernels))
            )
            for seed in range(1 if options.quick else options.processes)
        ]
        first = processes[0]
        print(describe_machine())
        print(f"threads for every side: {options.threads}; processes: {len(processes)}")
        print(f"kernels of ours: {first.submit(measure.kernels_in_use).result()}")
        missing = "not with --quick" if options.quick else first.submit(why_not_compiled).result()
        if missing:
            print(f"torch.compile is left out: {missing}")
        Bench(processes, not missing, not options.quick).print_tables(options.only)


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads for every side; default: 2")
    parser.add_argument("--processes", type=int, default=3, help="that time every row; default: 3")
    parser.add_argument(
        "--only", metavar="PATTERN", default="", help="a regular expression for table and row"
    )
    parser.add_argument("--quick", action="store_true", help="one process, no torch.compile, times only")
    parser.add_argument("--kernels", default="direct", help="of ours: direct, im2col or NumPy")
    return parser


if __name__ == "__main__":
    main()
