"""Measure how time grows with size and with threads, ours and PyTorch's.

    python -m benchmarks.growth              # measure into growth.csv, then what --draw does
    python -m benchmarks.growth --only norm  # measure some sweeps again, and keep the others
    python -m benchmarks.growth --draw       # draw growth.png and write README.md's table from growth.csv

growth.csv grows case by case; --draw uses whatever an interrupted run has written.
"""

import argparse
import csv
import re
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.layers import convolution, layer_norm, spatial_batch_norm
from benchmarks.timing import compare, describe_machine, matrix_product_rate, seconds_per_call
from benchmarks.training import CASES, Training
from cs231n.kernels.threads import use_threads
from cs231n.vis_utils import COLORS, DASHES, STYLE

FOLDER = Path(__file__).parent
THREADS = (1, 2)
BATCHES = tuple(2**i for i in range(8))
BASE = 32  # images, channels and pixels of what does not change
COLUMNS = "sweep", "size", "threads", "ours, ms", "PyTorch, ms"
BEGIN = "<!-- The table from here on is written by `python -m benchmarks.growth`. -->"
END = "<!-- Here it ends. -->"


class Sweep(NamedTuple):
    """Something that is timed in many sizes.

    - axis: what the size is
    - make: make(size) returns the row, as `python -m benchmarks` times it
    - power: of the size that the work is proportional to
    """

    name: str
    axis: str
    sizes: tuple[int, ...]
    make: Callable[[int], Any]
    power: int = 1


def _convolution(batch=BASE, channels=BASE, side=BASE):
    return convolution((batch, channels, side, side), (channels, 3, 3), 1, 1)


def _step(name, batch):
    return Training(name, CASES[name], batch=batch)


IN_BATCH = "in the batch"
SWEEPS = (
    Sweep("convolution: batch", f"images {IN_BATCH}", BATCHES, _convolution),
    Sweep(
        "convolution: channels",
        "channels = filters",
        (3, 8, 16, 32, 64, 128, 256),
        lambda size: _convolution(channels=size),
        power=2,
    ),
    Sweep(
        "convolution: side",
        "image side, pixels",
        (8, 16, 32, 64),
        lambda size: _convolution(side=size),
        power=2,
    ),
    Sweep(
        "spatial batch norm",
        f"images {IN_BATCH}",
        BATCHES,
        lambda size: spatial_batch_norm((size, BASE, BASE, BASE)),
    ),
    Sweep("layer norm", f"rows {IN_BATCH}", BATCHES, lambda size: layer_norm((size, 1024))),
    Sweep(
        "step: six layers, batch norm",
        f"images {IN_BATCH}",
        BATCHES[1:],  # batch norm of a single row is refused by PyTorch
        partial(_step, "six layers, batch norm"),
    ),
    Sweep("step: DeepConvNet", f"images {IN_BATCH}", BATCHES[::3], partial(_step, "DeepConvNet")),
)


class Time(NamedTuple):
    """Milliseconds of one pass or step."""

    sweep: str
    size: int
    threads: int
    ours: float
    pytorch: float

    @property
    def ratio(self):
        return self.ours / self.pytorch


def peers(row):
    """Return the eager variants of PyTorch that a row is held against: one for each layout."""
    fused = [each for each in row.variants() if each.optimizer == "fused"]
    return [each for each in fused or row.variants() if not each.compiled]


def measure(sweep, size, threads):
    """Return a Time for each number of threads; PyTorch's is that of its faster layout."""
    row = sweep.make(size)
    sides = []
    for variant in peers(row):
        ours, theirs = row.our_side(np.float32, 0), row.their_side(variant, np.float32, 0)
        row.agree(ours, theirs)
        sides.append(theirs)
    sides.insert(0, ours)
    medians = compare(*[(count, side) for count in threads for side in sides], time_block=_time_block)
    per_count = np.reshape(medians, (len(threads), len(sides))).tolist()
    return [
        Time(sweep.name, size, count, 1e3 * ours, 1e3 * min(theirs))
        for count, (ours, *theirs) in zip(threads, per_count, strict=True)
    ]


def _time_block(run, calls):
    threads, side = run
    with threads_for_all(threads):
        return seconds_per_call(side, calls)


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


def record(path, threads, chosen, kept):
    """Measure every size of the chosen sweeps and write its rows into a CSV file at once.

    Above them stand a line about the machine, and the rows that are kept from before.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        with threads_for_all(max(threads)):
            rate = f"{matrix_product_rate(np.float32) / 1e9:.0f} GFLOP/s in float32"
        product = f"a large matrix product, {_threads_text(max(threads))}: {rate}"
        file.write(f"# {describe_machine()}; {product}\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(_line, kept))
        cases = [(sweep, size) for sweep in chosen for size in sweep.sizes]
        for case in tqdm(cases, "growth", unit="case"):
            writer.writerows(map(_line, measure(*case, threads)))
            file.flush()


def _line(row):
    return [*row[:3], f"{row.ours:.4f}", f"{row.pytorch:.4f}"]


def read(path):
    """Return the line about the machine and the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        machine = file.readline().removeprefix("# ").strip()
        _, *lines = csv.reader(file)
    return machine, [Time(line[0], *map(int, line[1:3]), *map(float, line[3:])) for line in lines]


def growing(rows, sweep):
    """Return {threads: rows} of a sweep, smallest first."""
    chosen = sorted(row for row in rows if row.sweep == sweep.name)
    counts = sorted({row.threads for row in chosen})
    return {count: [row for row in chosen if row.threads == count] for count in counts}


