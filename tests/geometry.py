"""Convolutions and poolings that several test files try layers on, and arguments that every layer refuses."""

from typing import NamedTuple

from hypothesis import strategies as st


class Convolution(NamedTuple):
    """Shapes of the images and of the filters, and how a window moves."""

    x: tuple
    w: tuple
    stride: int
    pad: int

    @property
    def shapes(self):
        return self.x, self.w, self.w[:1]

    @property
    def param(self):
        return {"stride": self.stride, "pad": self.pad}

    @property
    def out(self):
        """The shape of the output."""
        rows, columns = (
            1 + (size + 2 * self.pad - window) // self.stride
            for size, window in zip(self.x[2:], self.w[2:], strict=True)
        )
        return self.x[0], self.w[0], rows, columns


class Pooling(NamedTuple):
    """The shape of the images, a window's height and width, and how it moves."""

    x: tuple
    height: int
    width: int
    stride: int

    @property
    def param(self):
        return {"pool_height": self.height, "pool_width": self.width, "stride": self.stride}

    @property
    def out(self):
        """The shape of the output."""
        rows, columns = (
            1 + (size - window) // self.stride
            for size, window in zip(self.x[2:], (self.height, self.width), strict=True)
        )
        return *self.x[:2], rows, columns


CONVOLUTIONS = {
    "pad_0": Convolution((2, 3, 4, 5), (2, 3, 3, 2), 1, 0),
    "pad_1": Convolution((2, 2, 3, 4), (3, 2, 3, 3), 1, 1),
    "pad_2": Convolution((2, 2, 2, 3), (2, 2, 3, 2), 1, 2),
    "pad_3_beyond_the_window": Convolution((2, 1, 2, 3), (1, 1, 2, 1), 1, 3),
    "stride_2": Convolution((2, 2, 5, 7), (3, 2, 3, 3), 2, 0),
    "stride_2_pad_1": Convolution((2, 2, 4, 5), (2, 2, 2, 3), 2, 1),
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
SINGLE_WINDOWS = {
    "whole_image": Convolution((2, 2, 3, 2), (2, 2, 3, 2), 1, 0),
    "whole_padded_image": Convolution((2, 2, 2, 3), (3, 2, 4, 5), 3, 1),
    "one_pixel": Convolution((2, 3, 1, 1), (2, 3, 1, 1), 1, 0),
    "one_of_everything": Convolution((1, 1, 1, 1), (1, 1, 1, 1), 1, 0),
}
POOLINGS = {
    "tiles": Pooling((2, 2, 4, 6), 2, 2, 2),
    "overlapping": Pooling((2, 2, 5, 7), 3, 3, 2),
    "overlapping_at_every_pixel": Pooling((2, 1, 3, 4), 2, 3, 1),
    "gaps": Pooling((2, 2, 5, 8), 2, 2, 3),
    "tall": Pooling((1, 3, 4, 5), 2, 1, 2),
    "wide": Pooling((1, 3, 3, 7), 1, 3, 2),
    "pixels": Pooling((2, 2, 3, 3), 1, 1, 1),
    "every_second_pixel": Pooling((2, 2, 3, 5), 1, 1, 2),
    "one_image_and_channel": Pooling((1, 1, 3, 4), 3, 2, 2),
}
SINGLE_POOLS = {
    "whole_image": Pooling((2, 2, 3, 2), 3, 2, 1),
    "one_pixel": Pooling((1, 1, 1, 1), 1, 1, 3),
}

small, fairly_small = st.integers(1, 3), st.integers(1, 4)


@st.composite
def convolutions(draw, filters=small, windows=fairly_small, strides=small, most_columns=3):
    """Any convolution whose windows end with the image."""
    N, C, F, stride = (draw(sizes) for sizes in (small, small, filters, strides))
    pad = draw(st.integers(0, 3))
    sides = []
    for most in (3, most_columns):
        window = draw(windows)
        fewest = max(0, -(-(1 + 2 * pad - window) // stride))  # below it nothing is left of the image
        steps = fewest + draw(st.integers(0, most))
        sides.append((window + stride * steps - 2 * pad, window))
    (H, HH), (W, WW) = sides
    return Convolution((N, C, H, W), (F, C, HH, WW), stride, pad)


@st.composite
def poolings(draw, most_columns=3):
    """Any pooling whose windows end with the image: in tiles, overlapping or with gaps."""
    N, C, stride, HH, WW = (draw(small) for _ in range(5))
    H, W = (window + stride * draw(st.integers(0, most)) for window, most in ((HH, 3), (WW, most_columns)))
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
    (X, W, B, {}, r"conv_param\['stride'\] must be an integer of at least 1; got None"),
    (X, W, B, {"stride": 1}, r"conv_param\['pad'\] must be an integer of at least 0; got None"),
    (X, W, B, {"pad": 1}, r"conv_param\['stride'\] must be an integer of at least 1; got None"),
    (X, W, B, {"stride": 0, "pad": 0}, r"conv_param\['stride'\] must be .*at least 1; got 0"),
    (X, W, B, {"stride": -1, "pad": 0}, r"conv_param\['stride'\] must be .*at least 1; got -1"),
    (X, W, B, {"stride": 2.0, "pad": 0}, r"conv_param\['stride'\] must be an integer.*got 2.0"),
    (X, W, B, {"stride": True, "pad": 0}, r"conv_param\['stride'\] must be an integer.*got True"),
    (X, W, B, {"stride": (1, 1), "pad": 0}, r"conv_param\['stride'\] must be an integer.*got \(1, 1\)"),
    (X, W, B, {"stride": 1, "pad": -1}, r"conv_param\['pad'\] must be an integer of at least 0; got -1"),
    (X, W, B, {"stride": 1, "pad": 1.0}, r"conv_param\['pad'\] must be an integer.*got 1.0"),
    (X, W, B, {"stride": 1, "pad": False}, r"conv_param\['pad'\] must be an integer.*got False"),
    (X, W, B, {"stride": 1, "pad": "same"}, r"conv_param\['pad'\] must be an integer.*got 'same'"),
    (X, (4, 3, 6, 3), B, STRIDE_1, r"window's height is 6, the image's 5 \+ 2 \* 0"),
    (X, (4, 3, 3, 8), B, {"stride": 1, "pad": 1}, r"window's width is 8, the image's 5 \+ 2 \* 1"),
    (
        (2, 3, 6, 5),
        W,
        B,
        {"stride": 2, "pad": 0},
        r"stride must divide height \+ 2 \* pad - window height = 6 \+ 2 \* 0 - 3 = 3; got .* leaves 1",
    ),
    (
        (2, 3, 5, 6),
        W,
        B,
        {"stride": 3, "pad": 1},
        r"stride must divide height .* = 5 \+ 2 \* 1 - 3 = 4; got stride 3, which leaves 1",
    ),
    (
        (2, 3, 4, 6),
        W,
        B,
        {"stride": 3, "pad": 1},
        r"stride must divide width .* = 6 \+ 2 \* 1 - 3 = 5.*leaves 2",
    ),
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
    ((2, 3, 4, 4), {"stride": None}, r"pool_param\['stride'\] must be an integer of at least 1; got None"),
    ((2, 3, 4, 4), {"pool_height": 0}, r"pool_param\['pool_height'\] must be .*at least 1; got 0"),
    ((2, 3, 4, 4), {"pool_width": 2.0}, r"pool_param\['pool_width'\] must be an integer.*got 2.0"),
    ((2, 3, 4, 4), {"pool_width": True}, r"pool_param\['pool_width'\] must be an integer.*got True"),
    ((2, 3, 4, 4), {"stride": 0}, r"pool_param\['stride'\] must be .*at least 1; got 0"),
    ((2, 3, 4, 4), {"stride": -2}, r"pool_param\['stride'\] must be .*at least 1; got -2"),
    ((2, 3, 4, 4), {"pool_height": 5}, r"window's height is 5, the image's 4 \+ 2 \* 0"),
    ((2, 3, 4, 4), {"pool_width": 6}, r"window's width is 6, the image's 4 \+ 2 \* 0"),
    ((2, 3, 5, 4), {}, r"stride must divide height .* = 5 \+ 2 \* 0 - 2 = 3; got stride 2, which leaves 1"),
    ((2, 3, 4, 5), {}, r"stride must divide width .* = 5 \+ 2 \* 0 - 2 = 3; got stride 2, which leaves 1"),
]
POOL_2X2 = {"pool_height": 2, "pool_width": 2, "stride": 2}
