"""Convolutions and poolings that several test files try layers on, and arguments that every layer refuses."""

from typing import NamedTuple

from hypothesis import strategies as st


def pair(value):
    """A stride or a padding as (rows, columns)."""
    return value if isinstance(value, tuple) else (value, value)


def count_windows(sizes, windows, stride, pad=0):
    """How many windows fit below and beside each other, by counting them from the first on."""
    return tuple(
        len(range(0, size + 2 * zeros - window + 1, step))
        for size, window, step, zeros in zip(sizes, windows, pair(stride), pair(pad), strict=True)
    )


class Convolution(NamedTuple):
    """Shapes of the images and of the filters, and how a window moves: integers, or pairs (rows, columns)."""

    x: tuple
    w: tuple
    stride: int | tuple
    pad: int | tuple

    @property
    def shapes(self):
        return self.x, self.w, self.w[:1]

    @property
    def param(self):
        return {"stride": self.stride, "pad": self.pad}

    @property
    def out(self):
        """The shape of the output."""
        return self.x[0], self.w[0], *count_windows(self.x[2:], self.w[2:], self.stride, self.pad)


class Pooling(NamedTuple):
    """The shape of the images, a window's height and width, and how it moves."""

    x: tuple
    height: int
    width: int
    stride: int | tuple

    @property
    def param(self):
        return {"pool_height": self.height, "pool_width": self.width, "stride": self.stride}

    @property
    def out(self):
        """The shape of the output."""
        return *self.x[:2], *count_windows(self.x[2:], (self.height, self.width), self.stride)


CONVOLUTIONS = {
    "pad_0": Convolution((2, 3, 4, 5), (2, 3, 3, 2), 1, 0),
    "pad_1": Convolution((2, 2, 3, 4), (3, 2, 3, 3), 1, 1),
    "pad_2": Convolution((2, 2, 2, 3), (2, 2, 3, 2), 1, 2),
    "pad_3_beyond_the_window": Convolution((2, 1, 2, 3), (1, 1, 2, 1), 1, 3),
    "stride_2": Convolution((2, 2, 5, 7), (3, 2, 3, 3), 2, 0),
    "stride_2_pad_1": Convolution((2, 2, 4, 5), (2, 2, 2, 3), 2, 1),
    "stride_2_pad_1_even_image": Convolution((2, 2, 4, 6), (3, 2, 3, 3), 2, 1),
    "stride_3_leaves_out_two_rows": Convolution((2, 2, 7, 6), (2, 2, 2, 3), 3, 0),
    "stride_3_pad_2": Convolution((1, 2, 4, 7), (2, 2, 2, 5), 3, 2),
    "stride_beyond_the_window": Convolution((2, 2, 5, 8), (2, 2, 2, 2), 3, 0),
    "row": Convolution((2, 2, 3, 4), (2, 2, 1, 3), 1, 0),
    "column": Convolution((2, 2, 3, 4), (2, 2, 3, 1), 1, 1),
    "pointwise": Convolution((2, 3, 3, 4), (2, 3, 1, 1), 1, 0),
    "pointwise_stride_2": Convolution((2, 3, 3, 5), (2, 3, 1, 1), 2, 0),
    "pointwise_pad_1": Convolution((2, 3, 1, 2), (2, 3, 1, 1), 1, 1),
    "pointwise_stride_3_pad_1": Convolution((2, 2, 2, 5), (3, 2, 1, 1), 3, 1),
    "one_image_channel_and_filter": Convolution((1, 1, 4, 5), (1, 1, 3, 2), 1, 0),
}
PAIRS = {  # of strides or paddings; learners need not write layers that take them
    "stride_down": Convolution((2, 2, 5, 4), (3, 2, 3, 2), (2, 1), 0),
    "stride_across": Convolution((2, 2, 4, 7), (3, 2, 3, 3), (1, 3), (1, 1)),
    "pad_down": Convolution((2, 2, 3, 5), (2, 2, 3, 3), 1, (2, 0)),
    "pad_across": Convolution((2, 3, 4, 3), (2, 3, 3, 3), (1, 1), (0, 1)),
    "strides_that_leave_out_pixels": Convolution((2, 2, 6, 8), (3, 2, 3, 2), (2, 4), (1, 2)),
    "stride_2_3_pointwise": Convolution((2, 2, 4, 7), (3, 2, 1, 1), (2, 3), 0),
    "pad_down_pointwise": Convolution((2, 2, 2, 3), (3, 2, 1, 1), 1, (1, 0)),
    "pad_across_pointwise": Convolution((2, 2, 2, 3), (3, 2, 1, 1), 1, (0, 1)),
}
SINGLE_WINDOWS = {
    "whole_image": Convolution((2, 2, 3, 2), (2, 2, 3, 2), 1, 0),
    "whole_padded_image": Convolution((2, 2, 2, 3), (3, 2, 4, 5), 3, 1),
    "stride_beyond_the_image": Convolution((2, 2, 4, 5), (3, 2, 3, 2), 7, 0),
    "one_pixel": Convolution((2, 3, 1, 1), (2, 3, 1, 1), 1, 0),
    "one_of_everything": Convolution((1, 1, 1, 1), (1, 1, 1, 1), 1, 0),
}
POOLINGS = {
    "tiles": Pooling((2, 2, 4, 6), 2, 2, 2),
    "overlapping": Pooling((2, 2, 5, 7), 3, 3, 2),
    "overlapping_at_every_pixel": Pooling((2, 1, 3, 4), 2, 3, 1),
    "gaps": Pooling((2, 2, 5, 8), 2, 2, 3),
    "tiles_of_an_odd_image": Pooling((2, 2, 5, 7), 2, 2, 2),
    "overlapping_on_an_even_image": Pooling((2, 2, 4, 6), 3, 3, 2),
    "gaps_and_left_out_pixels": Pooling((2, 2, 6, 7), 2, 1, 3),
    "tall": Pooling((1, 3, 4, 5), 2, 1, 2),
    "wide": Pooling((1, 3, 3, 7), 1, 3, 2),
    "pixels": Pooling((2, 2, 3, 3), 1, 1, 1),
    "every_second_pixel": Pooling((2, 2, 3, 5), 1, 1, 2),
    "one_image_and_channel": Pooling((1, 1, 3, 4), 3, 2, 2),
}
POOLING_PAIRS = {
    "stride_down": Pooling((2, 2, 4, 4), 2, 2, (2, 1)),
    "stride_across": Pooling((2, 2, 4, 7), 2, 3, (1, 2)),
    "strides_that_leave_out_pixels": Pooling((2, 2, 6, 8), 3, 2, (2, 4)),
}
SINGLE_POOLS = {
    "whole_image": Pooling((2, 2, 3, 2), 3, 2, 1),
    "stride_beyond_the_image": Pooling((2, 2, 3, 4), 2, 3, 5),
    "one_pixel": Pooling((1, 1, 1, 1), 1, 1, 3),
}

