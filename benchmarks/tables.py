"""Have every row measured by the processes, and print a table for each group and dtype, row by row."""

import re
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from benchmarks import measure
from benchmarks.sides import MATRIX_PRODUCT, Variant

COLUMNS = "ours, ms", "PyTorch, ms", "its fastest", "ours / PyTorch", "min..max"
SHARES = "of the limit: ours", "PyTorch"
BUSY = "busy / alone: ours", "PyTorch"
MEMORY = "peak MB: ours", "PyTorch"


class Times(NamedTuple):
    """Seconds of a row in every process: ours, and those of PyTorch's fastest variant."""

    ours: Sequence[float]
    theirs: Sequence[float]
    variant: Variant

    @property
    def ratios(self):
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def medians(self):
        return statistics.median(self.ours), statistics.median(self.theirs)

    def cells(self):
        """Return what stands below COLUMNS."""
        ours, theirs = self.medians
        ratio, spread = statistics.median(self.ratios), f"{min(self.ratios):.2f}..{max(self.ratios):.2f}"
        return [f"{1e3 * ours:.3g}", f"{1e3 * theirs:.3g}", str(self.variant), f"{ratio:.2f}", spread]


class Bench(NamedTuple):
    """The processes, and how thorough they are.

    - compiled: whether torch.compile is tried; thorough: whether memory and busy machines are measured
    """

    processes: list[ProcessPoolExecutor]
    compiled: bool
    thorough: bool

    def print_tables(self, pattern):
        """Measure and print the rows whose group, dtype and name the pattern is found in."""
        for group, (make_rows, dtypes) in measure.GROUPS.items():
            for dtype in dtypes:
                title = f"{group}, {dtype.__name__}"
                rows = [
                    (index, row)
                    for index, row in enumerate(make_rows())
                    if re.search(pattern, f"{title}: {row.name}", re.IGNORECASE)
                ]
                if rows:
                    self._print_table(title, group, dtype, rows)

    def _print_table(self, title, group, dtype, rows):
        """Print one table; its last line has the geometric mean of the ratios and names the worst row."""
        last = SHARES if rows[0][1].limit else BUSY
        columns = [*COLUMNS, *last, *MEMORY]
        print(f"\n### {title}\n")
        rates = {
            limit: self._ask(0, measure.rate, limit, dtype) for limit in {row.limit for _, row in rows} - {""}
        }
        for limit, rate in sorted(rates.items()):
            print(f"The machine's {limit}: {rate / 1e9:.1f} {measure.UNITS[limit]}\n")
        print(f"| {group} | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
        ratios = {}
        for index, row in rows:
            place = group, index, dtype
            times = self._times(row, place)
            cells = (
                times.cells() + self._last_cells(row, place, times, rates) + self._memory_cells(place, times)
            )
            print(f"| {row.name} | {' | '.join(cells)} |", flush=True)
            ratios[row.name] = statistics.median(times.ratios)
        worst = max(ratios, key=ratios.get)
        mean = f"**{statistics.geometric_mean(ratios.values()):.2f}**"
        cells = "", "", "", mean, f"worst {ratios[worst]:.2f}", *[""] * 4
        print(f"| **geometric mean**; worst: {worst} | {' | '.join(cells)} |", flush=True)

    def _times(self, row, place):
        """Return the times of a row: of all variants in the first process, of the best ones in each."""
        compiled = self.compiled and place[2] == np.float32
        variants = [each for each in row.variants() if compiled or not each.compiled]
        best = self._ask(0, measure.finalists, *place, variants)
        found = [self._ask(i, measure.times, *place, best) for i in range(len(self.processes))]
        ours, *theirs = zip(*found, strict=True)
        medians = {variant: statistics.median(seconds) for variant, seconds in zip(best, theirs, strict=True)}
        (peer,) = measure.fastest(medians, 1)
        return Times(ours, theirs[best.index(peer)], peer)

    def _last_cells(self, row, place, times, rates):
        """Return the shares of the machine's limit, or by how much busy processes slow a row without one."""
        if row.limit:
            return [f"{share(row, place[2], seconds, rates[row.limit]):.0%}" for seconds in times.medians]
        if not self.thorough:
            return ["", ""]
        busy = self._ask(-1, measure.times_beside_busy_processes, *place, times.variant)
        return [f"{slow / alone:.1f}" for slow, alone in zip(busy, times.medians, strict=True)]

    def _memory_cells(self, place, times):
        if not self.thorough:
            return ["", ""]
        return [f"{size:.0f}" for size in self._ask(-1, measure.megabytes, *place, times.variant)]

    def _ask(self, process, function, *arguments):
        return self.processes[process].submit(function, *arguments).result()


def share(row, dtype, seconds, rate):
    """Return the share of its limit that a row reaches; rate: operations or bytes a second."""
    size = 1 if row.limit == MATRIX_PRODUCT else dtype().itemsize
    return row.work * size / seconds / rate