def draw(rows):
    """Return the figure: for each sweep the times, and their ratios below."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 9.5), dpi=100)
        panels = figure.subplots(4, 4, height_ratios=(3, 2, 3, 2))
        pairs = [pair for band in (panels[:2], panels[2:]) for pair in band.T]
        key = pairs.pop(3)  # beside the three of a convolution
        for (times, ratios), sweep in zip(pairs[: len(SWEEPS)], SWEEPS, strict=True):
            times.set_title(sweep.name)
            if lines := growing(rows, sweep):
                _draw_times(times, sweep, lines)
                _draw_ratios(ratios, sweep, lines)
        everywhere = [row.ratio for row in rows]
        bottom, top = min(0.4, 0.9 * min(everywhere)), max(2.5, 1.1 * max(everywhere))
        for _, ratios in pairs:
            ratios.set_ylim(bottom, top)  # shows both sides of 1
        for times, ratios in (pairs[0], pairs[3]):
            times.set_ylabel("ms")
            ratios.set_ylabel("ours / PyTorch's")
        for axes in key:
            axes.set_axis_off()
        drawn = next(times for times, _ in pairs if times.lines)
        key[0].legend(*drawn.get_legend_handles_labels(), loc="center")
    return figure


def _draw_times(axes, sweep, lines):
    """Draw {threads: rows}, ours and PyTorch's, and a line of times in proportion to the work."""
    for (count, rows), style in zip(lines.items(), _styles(len(lines)), strict=True):
        sizes = [row.size for row in rows]
        for label, color, side in (("ours", COLORS[0], "ours"), ("PyTorch", COLORS[1], "pytorch")):
            times = [getattr(row, side) for row in rows]
            axes.loglog(sizes, times, color=color, label=f"{label}, {_threads_text(count)}", **style)
    largest = rows[-1]
    even = [largest.ours * (size / largest.size) ** sweep.power for size in sizes]
    style = {"color": "#888888", "linewidth": 1, "linestyle": ":", "zorder": 1}
    axes.loglog(sizes, even, label="in proportion to the work", **style)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(sweep.sizes, [""] * len(sweep.sizes))
    axes.minorticks_off()


def _draw_ratios(axes, sweep, lines):
    """Draw {threads: rows}, with a line where both take the same time."""
    axes.axhline(1, color=COLORS[1], linewidth=1, linestyle="-", zorder=1.6)  # above the grid
    for rows, style in zip(lines.values(), _styles(len(lines)), strict=True):
        axes.loglog([row.size for row in rows], [row.ratio for row in rows], color=COLORS[0], **style)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(sweep.axis)
    every = 1 if len(sweep.sizes) < 7 else 2  # or they would overlap
    labelled = sweep.sizes[::-every]
    labels = [str(size) if size in labelled else "" for size in sweep.sizes]
    axes.set_xticks(sweep.sizes, labels, fontsize="small")
    axes.minorticks_off()


def _styles(count):
    """Yield `count` styles of dashes and markers; the last, for the most threads, is a solid line."""
    for dashes in reversed(DASHES[:count]):
        face = {} if dashes == "-" else {"markerfacecolor": "white"}
        yield {"linestyle": dashes, "marker": "o", "markersize": 3, "linewidth": 1.5, **face}


def table(rows):
    """Return the rows as a table in Markdown, with a part for each sweep."""
    counts = sorted({row.threads for row in rows})
    columns = [f"{_threads_text(count)}, ms: ours | PyTorch | ours / PyTorch" for count in counts]
    lines = [f"| what | size | {' | '.join(columns)} |", "|---" * (2 + 3 * len(counts)) + "|"]
    for sweep in SWEEPS:
        for group in zip(*growing(rows, sweep).values(), strict=True):
            cells = [f"{number:.2f}" for row in group for number in (row.ours, row.pytorch, row.ratio)]
            lines.append(f"| {sweep.name} | {group[0].size} | {' | '.join(cells)} |")
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


def measure_again(path, threads, pattern):
    """Record the sweeps whose name the pattern is found in; the others stay as they are in the file."""
    chosen = [sweep for sweep in SWEEPS if re.search(pattern, sweep.name, re.IGNORECASE)]
    names, kept = {sweep.name for sweep in chosen}, []
    if len(chosen) < len(SWEEPS) and path.exists():
        machine, rows = read(path)
        if not machine.startswith(describe_machine()):
            raise ValueError(f"{path} is from another machine ({machine}): measure it without --only")
        kept = [row for row in rows if row.sweep not in names]
    record(path, threads, chosen, kept)


def main(arguments=None, folder=FOLDER):
    """Measure unless --draw is given, then draw; growth.csv, growth.png and README.md are in `folder`."""
    about = __doc__.partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=about)
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS, help="default: 1 2")
    parser.add_argument("--only", metavar="PATTERN", default="", help="a regular expression for sweeps")
    parser.add_argument("--draw", action="store_true", help="measure nothing; only draw growth.csv again")
    options = parser.parse_args(arguments)
    if not options.draw:
        measure_again(folder / "growth.csv", options.threads, options.only)
    machine, rows = read(folder / "growth.csv")
    draw(rows).savefig(folder / "growth.png")
    readme = folder / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), machine, rows), encoding="utf-8")
    print(f"{machine}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
