"""The layers that are timed, and the table of their times and peak memory."""

from collections.abc import Callable
from functools import partial
from math import prod
from statistics import geometric_mean
from typing import Any, NamedTuple

from benchmarks import sides
from benchmarks.memory import peak_bytes
from benchmarks.timing import compare
from cs231n.windows import count_windows

CONVOLUTIONS = (  # x (N, C, H, W); filters (F, HH, WW); stride, pad
    ((100, 3, 31, 31), (25, 3, 3), 2, 1),
    ((50, 3, 32, 32), (32, 7, 7), 1, 3),
    ((64, 16, 32, 32), (32, 3, 3), 1, 1),
    ((64, 64, 16, 16), (64, 3, 3), 1, 1),
    ((64, 32, 32, 32), (64, 3, 3), 1, 1),
    ((32, 128, 8, 8), (128, 3, 3), 1, 1),
    ((100, 32, 32, 32), (64, 1, 1), 1, 0),
)
POOLINGS = (((100, 3, 32, 32), 2, 2), ((64, 32, 32, 32), 2, 2), ((64, 32, 31, 31), 3, 2))  # x; size, stride
SMALL_CONVOLUTION = (2, 1, 4, 4), (1, 3, 3), 1, 1
SMALL_POOLING = (2, 1, 4, 4), 2, 2


class TimedLayer(NamedTuple):
    """A layer to time.

    - make: make(name, *arguments, dtype) returns one side of the comparison
    - small: other arguments, of a small layer; it runs first where memory is measured
    """

    text: str
    make: Callable[..., sides.Ours | sides.PyTorchs]
    arguments: tuple[Any, ...]
    small: tuple[Any, ...]
    forward_flops: float  # multiplications and additions

    def side(self, name, dtype):
        return self.make(name, *self.arguments, dtype)

    def megabytes(self, name, dtype):
        small, whole = (
            partial(self.make, name, *arguments, dtype) for arguments in (self.small, self.arguments)
        )
        return peak_bytes(small, whole) / 2**20


def convolutions():
    """Yield the convolutions to time."""
    for x, filters, stride, pad in CONVOLUTIONS:
        (N, C, *_), (F, HH, WW) = x, filters
        outputs = N * F * prod(count_windows(x, HH, WW, stride, pad))
        text = f"{_times(*x)}; {F} of {HH}x{WW}; {stride}, {pad}"
        arguments = x, filters, stride, pad
        yield TimedLayer(text, sides.convolution, arguments, SMALL_CONVOLUTION, 2 * outputs * C * HH * WW)


def poolings():
    """Yield the max poolings to time."""
    for x, size, stride in POOLINGS:
        text = f"{_times(*x)}; {size}x{size}; {stride}"
        yield TimedLayer(text, sides.pooling, (x, size, stride), SMALL_POOLING, float("nan"))


def _times(*sizes):
    return "x".join(map(str, sizes))


def print_table(title, heading, timed_layers, dtype):
    """Time every layer in one dtype and measure its memory; the last line has geometric means of ratios."""
    print(f"\n### {title}, {dtype.__name__}\n")
    names, ours = sides.NAMES, sides.NAMES[:-1]
    groups = {"forward, ms": names, "backward, ms": names, "both / PyTorch's": ours}
    groups |= {"GFLOP/s": (ours[0], names[-1]), "peak MB": names}
    columns = [f"{group}: {name}" for group, group_names in groups.items() for name in group_names]
    print(f"| {heading} | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    means = map(geometric_mean, zip(*(_print_row(layer, dtype) for layer in timed_layers), strict=True))
    cells = [""] * 2 * len(names) + [f"**{mean:.2f}**" for mean in means] + [""] * (2 + len(names))
    print(f"| geometric mean | {' | '.join(cells)} |", flush=True)


def _print_row(layer, dtype):
    """Print the times and the memory of all sides of a layer; return the times of ours / PyTorch's."""
    all_sides = [layer.side(name, dtype) for name in sides.NAMES]
    sides.assert_agree(all_sides)
    forward = compare(*(side.forward for side in all_sides))
    backward = compare(*(side.backward for side in all_sides))
    *ours, torchs = (a + b for a, b in zip(forward, backward, strict=True))
    ratios = [seconds / torchs for seconds in ours]
    cells = [f"{1e3 * seconds:.2f}" for seconds in (*forward, *backward)]
    cells += [f"{ratio:.2f}" for ratio in ratios]
    cells += [_gigaflops(3 * layer.forward_flops / seconds) for seconds in (ours[0], torchs)]
    cells += [f"{layer.megabytes(name, dtype):.0f}" for name in sides.NAMES]
    print(f"| {layer.text} | {' | '.join(cells)} |", flush=True)
    return ratios


def _gigaflops(rate):
    return f"{rate / 1e9:.0f}" if rate == rate else ""
