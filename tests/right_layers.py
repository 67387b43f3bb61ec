"""Right layers and networks of any kind, to see that no check calls them wrong.

    python tests/right_layers.py 1000 200      # this many layers and networks

Each is drawn by its number: its kind, shapes, dtype, memory layout, scales from 1e-4 to 1e2, ties and zeros.
"""

import sys
from collections import Counter

import numpy as np

from cs231n import fast_layers, layer_utils, layers
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.gradcheck import FAIL, PASS, check_layer, check_model

LAYOUTS = (
    np.ascontiguousarray,
    np.asfortranarray,
    lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
)


class Draw:
    """Random numbers and choices of one case."""

    def __init__(self, number):
        self.rng = np.random.default_rng(number)

    def size(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def one_of(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def scale(self, low=-4, high=2):
        return 10 ** self.rng.uniform(low, high)

    def array(self, *shape, scale=None, offset=0.0):
        """An array of any layout and dtype; None for the scale draws one."""
        values = self.rng.standard_normal(shape) * (self.scale() if scale is None else scale) + offset
        dtype = self.one_of(np.float32, np.float64)
        return self.one_of(*LAYOUTS)(values).astype(dtype)

    def image(self, *shape):
        """An image: of any scale, or the output of a ReLU, or like pixels of a few bits, with ties."""
        kind = self.one_of("plain", "relu", "pixels")
        if kind == "pixels":
            return self.rng.integers(0, self.one_of(4, 16, 256), size=shape).astype(
                self.one_of(np.float32, float)
            )
        x = self.array(*shape)
        return np.maximum(x, 0) if kind == "relu" else x


def affine(draw):
    N, D, M = draw.size(1, 7), draw.size(1, 8), draw.size(1, 8)
    inputs = {"x": draw.array(N, D), "w": draw.array(D, M), "b": draw.array(M)}
    return layers.affine_forward, layers.affine_backward, inputs


def relu(draw):
    x = draw.array(draw.size(1, 7), draw.size(1, 8))
    x[draw.rng.random(x.shape) < draw.one_of(0, 0.2)] = 0
    return layers.relu_forward, layers.relu_backward, {"x": x}


def affine_relu(draw):
    N, D, M = draw.size(1, 6), draw.size(1, 6), draw.size(1, 6)
    inputs = {"x": draw.array(N, D), "w": draw.array(D, M), "b": draw.array(M)}
    return layer_utils.affine_relu_forward, layer_utils.affine_relu_backward, inputs


def dropout(draw):
    param = {"mode": draw.one_of("train", "train", "test"), "p": draw.rng.uniform(0.1, 1), "seed": 3}
    x = draw.array(draw.size(1, 7), draw.size(1, 8))
    return lambda x: layers.dropout_forward(x, param), layers.dropout_backward, {"x": x}


def loss(draw):
    function = draw.one_of(layers.softmax_loss, layers.svm_loss)
    N, C = draw.size(1, 7), draw.size(2, 7)
    y = draw.rng.integers(C, size=N)
    x = draw.array(N, C, scale=draw.scale(-4, 1))
    return lambda x: function(x, y), lambda dout, dx: dout * dx, {"x": x}


def scales_of(draw, D, names=("gamma", "beta")):
    return {name: draw.array(D) for name in names}


def batchnorm(draw):
    N, D = draw.size(2, 8), draw.size(1, 8)
    param = {"mode": draw.one_of("train", "train", "test"), "eps": draw.scale(-8, -1)}
    if param["mode"] == "test":
        param |= {"running_mean": draw.rng.standard_normal(D), "running_var": draw.rng.random(D) + 0.1}
    x = draw.array(N, D, offset=draw.one_of(0, 0, 3))
    backward = draw.one_of(layers.batchnorm_backward, layers.batchnorm_backward_alt)
    if param["mode"] == "test":
        backward = layers.batchnorm_backward
    return (
        lambda x, g, b: layers.batchnorm_forward(x, g, b, dict(param)),
        backward,
        {"x": x, **scales_of(draw, D)},
    )


def layernorm(draw):
    N, D = draw.size(1, 8), draw.size(2, 8)
    param = {"eps": draw.scale(-8, -1)}
    inputs = {"x": draw.array(N, D), **scales_of(draw, D)}
    return lambda x, g, b: layers.layernorm_forward(x, g, b, param), layers.layernorm_backward, inputs


def spatial_batchnorm(draw):
    shape = draw.size(1, 3), draw.size(1, 4), draw.size(2, 4), draw.size(2, 4)
    param = {"mode": "train", "eps": draw.scale(-8, -1)}
    inputs = {"x": draw.array(*shape), **scales_of(draw, shape[1])}
    return (
        lambda x, g, b: layers.spatial_batchnorm_forward(x, g, b, dict(param)),
        layers.spatial_batchnorm_backward,
        inputs,
    )


def groupnorm(draw):
    G, per_group = draw.size(1, 3), draw.size(1, 3)
    C = G * per_group
    x = draw.array(draw.size(1, 3), C, draw.size(2, 4), draw.size(2, 4))
    inputs = {"x": x, "gamma": draw.array(1, C, 1, 1), "beta": draw.array(1, C, 1, 1)}
    param = {"eps": draw.scale(-8, -1)}
    return (
        lambda x, g, b: layers.spatial_groupnorm_forward(x, g, b, G, param),
        layers.spatial_groupnorm_backward,
        inputs,
    )


def convolution(draw):
    stride, pad, size = draw.one_of(1, 1, 2), draw.size(0, 2), draw.size(1, 3)
    N, C, F = draw.size(1, 3), draw.size(1, 3), draw.size(1, 3)
    H, W = (size + stride * draw.size(0, 3) for _ in range(2))
    if pad:
        H, W = max(H - 2 * pad, 1), max(W - 2 * pad, 1)
        H, W = (n + (-(n + 2 * pad - size)) % stride for n in (H, W))
    inputs = {"x": draw.image(N, C, H, W), "w": draw.array(F, C, size, size), "b": draw.array(F)}
    param = {"stride": stride, "pad": pad}
    return (
        lambda x, w, b: fast_layers.conv_forward_fast(x, w, b, param),
        fast_layers.conv_backward_fast,
        inputs,
    )


def max_pool(draw):
    height, width, stride = draw.size(1, 3), draw.size(1, 3), draw.size(1, 3)
    H, W = height + stride * draw.size(0, 3), width + stride * draw.size(0, 3)
    param = {"pool_height": height, "pool_width": width, "stride": stride}
    x = draw.image(draw.size(1, 2), draw.size(1, 3), H, W)
    forward, backward = layers.max_pool_forward_naive, layers.max_pool_backward_naive
    return lambda x: forward(x, param), backward, {"x": x}


def conv_relu_pool(draw):
    size, C, F = draw.one_of(1, 3), draw.size(1, 2), draw.size(1, 3)
    window, stride = draw.one_of((2, 2), (2, 1), (3, 1))
    H = W = 6 if stride == 2 else 5
    inputs = {"x": draw.image(2, C, H, W), "w": draw.array(F, C, size, size), "b": draw.array(F)}
    conv, pool = (
        {"stride": 1, "pad": size // 2},
        {"pool_height": window, "pool_width": window, "stride": stride},
    )
    return (
        lambda x, w, b: layer_utils.conv_relu_pool_forward(x, w, b, conv, pool),
        layer_utils.conv_relu_pool_backward,
        inputs,
    )


LAYERS = (
    affine,
    relu,
    affine_relu,
    dropout,
    loss,
    batchnorm,
    layernorm,
    spatial_batchnorm,
    groupnorm,
    convolution,
    max_pool,
    conv_relu_pool,
)


def check_right_layer(number):
    """Check the layer with this number; return its kind and the Report."""
    kind = LAYERS[number % len(LAYERS)]
    forward, backward, inputs = kind(Draw(number))
    with np.errstate(all="ignore"):
        return kind.__name__, check_layer(forward, backward, inputs)


def check_right_network(number):
    """Check the network with this number; return its kind and the Report."""
    draw = Draw(10**6 + number)
    np.random.seed(number)
    C, dtype, reg = (
        draw.size(2, 5),
        draw.one_of(np.float32, np.float64),
        draw.one_of(0.0, 0.1, draw.scale(-3, 1)),
    )
    scale = draw.one_of({}, {}, {"weight_scale": draw.scale(-4, 0)})
    N = draw.size(2, 6)
    y = draw.rng.integers(C, size=N)
    kind = draw.one_of("two-layer", "fully-connected", "fully-connected", "convolutional")
    if kind == "convolutional":
        shape = draw.size(1, 3), 2 * draw.size(2, 3), 2 * draw.size(2, 3)
        model = ThreeLayerConvNet(
            shape, draw.size(1, 3), draw.one_of(1, 3), draw.size(2, 5), C, reg=reg, dtype=dtype, **scale
        )
    else:
        shape = (draw.size(3, 12),)
        if kind == "two-layer":
            model = TwoLayerNet(*shape, draw.size(3, 8), C, reg=reg, **scale)
        else:
            hidden = [draw.size(3, 8) for _ in range(draw.size(1, 5))]
            norm, keep = draw.one_of(None, None, "batchnorm", "layernorm"), draw.one_of(1, 1, 0.6)
            model = FullyConnectedNet(
                hidden, *shape, C, dropout=keep, normalization=norm, reg=reg, dtype=dtype, seed=5, **scale
            )
    X = draw.array(N, *shape, scale=draw.one_of(1, 1, draw.scale(-2, 2)))
    with np.errstate(all="ignore"):
        return kind, check_model(model, X, y)


def main(layers_count, networks_count):
    """Check so many right layers and networks, and print what is not a PASS."""
    verdicts = Counter()
    for check, count in ((check_right_layer, layers_count), (check_right_network, networks_count)):
        for number in range(count):
            kind, report = check(number)
            verdicts[kind, report.status] += 1
            if report.status == FAIL or (report.status != PASS and "--warn" in sys.argv):
                print(f"{check.__name__}({number}), {kind}:\n{report}")
    for (kind, status), count in sorted(verdicts.items()):
        print(f"{kind:20} {status} {count}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
