"""The notebooks' check cells stop at mistakes that no gradient check can see.

A gradient check compares backward with forward. A forward pass that is itself wrong, a test mode, an update
rule or a penalty needs values on paper, or a property. Each mistake here is planted by itself, and the cells
have to stop at the check that is meant for it. The functions are written from the formulas: a factory such as
`batchnorm()` makes the right function, and with an argument a wrong one.
"""

import re
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest

from cs231n import model_layers
from cs231n.classifiers import cnn, fc_net
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = {
    "FullyConnectedNets": "q1",
    "BatchNormalization": "q2",
    "Dropout": "q3",
    "ConvolutionalNetworks": "q4",
}

CELLS = {  # what is checked: its notebook, and the ends of the ids of its check cells and of those they need
    "affine": ("FullyConnectedNets", "008 010"),
    "ReLU": ("FullyConnectedNets", "015"),
    "affine-ReLU": ("FullyConnectedNets", "023"),
    "softmax": ("FullyConnectedNets", "028 028-b 028-c"),
    "SVM": ("FullyConnectedNets", "028 028-b 028-c 029"),
    "two layers": ("FullyConnectedNets", "033 035 037"),
    "any depth": ("FullyConnectedNets", "048 048-b 048-c 048-d 048-e"),
    "momentum": ("FullyConnectedNets", "060"),
    "RMSProp": ("FullyConnectedNets", "062"),
    "Adam": ("FullyConnectedNets", "064 064-b 064-c"),
    "batch norm": ("BatchNormalization", "005 005-b 005-c 006 008 010 010-b 013 013-b 013-c"),
    "layer norm": ("BatchNormalization", "039 039-b 039-c 041"),
    "net with batch norm": ("BatchNormalization", "024 024-b 024-c 024-d"),
    "net with layer norm": ("BatchNormalization", "024 024-b 024-c 024-d 044"),
    "dropout": ("Dropout", "005 005-b"),
    "net with dropout": ("Dropout", "016 016-b 016-c 016-d"),
    "convolution": ("ConvolutionalNetworks", "005 007 007-images 007-picked"),
    "max pooling": ("ConvolutionalNetworks", "015 015-channels"),
    "three layers": ("ConvolutionalNetworks", "043 043-penalty"),
    "spatial batch norm": (
        "ConvolutionalNetworks",
        "058-describe 058 058-gamma 058-example 060-warm-up 060 060-example",
    ),
    "group norm": ("ConvolutionalNetworks", "067 067-example"),
}


@cache
def sources(notebook):
    """The source of every code cell, without magic commands, by the end of its id."""
    cells = nbformat.read(ROOT / f"{notebook}.ipynb", as_version=4).cells
    return {
        cell.id.removeprefix(f"{notebook.lower()}-"): re.sub("^%.*$", "", cell.source, flags=re.MULTILINE)
        for cell in cells
        if cell.cell_type == "code"
    }


@cache
def imported(notebook):
    """What the notebook's first cell imports."""
    namespace = {}
    for end in ("002", "002-imports"):
        exec(sources(notebook).get(end, ""), namespace)
    return namespace


def run(what, **replaced):
    """Run the check cells of a layer, rule or network, with other functions in place of those named."""
    notebook, cells = CELLS[what]
    namespace = imported(notebook) | replaced
    for end in cells.split():
        exec(compile(sources(notebook)[end], f"{notebook} {end}", "exec"), namespace)


def skipped(*arguments, **options):
    """Stand in for check_gradients, which takes seconds: the mistakes here have gradients that fit."""


def case(what, name, mistake, check):
    """A mistake in a function of the notebook called `name`, and the check that stops it."""
    mark = getattr(pytest.mark, QUESTIONS[CELLS[what][0]])
    return pytest.param(what, name, mistake, check, marks=mark, id=re.sub(r"\W+", "-", f"{what} {check}"))


# --------------------------------------------------------------------------------- layers from their formulas


