"""What a network sees: which pixels an output depends on, and which patches excite a filter.

A network is a chain of layers here, as `cs231n.layer_utils.chain_forward` runs it. Images are (N, C, H, W).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs231n.layer_utils import chain_backward, chain_forward

Array = NDArray[Any]
Layers = Sequence[tuple[Any, ...]]


def window_of(layers: Layers) -> tuple[int, int, int]:
    """Return size, stride and padding of the windows through which layers of windows see the image.

    Output (i, j) of the last layer sees the rows i * stride - pad to i * stride - pad + size, without the
    last, and likewise columns. Layers that look at single pixels, such as ReLU, change nothing. Windows have
    to be square.

    >>> conv = "forward", "backward", np.ones((4, 4, 3, 3)), np.ones(4), {"stride": 1, "pad": 1}
    >>> window_of([conv]), window_of([conv, conv])
    ((3, 1, 1), (5, 1, 2))
    """
    size, stride, pad = 1, 1, 0
    for _, _, *arguments in layers:
        param = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
        if "stride" in param:
            side = param.get("pool_height") or arguments[0].shape[2]
            size += (side - 1) * stride
            pad += param.get("pad", 0) * stride
            stride *= param["stride"]
    return size, stride, pad


def input_gradient(layers: Layers, images: Array, dout_of: Any) -> Array:
    """Return the gradient of the images (N, C, H, W), where dout_of(out) is that of the output."""
    out, caches = chain_forward(images, *layers)
    dx: Array = chain_backward(dout_of(out), caches)[0]
    return dx


def receptive_field(layers: Layers, images: Array) -> Array:
    """Return how much the middle output of the first filter depends on each pixel (H, W).

    It is the size of the gradient of that one output, summed over the images: max pooling looks at another
    pixel in each of them.
    """

    def middle(out: Array) -> Array:
        dout = np.zeros_like(out)
        dout[:, 0, out.shape[2] // 2, out.shape[3] // 2] = 1
        return dout

    field: Array = np.abs(input_gradient(layers, images, middle)).sum(axis=(0, 1))
    return field


def saliency(layers: Layers, images: Array, y: Array) -> Array:
    """Return how much the score of its class y (N,) depends on each pixel of each image: (N, H, W).

    It is the largest gradient of the three colours (Simonyan et al. 2013, https://arxiv.org/abs/1312.6034).
    """
    dx = input_gradient(layers, images, lambda scores: np.eye(scores.shape[1], dtype=scores.dtype)[y])
    size: Array = np.abs(dx).max(axis=1)
    return size


def occlusion(layers: Layers, image: Array, y: int, size: int = 8, stride: int = 2) -> Array:
    """Return the probability of class y for each place of a square that hides a part of an image (C, H, W).

    The square has `size` pixels on a side and the value 0, the mean; its places are `stride` pixels apart.
    (Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901, section 4.2.)
    """
    rows, columns = (range(0, length - size + 1, stride) for length in image.shape[1:])
    hidden = np.repeat(image[np.newaxis], len(rows) * len(columns), axis=0)
    places = [(row, column) for row in rows for column in columns]
    for copy, (row, column) in zip(hidden, places, strict=True):
        copy[:, row : row + size, column : column + size] = 0
    return probabilities(layers, hidden)[:, y].reshape(len(rows), len(columns))


def probabilities(layers: Layers, images: Array) -> Array:
    """Return the softmax of a network's scores: (N, classes)."""
    scores, _ = chain_forward(images, *layers)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def strongest_patches(layers: Layers, images: Array, filter: int, pictures: Array, count: int = 8) -> Array:
    """Return the patches that excite a filter of the last layer most, the strongest first.

    - images: what the network reads; pictures: the same to look at, (N, H, W, 3)

    At most one patch is taken of each picture, and none whose window reaches beyond it. Returns
    (count, size, size, 3).
    """
    out, _ = chain_forward(images, *layers)
    size, stride, pad = window_of(layers)
    first, last = -(-pad // stride), (images.shape[2] + pad - size) // stride  # whole windows
    maps = out[:, filter, first : last + 1, first : last + 1]
    patches = []
    for n in np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:count]:
        place = np.unravel_index(np.argmax(maps[n]), maps[n].shape)
        row, column = (int(index + first) * stride - pad for index in place)
        patches.append(pictures[n, row : row + size, column : column + size])
    return np.stack(patches)


def surest_mistakes(probabilities: Array, y: Array, count: int = 6) -> Array:
    """Return the indices of the wrong answers with the highest probabilities (N, classes), surest first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != y)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order[:count]]


def accuracy_per_class(predictions: Array, y: Array, num_classes: int = 10) -> Array:
    """Return the share of right answers among the examples of each class."""
    return np.array([np.mean(predictions[y == label] == label) for label in range(num_classes)])