small, fairly_small = st.integers(1, 3), st.integers(1, 4)


def one_or_pair(draw, values, pairs):
    """One value or, if `pairs`, perhaps a pair of them."""
    return draw(st.one_of(values, st.tuples(values, values)) if pairs else values)


@st.composite
def convolutions(draw, filters=small, windows=fairly_small, strides=small, most_columns=3, pairs=False):
    """Any convolution, with or without pixels behind the last window; with `pairs` perhaps uneven."""
    N, C, F = (draw(sizes) for sizes in (small, small, filters))
    stride, pad = one_or_pair(draw, strides, pairs), one_or_pair(draw, st.integers(0, 3), pairs)
    sides = []
    for most, step, zeros in zip((3, most_columns), pair(stride), pair(pad), strict=True):
        window, rest = draw(windows), draw(st.integers(0, step - 1))
        fewest = max(0, -(-(1 + 2 * zeros - window) // step))  # below it nothing is left of the image
        steps = fewest + draw(st.integers(0, most))
        sides.append((window + step * steps + rest - 2 * zeros, window))
    (H, HH), (W, WW) = sides
    return Convolution((N, C, H, W), (F, C, HH, WW), stride, pad)


@st.composite
def poolings(draw, most_columns=3, pairs=False):
    """Any pooling: in tiles, overlapping or with gaps; the same of pixels behind and of `pairs`."""
    N, C, HH, WW = (draw(small) for _ in range(4))
    stride = one_or_pair(draw, small, pairs)
    H, W = (
        window + step * draw(st.integers(0, most)) + draw(st.integers(0, step - 1))
        for window, most, step in zip((HH, WW), (3, most_columns), pair(stride), strict=True)
    )
    return Pooling((N, C, H, W), HH, WW, stride)


X, W, B = (2, 3, 5, 5), (4, 3, 3, 3), (4,)
STRIDE_1 = {"stride": 1, "pad": 0}

# Shapes of x, w and b, conv_param, and what the error says.
REFUSED_CONVOLUTIONS = [
    ((2, 4, 5, 5), W, B, STRIDE_1, r"x \(2, 4, 5, 5\) has 4 channels and w \(4, 3, 3, 3\) has 3"),
    ((3, 5, 5), W, B, STRIDE_1, r"x must have the axes \(N, C, H, W\); got the shape \(3, 5, 5\)"),
    ((1, *X), W, B, STRIDE_1, r"x must have the axes \(N, C, H, W\); got the shape \(1, 2, 3, 5, 5\)"),
    ((0, 3, 5, 5), W, B, STRIDE_1, r"x must not be empty; got the shape \(0, 3, 5, 5\) for \(N, C, H, W\)"),
    (X, (3, 3, 3), B, STRIDE_1, r"w must have the axes \(F, C, HH, WW\); got the shape \(3, 3, 3\)"),
    (X, (0, 3, 3, 3), (0,), STRIDE_1, r"w must not be empty; got the shape \(0, 3, 3, 3\)"),
    (X, (4, 3, 0, 3), B, STRIDE_1, r"w must not be empty; got the shape \(4, 3, 0, 3\)"),
    (X, W, (1,), STRIDE_1, r"b must have shape \(4,\) \(one bias per filter of w\); got \(1,\)"),
    (X, W, (4, 1), STRIDE_1, r"b must have shape \(4,\).*got \(4, 1\)"),
    (X, W, B, {}, r"conv_param\['stride'\] must be an integer of at least 1 or a pair.*; got None"),
    (X, W, B, {"stride": 1}, r"conv_param\['pad'\] must be an integer of at least 0 or a pair.*; got None"),
    (X, W, B, {"pad": 1}, r"conv_param\['stride'\] must be an integer of at least 1 or a pair.*; got None"),
    (X, W, B, {"stride": 0, "pad": 0}, r"conv_param\['stride'\] must be .*at least 1 or a pair.*; got 0"),
    (X, W, B, {"stride": -1, "pad": 0}, r"conv_param\['stride'\] must be .*at least 1 or a pair.*; got -1"),
    (X, W, B, {"stride": 2.0, "pad": 0}, r"conv_param\['stride'\] must be an integer.*got 2.0"),
    (X, W, B, {"stride": True, "pad": 0}, r"conv_param\['stride'\] must be an integer.*got True"),
    (X, W, B, {"stride": (1, 0), "pad": 0}, r"conv_param\['stride'\] must be .*a pair.*got \(1, 0\)"),
    (X, W, B, {"stride": (1, 1, 1), "pad": 0}, r"conv_param\['stride'\] must be .*got \(1, 1, 1\)"),
    (X, W, B, {"stride": (1,), "pad": 0}, r"conv_param\['stride'\] must be .*got \(1,\)"),
    (X, W, B, {"stride": 1, "pad": [0, -1]}, r"conv_param\['pad'\] must be .*a pair.*got \[0, -1\]"),
    (X, W, B, {"stride": 1, "pad": ((0, 0), (0, 0))}, r"conv_param\['pad'\] must be .*got \(\(0, 0\), "),
    (
        X,
        W,
        B,
        {"stride": 1, "pad": -1},
        r"conv_param\['pad'\] must be an integer of at least 0 or a pair.*; got -1",
    ),
    (X, W, B, {"stride": 1, "pad": 1.0}, r"conv_param\['pad'\] must be an integer.*got 1.0"),
    (X, W, B, {"stride": 1, "pad": False}, r"conv_param\['pad'\] must be an integer.*got False"),
    (X, W, B, {"stride": 1, "pad": "same"}, r"conv_param\['pad'\] must be an integer.*got 'same'"),
    (X, (4, 3, 6, 3), B, STRIDE_1, r"window's height is 6, the image's 5 \+ 2 \* 0"),
    (X, (4, 3, 3, 8), B, {"stride": 1, "pad": 1}, r"window's width is 8, the image's 5 \+ 2 \* 1"),
    (X, (4, 3, 3, 6), B, {"stride": 1, "pad": (1, 0)}, r"window's width is 6, the image's 5 \+ 2 \* 0"),
]

# The shape of x, pool_param, and what the error says.
REFUSED_POOLINGS = [
    ((3, 4, 4), {}, r"x must have the axes \(N, C, H, W\); got the shape \(3, 4, 4\)"),
    ((2, 0, 4, 4), {}, r"x must not be empty; got the shape \(2, 0, 4, 4\)"),
    (
        (2, 3, 4, 4),
        {"pool_height": None},
        r"pool_param\['pool_height'\] must be an integer of at least 1; got None",
    ),
    (
        (2, 3, 4, 4),
        {"pool_width": None},
        r"pool_param\['pool_width'\] must be an integer of at least 1; got None",
    ),
    (
        (2, 3, 4, 4),
        {"stride": None},
        r"pool_param\['stride'\] must be an integer of at least 1 or a pair.*; got None",
    ),
    ((2, 3, 4, 4), {"pool_height": 0}, r"pool_param\['pool_height'\] must be .*at least 1; got 0"),
    ((2, 3, 4, 4), {"pool_width": 2.0}, r"pool_param\['pool_width'\] must be an integer.*got 2.0"),
    ((2, 3, 4, 4), {"pool_width": True}, r"pool_param\['pool_width'\] must be an integer.*got True"),
    ((2, 3, 4, 4), {"stride": 0}, r"pool_param\['stride'\] must be .*at least 1 or a pair.*; got 0"),
    ((2, 3, 4, 4), {"stride": (2, 0)}, r"pool_param\['stride'\] must be .*a pair.*got \(2, 0\)"),
    ((2, 3, 4, 4), {"stride": -2}, r"pool_param\['stride'\] must be .*at least 1 or a pair.*; got -2"),
    ((2, 3, 4, 4), {"pool_height": 5}, r"window's height is 5, the image's 4 \+ 2 \* 0"),
    ((2, 3, 4, 4), {"pool_width": 6}, r"window's width is 6, the image's 4 \+ 2 \* 0"),
]
POOL_2X2 = {"pool_height": 2, "pool_width": 2, "stride": 2}