def affine(flatten="C", bias=True, by_example=False):
    def forward(x, w, b):
        rows = x.reshape(len(x), -1, order=flatten) @ w
        return rows + (b[: len(x), np.newaxis] if by_example else b * bias), None

    return forward


def softmax(mean_over=0, axis=1, log=np.log):
    """The loss, and its gradient, which fits also where the loss is wrong."""

    def loss(x, y):
        rows, count = np.arange(len(x)), x.shape[mean_over] if mean_over is not None else 1
        p = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)
        dx = p - (np.arange(x.shape[1]) == y[:, np.newaxis])
        return -log(p[rows, y]).sum() / count, dx / count

    return loss


def svm(margin=1, hinge=lambda margins: np.maximum(margins, 0), right_class=0, mean_over=0):
    def loss(x, y):
        rows = np.arange(len(x))
        losses = hinge(x - x[rows, y, np.newaxis] + margin)
        losses[rows, y] = right_class
        return losses.sum() / x.shape[mean_over], np.zeros_like(x)

    return loss


def root(var, eps):
    return np.sqrt(var + eps)


def eps_outside(var, eps):
    return np.sqrt(var) + eps


def no_eps(var, eps):
    return np.sqrt(var)


def mixed(old, new, momentum):
    return momentum * old + (1 - momentum) * new


def batchnorm(
    train_root=root,
    test_root=root,
    mix=mixed,
    kept=lambda var, N: var,
    ddof=0,
    test_by_batch=False,
    test_moves=False,
    test_affine=True,
):
    def forward(x, gamma, beta, bn_param):
        eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
        mean, var = x.mean(axis=0), x.var(axis=0, ddof=ddof)
        running = {"running_mean": mean, "running_var": kept(var, len(x))}
        trains = bn_param["mode"] == "train"
        averages = {name: bn_param.get(name, np.zeros_like(mean)) for name in running}
        if trains or test_moves:
            bn_param.update({name: mix(averages[name], running[name], momentum) for name in running})
        if trains or test_by_batch:
            return gamma * (x - mean) / train_root(var, eps) + beta, None
        x_hat = (x - averages["running_mean"]) / test_root(averages["running_var"], eps)
        return gamma * x_hat + beta if test_affine else x_hat, None

    return forward


def as_pixels(layer):
    """A layer of rows (N, C) as one of images (N, C, H, W): every pixel is an example."""

    def forward(x, gamma, beta, bn_param):
        rows = np.moveaxis(x, 1, -1)
        out, _ = layer(rows.reshape(-1, x.shape[1]), gamma, beta, bn_param)
        return np.moveaxis(out.reshape(rows.shape), -1, 1), None

    return forward


def spatial_batchnorm_over(*axes):
    """Spatial batch normalization that takes its statistics in training over other axes than N, H and W."""

    def forward(x, gamma, beta, bn_param):
        out, _ = as_pixels(batchnorm())(x, gamma, beta, bn_param)
        if bn_param["mode"] == "test":
            return out, None
        mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
        x_hat = (x - mean) / root(var, bn_param.get("eps", 1e-5))
        return gamma.reshape(-1, 1, 1) * x_hat + beta.reshape(-1, 1, 1), None

    return forward


def layernorm(axis=1, layer_root=root, ddof=0, affine=lambda x_hat, gamma, beta: gamma * x_hat + beta):
    def forward(x, gamma, beta, ln_param):
        var = x.var(axis=axis, ddof=ddof, keepdims=True)
        x_hat = (x - x.mean(axis=axis, keepdims=True)) / layer_root(var, ln_param.get("eps", 1e-5))
        return affine(x_hat, gamma, beta), None

    return forward


