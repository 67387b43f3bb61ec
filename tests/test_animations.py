"""Convolution in motion: the last frames show what the layers compute, and the PNG is one that moves."""

import io

import numpy as np
import pytest
from PIL import Image

from cs231n.animations import animate_backward, animate_convolution
from cs231n.layers import conv_backward_naive, conv_forward_naive

pytestmark = pytest.mark.q4

CASES = pytest.mark.parametrize(("stride", "pad"), [(1, 0), (1, 1), (2, 1)])
X = np.random.default_rng(0).integers(0, 9, (5, 4)).astype(float)
W = np.random.default_rng(1).integers(-2, 3, (3, 2)).astype(float)


def convolution(stride, pad):
    x, w, b = X[np.newaxis, np.newaxis], W[np.newaxis, np.newaxis], np.array([7.0])
    return conv_forward_naive(x, w, b, {"stride": stride, "pad": pad})


@CASES
def test_forward_ends_with_the_output(stride, pad):
    out, _ = convolution(stride, pad)
    frames = animate_convolution(X, W, 7, stride, pad).frames
    assert len(frames) == out.size
    np.testing.assert_array_equal(frames[-1][-1].numbers, out[0, 0])
    assert np.isnan(frames[0][-1].numbers).sum() == out.size - 1


@CASES
def test_in_each_frame_the_marked_window_makes_the_marked_output(stride, pad):
    for image, filter, products, out in animate_convolution(X, W, 7, stride, pad).frames:
        row, column, height, width = image.marked
        window = image.numbers[row : row + height, column : column + width]
        np.testing.assert_array_equal(products.numbers, window * filter.numbers)
        assert out.numbers[out.marked[:2]] == np.sum(window * W) + 7


@CASES
def test_backward_ends_with_the_gradient(stride, pad):
    out, cache = convolution(stride, pad)
    dout = np.random.default_rng(2).integers(-3, 4, out.shape).astype(float)
    dx, _, _ = conv_backward_naive(dout, cache)
    last = animate_backward(dout[0, 0], W, X.shape, stride, pad).frames[-1][-1]
    H, W_ = X.shape
    np.testing.assert_array_equal(last.numbers[pad : pad + H, pad : pad + W_], dx[0, 0])


def test_a_png_that_moves_and_whose_still_is_the_last_frame():
    png, size = animate_convolution(X, W, 0, 2, 1)._repr_png_()
    picture = Image.open(io.BytesIO(png))
    frames = []
    for number in range(picture.n_frames):
        picture.seek(number)
        frames.append(np.asarray(picture.convert("RGB")))
    assert len(frames) == 1 + 9  # the still, and a frame for each output
    assert (2 * size["width"], 2 * size["height"]) == picture.size
    np.testing.assert_array_equal(frames[0], frames[-1])
    assert not np.array_equal(frames[1], frames[2])
    assert len(png) < 100_000
