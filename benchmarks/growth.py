"""Measure how the time of a convolution grows with its sizes and with threads, ours and PyTorch's.

    python -m benchmarks.growth           # measure (4 minutes) into growth.csv, then what --draw does
    python -m benchmarks.growth --draw    # draw growth.png and write the table in README.md from growth.csv

growth.csv grows case by case; --draw uses whatever an interrupted run has written.
"""

import argparse
import csv
import statistics
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.layers import convolution
from benchmarks.sides import Variant
from benchmarks.timing import describe_machine, matrix_product_rate, seconds_per_call
from cs231n.kernels.threads import use_threads
from cs231n.vis_utils import COLORS, DASHES, STYLE

FOLDER = Path(__file__).parent
BASE = {"batch": 32, "channels": 32, "side": 32}  # images; channels, and as many filters; pixels
SIZES = {  # the values of one size while the others stay as in BASE
    "batch": tuple(2**i for i in range(10)),
    "channels": (3, 8, 16, 32, 64, 128, 256),
    "side": (8, 16, 32, 64, 128),
}
AXES = {"batch": "images in the batch", "channels": "channels = filters", "side": "image side, pixels"}
THREADS = (1, 2)

BLOCK_SECONDS = 0.08
ROUNDS, FEWEST_ROUNDS = 9, 3
CASE_SECONDS = 8  # after this time a case gets no more than FEWEST_ROUNDS

COLUMNS = "batch", "channels", "side", "threads", "ours, ms", "PyTorch, ms"
BEGIN = "<!-- The table from here on is written by `python -m benchmarks.growth`. -->"
END = "<!-- Here it ends. -->"


class Row(NamedTuple):
    """Milliseconds of one forward and backward pass."""

    batch: int
    channels: int
    side: int
    threads: int
    ours: float
    pytorch: float

    @property
    def work(self):
        """Return a number proportional to the multiplications."""
        return self.batch * self.channels**2 * self.side**2

    @property
    def ratio(self):
        return self.ours / self.pytorch


def cases():
    """Return every (batch, channels, side) once: the base case, then those that differ in one size."""
    others = [tuple((BASE | {name: size}).values()) for name, sizes in SIZES.items() for size in sizes]
    return list(dict.fromkeys([tuple(BASE.values()), *others]))


def measure(case, threads):
    """Time a 3x3 convolution of stride 1 and pad 1 in float32: a Row for each number of threads."""
    batch, channels, side = case
    shapes = (batch, channels, side, side), (channels, 3, 3)
    row = convolution(*shapes, 1, 1)
    both = row.our_side(np.float32, 0), row.their_side(Variant(), np.float32, 0)
    row.agree(*both)
    medians = _alternate([(count, each) for count in threads for each in both])
    pairs = zip(threads, medians[::2], medians[1::2], strict=True)
    return [Row(*case, count, 1e3 * ours, 1e3 * theirs) for count, ours, theirs in pairs]


def _alternate(runs):
    """Return the median seconds per call of every (threads, function), in alternating blocks after pauses.

    This is `benchmarks.timing.compare` with fewer rounds of slow functions.
    """
    calls = [max(1, round(BLOCK_SECONDS / _block(*run, 1))) for run in runs]
    end = time.perf_counter() + CASE_SECONDS
    rounds = []
    while len(rounds) < FEWEST_ROUNDS or (len(rounds) < ROUNDS and time.perf_counter() < end):
        rounds.append([_block(*run, count) for run, count in zip(runs, calls, strict=True)])
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def _block(threads, function, calls):
    with threads_for_all(threads):
        return seconds_per_call(function, calls)