def groupnorm(groups=lambda G, C: G, interleaved=False, layer=None):
    """Group normalization, as `layer` normalizes the rows (N G, C / G H W)."""

    def forward(x, gamma, beta, G, gn_param):
        (N, C, H, W), G = x.shape, groups(G, x.shape[1])
        split = x.reshape(N, C // G, G, H, W).swapaxes(1, 2) if interleaved else x.reshape(N, G, C // G, H, W)
        rows, _ = (layer or layernorm())(split.reshape(N * G, -1), 1, 0, gn_param)
        x_hat = rows.reshape(split.shape)
        x_hat = (x_hat.swapaxes(1, 2) if interleaved else x_hat).reshape(x.shape)
        return gamma.reshape(-1, 1, 1) * x_hat + beta.reshape(-1, 1, 1), None

    return forward


def dropout(
    keep=lambda p: p, mask_shape=lambda N, D: (N, D), seed=None, train=lambda p: 1 / p, test=lambda p: 1
):
    def forward(x, param):
        p = param["p"]
        if param["mode"] == "test":
            return x * test(p), None
        rand = np.random.rand if seed is None else np.random.RandomState(seed).rand
        return x * (rand(*mask_shape(*x.shape)) < keep(p)) * train(p), None

    return forward


def convolution(turned=lambda w: w, strides=lambda s: (s, s), padding=lambda p: (p, p), bias=lambda b: b):
    def forward(x, w, b, conv_param):
        w, (down, right) = turned(w), strides(conv_param["stride"])
        pads = padding(conv_param["pad"])
        padded = np.pad(x, ((0, 0), (0, 0), pads, pads))
        windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))[
            :, :, ::down, ::right
        ]
        return np.einsum("ncijpq,fcpq->nfij", windows, w) + bias(b).reshape(-1, 1, 1), None

    return forward


def max_pooling(
    size=lambda height, width: (height, width), step=lambda stride, height: stride, start=-np.inf, axes=()
):
    def forward(x, param):
        height, width, stride = (param[name] for name in ("pool_height", "pool_width", "stride"))
        stride = step(stride, height)
        windows = np.lib.stride_tricks.sliding_window_view(x, size(height, width), axis=(2, 3))
        out = np.maximum(windows[:, :, ::stride, ::stride].max(axis=(4, 5)), start)
        return np.broadcast_to(out.max(axis=axes, keepdims=True), out.shape) if axes else out, None

    return forward


# ----------------------------------------------------------------------------------------------- update rules


def momentum(of_old=lambda mu: mu, of_new=lambda mu: 1, look_ahead=False):
    def rule(w, dw, config):
        mu, step = config["momentum"], config["learning_rate"] * dw
        v = config["velocity"] = of_old(mu) * config["velocity"] - of_new(mu) * step
        return w + (mu * v - step if look_ahead else v), config

    return rule


def rmsprop(average=mixed, divisor=eps_outside):
    def rule(w, dw, config):
        s = config["cache"] = average(config.get("cache", 0 * w), dw**2, config["decay_rate"])
        return w - config["learning_rate"] * dw / divisor(s, config["epsilon"]), config

    return rule


def adam(beta1=0.9, beta2=0.999, m_corrected=True, v_corrected=True, divisor=eps_outside, first=1):
    def rule(w, dw, config):
        t = config["t"] = config.get("t", first - 1) + 1
        m = config["m"] = mixed(config.get("m", 0 * w), dw, beta1)
        v = config["v"] = mixed(config.get("v", 0 * w), dw**2, beta2)
        m = m / (1 - beta1**t) if m_corrected else m
        v = v / (1 - beta2**t) if v_corrected else v
        with np.errstate(all="ignore"):  # t = 0 divides by zero
            return w - config["learning_rate"] * m / divisor(v, config["epsilon"]), config

    return rule


def eps_before_correction(beta2=0.999):
    """Adam's divisor in its first step if epsilon is added to the root before its correction."""
    return lambda v, eps: (np.sqrt(v * (1 - beta2)) + eps) / np.sqrt(1 - beta2)


def swapped(old, new, share):
    return mixed(new, old, share)