@contextmanager
def threads_for_all(count):
    """Let our layers, PyTorch and a BLAS that takes a limit use this many threads in a `with` block."""
    before = torch.get_num_threads()
    with use_threads(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def record(path, threads):
    """Measure every case and write its rows into a CSV file at once, below a line about the machine."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        with threads_for_all(max(threads)):
            rate = f"{matrix_product_rate(np.float32) / 1e9:.0f} GFLOP/s in float32"
        product = f"a large matrix product, {_threads_text(max(threads))}: {rate}"
        file.write(f"# {describe_machine()}; {product}\n")
        writer.writerow(COLUMNS)
        for case in tqdm(cases(), "growth", unit="case"):
            writer.writerows([*row[:4], *(f"{ms:.4f}" for ms in row[4:])] for row in measure(case, threads))
            file.flush()


def read(path):
    """Return the line about the machine and the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        machine = file.readline().removeprefix("# ").strip()
        _, *lines = csv.reader(file)
    return machine, [Row(*map(int, line[:4]), *map(float, line[4:])) for line in lines]


def growing(rows, name):
    """Return {threads: rows} in which only the size `name` differs from the base case, smallest first."""
    fixed = {other: size for other, size in BASE.items() if other != name}
    chosen = [row for row in rows if all(getattr(row, other) == size for other, size in fixed.items())]
    chosen.sort(key=lambda row: getattr(row, name))
    counts = sorted({row.threads for row in chosen})
    return {count: [row for row in chosen if row.threads == count] for count in counts}


def draw(rows):
    """Return the figure: times above, their ratios below, a column of panels for each size."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 6.4), dpi=100)
        axes = figure.subplots(2, len(SIZES), sharex="col", sharey="row", height_ratios=(3, 2))
        for (times, ratios), name in zip(axes.T, SIZES, strict=True):
            _draw_times(times, name, growing(rows, name))
            _draw_ratios(ratios, name, growing(rows, name))
        ratios = [row.ratio for row in rows]
        bottom, top = min(0.4, 0.9 * min(ratios)), max(2.5, 1.1 * max(ratios))
        axes[1, 0].set_ylim(bottom, top)  # shows both sides of 1
        axes[0, 0].set_ylabel("forward + backward, ms")
        axes[1, 0].set_ylabel("ours / PyTorch's\n(below 1 ours are faster)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _draw_times(axes, name, lines):
    """Draw {threads: rows}, ours and PyTorch's, and a line of times in proportion to the work."""
    for (count, rows), style in zip(lines.items(), _styles(len(lines)), strict=True):
        sizes = [getattr(row, name) for row in rows]
        for label, color, side in (("ours", COLORS[0], "ours"), ("PyTorch", COLORS[1], "pytorch")):
            times = [getattr(row, side) for row in rows]
            axes.loglog(sizes, times, color=color, label=f"{label}, {_threads_text(count)}", **style)
    largest = rows[-1]
    even = [largest.ours * row.work / largest.work for row in rows]
    style = {"color": "#888888", "linewidth": 1, "linestyle": ":", "zorder": 1}
    axes.loglog(sizes, even, label="in proportion to the work", **style)
    axes.yaxis.set_major_formatter("{x:g}")


def _draw_ratios(axes, name, lines):
    """Draw {threads: rows}, with a line where both take the same time."""
    axes.axhline(1, color=COLORS[1], linewidth=1, linestyle="-", zorder=1.6)  # above the grid
    for rows, style in zip(lines.values(), _styles(len(lines)), strict=True):
        sizes = [getattr(row, name) for row in rows]
        axes.loglog(sizes, [row.ratio for row in rows], color=COLORS[0], **style)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(AXES[name])
    axes.set_xticks(SIZES[name], SIZES[name], fontsize="small")
    axes.minorticks_off()


def _styles(count):
    """Yield `count` styles of dashes and markers; the last, for the most threads, is a solid line."""
    for dashes in reversed(DASHES[:count]):
        face = {} if dashes == "-" else {"markerfacecolor": "white"}
        yield {"linestyle": dashes, "marker": "o", "markersize": 4, **face}


def table(rows):
    """Return the rows as a table in Markdown, with a part for each size."""
    counts = sorted({row.threads for row in rows})
    columns = [f"{_threads_text(count)}, ms: ours | PyTorch | ours / PyTorch" for count in counts]
    lines = [f"| size | {' | '.join(columns)} |", "|---" * (1 + 3 * len(counts)) + "|"]
    for name in SIZES:
        for group in zip(*growing(rows, name).values(), strict=True):
            cells = [f"{number:.2f}" for row in group for number in (row.ours, row.pytorch, row.ratio)]
            lines.append(f"| {name} {getattr(group[0], name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _threads_text(count):
    return f"{count} thread{'s' if count > 1 else ''}"


def with_table(text, machine, rows):
    """Return the text of README.md with a new table and a new line about the machine."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md must have the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{machine}.\n\n{table(rows)}\n\n{end}{after}"


def main(arguments=None, folder=FOLDER):
    """Measure unless --draw is given, then draw; growth.csv, growth.png and README.md are in `folder`."""
    about = __doc__.partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=about)
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS, help="default: 1 2")
    parser.add_argument("--draw", action="store_true", help="measure nothing; only draw growth.csv again")
    options = parser.parse_args(arguments)
    if not options.draw:
        record(folder / "growth.csv", options.threads)
    machine, rows = read(folder / "growth.csv")
    draw(rows).savefig(folder / "growth.png")
    readme = folder / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), machine, rows), encoding="utf-8")
    print(f"{machine}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