def forgetful(old, new, share):
    return (1 - share) * new


LAYERS = [
    case("affine", "affine_forward", affine(bias=False), "affine forward"),
    case("affine", "affine_forward", affine(by_example=True), "affine forward"),
    case("affine", "affine_forward", affine(flatten="F"), "affine forward, flattened"),
    case("ReLU", "relu_forward", lambda x: (np.where(x > 0, x, 0.01 * x), x), "ReLU forward"),
    case("ReLU", "relu_forward", lambda x: (np.abs(x), x), "ReLU forward"),
    case(
        "affine-ReLU",
        "affine_relu_forward",
        lambda x, w, b: affine()(np.maximum(x, 0), w, b),
        "affine-ReLU forward",
    ),
    case("softmax", "softmax_loss", softmax(mean_over=1), "softmax loss on paper"),
    case("softmax", "softmax_loss", softmax(mean_over=None), "softmax loss on paper"),
    case("softmax", "softmax_loss", softmax(axis=0), "softmax loss on paper"),
    case("softmax", "softmax_loss", softmax(log=np.log2), "softmax loss on paper"),
    case("SVM", "svm_loss", svm(hinge=lambda margins: margins), "SVM loss on paper"),
    case("SVM", "svm_loss", svm(hinge=lambda margins: np.maximum(margins, 0) ** 2), "SVM loss on paper"),
    case("SVM", "svm_loss", svm(right_class=1), "SVM loss on paper"),
    case("SVM", "svm_loss", svm(margin=0), "SVM loss on paper"),
    case("SVM", "svm_loss", svm(mean_over=1), "SVM loss on paper"),
    case("momentum", "sgd_momentum", momentum(of_old=lambda mu: 1 - mu), "momentum: velocity"),
    case("momentum", "sgd_momentum", momentum(of_new=lambda mu: 1 - mu), "momentum: velocity"),
    case("momentum", "sgd_momentum", momentum(look_ahead=True), "momentum: w"),
    case("RMSProp", "rmsprop", rmsprop(average=swapped), "RMSProp: running square"),
    case("RMSProp", "rmsprop", rmsprop(average=forgetful), "RMSProp: second running square"),
    case("RMSProp", "rmsprop", rmsprop(divisor=root), "RMSProp: w"),
    case("RMSProp", "rmsprop", rmsprop(divisor=no_eps), "RMSProp: w"),
    case("Adam", "adam", adam(m_corrected=False), "Adam: first step"),
    case("Adam", "adam", adam(v_corrected=False), "Adam: first step"),
    case("Adam", "adam", adam(first=2), "Adam: first step"),
    case("Adam", "adam", adam(beta1=0.999, beta2=0.9), "Adam: second step"),
    case("Adam", "adam", adam(divisor=root), "Adam: a large epsilon"),
    case("Adam", "adam", adam(divisor=no_eps), "Adam: a large epsilon"),
    case("Adam", "adam", adam(divisor=eps_before_correction()), "Adam: a large epsilon"),
    case("batch norm", "batchnorm_forward", batchnorm(ddof=1), "standard deviations"),
    case("batch norm", "batchnorm_forward", batchnorm(train_root=eps_outside), "on paper"),
    case("batch norm", "batchnorm_forward", batchnorm(mix=swapped), "running mean"),
    case("batch norm", "batchnorm_forward", batchnorm(mix=forgetful), "running mean"),
    case("batch norm", "batchnorm_forward", batchnorm(kept=lambda var, N: np.sqrt(var)), "running variance"),
    case(
        "batch norm",
        "batchnorm_forward",
        batchnorm(kept=lambda var, N: N / (N - 1) * var),
        "running variance",
    ),
    case("batch norm", "batchnorm_forward", batchnorm(test_by_batch=True), "half of the batch"),
    case("batch norm", "batchnorm_forward", batchnorm(test_affine=False), "means, roughly"),
    case("batch norm", "batchnorm_forward", batchnorm(test_root=eps_outside), "test mode on paper"),
    case("batch norm", "batchnorm_forward", batchnorm(test_root=no_eps), "test mode on paper"),
    case("batch norm", "batchnorm_forward", batchnorm(test_moves=True), "running mean, left alone"),
    case("layer norm", "layernorm_forward", layernorm(axis=0), "means of the examples"),
    case("layer norm", "layernorm_forward", layernorm(ddof=1), "standard deviations of the examples"),
    case(
        "layer norm",
        "layernorm_forward",
        layernorm(layer_root=eps_outside),
        "standard deviations of the examples|on paper",
    ),
    case("layer norm", "layernorm_forward", layernorm(affine=lambda x_hat, gamma, beta: x_hat), "on paper"),
    case(
        "layer norm",
        "layernorm_forward",
        layernorm(affine=lambda x_hat, g, b: g.mean() * x_hat + b.mean()),
        "on paper",
    ),
    case("dropout", "dropout_forward", dropout(keep=lambda p: 1 - p), "mean of the output"),
    case(
        "dropout",
        "dropout_forward",
        dropout(keep=lambda p: 1 - p, train=lambda p: 1 / (1 - p)),
        "share of zeros",
    ),
    case("dropout", "dropout_forward", dropout(train=lambda p: 1), "mean of the output"),
    case("dropout", "dropout_forward", dropout(train=lambda p: 1, test=lambda p: p), "mean of the output"),
    case("dropout", "dropout_forward", dropout(test=lambda p: p), "test mode"),
    case("dropout", "dropout_forward", dropout(seed=0), "share kept twice"),
    case(
        "dropout",
        "dropout_forward",
        dropout(mask_shape=lambda N, D: (1, D)),
        "share of zeros, by unit|mean of the output|share of zeros",
    ),
    case(
        "dropout",
        "dropout_forward",
        dropout(mask_shape=lambda N, D: (N, 1)),
        "share of zeros, by example|mean of the output|share of zeros",
    ),
    case("convolution", "conv_forward_naive", convolution(turned=lambda w: w[..., ::-1, ::-1]), "no padding"),
    case(
        "convolution", "conv_forward_naive", convolution(turned=lambda w: w[..., ::-1, :]), "picked top right"
    ),
    case("convolution", "conv_forward_naive", convolution(turned=lambda w: w[:, ::-1]), "picked top right"),
    case("convolution", "conv_forward_naive", convolution(strides=lambda s: (s, 1)), "stride 3"),
    case("convolution", "conv_forward_naive", convolution(padding=lambda p: (2 * p, 0)), "first row"),
    case("convolution", "conv_forward_naive", convolution(bias=lambda b: 0 * b), "no padding"),
    case("convolution", "conv_forward_naive", convolution(bias=lambda b: b[:1]), "picked bottom left"),
    case("max pooling", "max_pool_forward_naive", max_pooling(step=lambda s, h: h), "overlapping windows"),
    case(
        "max pooling", "max_pool_forward_naive", max_pooling(size=lambda h, w: (w, h)), "overlapping windows"
    ),
    case("max pooling", "max_pool_forward_naive", max_pooling(start=0), "two channels"),
    case("max pooling", "max_pool_forward_naive", max_pooling(axes=(1,)), "two channels"),
    *(
        case("spatial batch norm", "spatial_batchnorm_forward", mistake, check)
        for mistake, check in (
            (spatial_batchnorm_over(2, 3), "on paper"),
            (spatial_batchnorm_over(0), "standard deviations|on paper"),
            (spatial_batchnorm_over(1, 2, 3), "means"),
            (as_pixels(batchnorm(ddof=1)), "standard deviations"),
            (as_pixels(batchnorm(train_root=eps_outside)), "on paper"),
            (as_pixels(batchnorm(mix=swapped)), "running means"),
            (as_pixels(batchnorm(kept=lambda var, N: np.sqrt(var))), "running variances"),
            (as_pixels(batchnorm(test_by_batch=True)), "half of the batch"),
            (as_pixels(batchnorm(test_root=eps_outside)), "test mode on paper"),
            (as_pixels(batchnorm(test_root=no_eps)), "test mode on paper"),
        )
    ),
    *(
        case("group norm", "spatial_groupnorm_forward", mistake, check)
        for mistake, check in (
            (groupnorm(groups=lambda G, C: C // G), "means"),
            (groupnorm(groups=lambda G, C: 1), "means"),
            (groupnorm(interleaved=True), "means"),
            (groupnorm(layer=layernorm(ddof=1)), "standard deviations"),
            (groupnorm(layer=layernorm(layer_root=eps_outside)), "on paper"),
        )
    ),
]


@pytest.mark.parametrize(("what", "name", "mistake", "check"), LAYERS)
def test_the_cells_stop_at_a_wrong_layer_loss_or_rule(what, name, mistake, check):
    with pytest.raises(AssertionError, match=f"FAIL  ({check}): "):
        run(what, **{name: mistake})


# --------------------------------------------------------------------------------------------------- networks


def replacing(owner, name, mistake):
    """Return a function that plants mistake(original) in place of owner.name."""
    return lambda patch: patch.setattr(owner, name, mistake(getattr(owner, name)))


def penalty(module, factor=0.5, times=None, kinds="W"):
    """Plant a penalty that counts some weights otherwise, or biases too, in the loss and in the gradients."""

    def add(loss, grads, params, reg):
        for name in (name for name in grads if name[0] in kinds):
            share = (times or {}).get(name, 1)
            loss += factor * share * reg * np.sum(params[name] ** 2)
            grads[name] += 2 * factor * share * reg * params[name]
        return loss

    return replacing(module, "add_l2_penalty", lambda original: add)


def initial(model, name, change):
    """Plant a change of one of the initial parameters."""

    def changed(original):
        def params(*arguments):
            found = original(*arguments)
            return found | {name: change(found[name])}

        return params

    return replacing(model, "_initial_params", changed)


def relu_on_scores(model):
    def changed(original):
        return lambda self, X, y=None: np.maximum(original(self, X), 0) if y is None else original(self, X, y)

    return replacing(model, "loss", changed)


def always(mode):
    """Plant a mode that stays as it is, with and without labels."""
    return replacing(FullyConnectedNet, "_set_mode", lambda original: lambda self, _: original(self, mode))


def norm_after_relu(original):
    def layers(self, i):
        affine_layer, norm, relu, *others = original(self, i)
        return [affine_layer, relu, norm, *others]

    return layers


def batchnorm_for_layernorm(patch):
    patch.setitem(fc_net.NORMALIZATIONS, "layernorm", fc_net.NORMALIZATIONS["batchnorm"])


def times_p_in_test_mode(original):
    def forward(x, param):
        out, mask = original(x, param)
        return (param["p"] * out if param["mode"] == "test" else out), mask

    return forward


def dropping_for_keeping(original):
    return lambda dropout, ratio: 1 if dropout == 1 else 1 - dropout


def noise(param):
    return param + 0.01 * np.random.randn(*param.shape)


NETWORKS = {
    "two-layers-W2-too-large": ("two layers", initial(TwoLayerNet, "W2", lambda W: 10 * W), "spread of W2"),
    "two-layers-b2-random": ("two layers", initial(TwoLayerNet, "b2", noise), "b2"),
    "two-layers-relu-on-scores": ("two layers", relu_on_scores(TwoLayerNet), "scores"),
    "two-layers-penalty-without-half": ("two layers", penalty(fc_net, factor=1), "L2 penalty"),
    "two-layers-penalty-of-W1-only": ("two layers", penalty(fc_net, times={"W2": 0}), "L2 penalty"),
    "two-layers-penalty-of-biases": ("two layers", penalty(fc_net, kinds="Wb"), "L2 penalty"),
    "any-depth-W2-too-small": (
        "any depth",
        initial(FullyConnectedNet, "W2", lambda W: W / 9),
        "spread of W2",
    ),
    "any-depth-b2-random": ("any depth", initial(FullyConnectedNet, "b2", noise), "b2"),
    "any-depth-relu-on-scores": ("any depth", relu_on_scores(FullyConnectedNet), "scores"),
    "any-depth-penalty-without-half": ("any depth", penalty(fc_net, factor=1), "L2 penalty"),
    "any-depth-penalty-of-W1-twice": ("any depth", penalty(fc_net, times={"W1": 2, "W3": 0}), "L2 penalty"),
    "any-depth-penalty-of-biases": ("any depth", penalty(fc_net, kinds="Wb"), "L2 penalty"),
    "batch-norm-always-training": (
        "net with batch norm",
        always("train"),
        "scores of one example at a time, test mode",
    ),
    "batch-norm-always-testing": ("net with batch norm", always("test"), "db1 is zero"),
    "batch-norm-after-relu": (
        "net with batch norm",
        replacing(FullyConnectedNet, "_hidden_layer", norm_after_relu),
        "db1 is zero",
    ),
    "batch-norm-for-layer-norm": (
        "net with layer norm",
        batchnorm_for_layernorm,
        "loss of each example alone",
    ),
    "dropout-always-training": ("net with dropout", always("train"), "scores, asked twice"),
    "dropout-always-testing": ("net with dropout", always("test"), "share of units dropped"),
    "dropout-times-p-in-test-mode": (
        "net with dropout",
        replacing(model_layers, "dropout_forward", times_p_in_test_mode),
        "scores as without dropout",
    ),
    "dropout-by-probability-to-drop": (
        "net with dropout",
        replacing(fc_net, "_keep_probability", dropping_for_keeping),
        "share of units dropped",
    ),
    "three-layers-penalty-without-half": ("three layers", penalty(cnn, factor=1), "L2 penalty"),
    "three-layers-penalty-of-W1-twice": (
        "three layers",
        penalty(cnn, times={"W1": 2, "W3": 0}),
        "L2 penalty",
    ),
    "three-layers-penalty-of-biases": ("three layers", penalty(cnn, kinds="Wb"), "L2 penalty"),
}


@pytest.mark.parametrize(
    ("what", "plant", "check"),
    [
        pytest.param(*each, id=name, marks=getattr(pytest.mark, QUESTIONS[CELLS[each[0]][0]]))
        for name, each in NETWORKS.items()
    ],
)
def test_the_cells_stop_at_a_wrong_network(what, plant, check, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=f"FAIL  {check}: "):
        run(what, check_gradients=skipped)


# -------------------------------------------------------------------------------------------- right functions

FORMULAS = {
    "affine": {"affine_forward": affine()},
    "softmax": {"softmax_loss": softmax()},
    "momentum": {"sgd_momentum": momentum()},
    "RMSProp": {"rmsprop": rmsprop()},
    "Adam": {"adam": adam()},
    "batch norm": {"batchnorm_forward": batchnorm()},
    "layer norm": {"layernorm_forward": layernorm()},
    "dropout": {"dropout_forward": dropout()},
    "convolution": {"conv_forward_naive": convolution()},
    "max pooling": {"max_pool_forward_naive": max_pooling()},
    "spatial batch norm": {"spatial_batchnorm_forward": as_pixels(batchnorm())},
    "group norm": {"spatial_groupnorm_forward": groupnorm()},
}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=getattr(pytest.mark, QUESTIONS[CELLS[what][0]])) for what in CELLS]
)
def test_the_cells_pass_with_the_right_functions(what):
    """With the reference's, and with those that are written here from the formulas."""
    run(what, check_gradients=skipped)
    if what in FORMULAS:
        run(what, **FORMULAS[what])
