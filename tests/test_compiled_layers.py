"""The compiled layers: they are those of `cs231n.layers`, at every size and wherever their arrays lie."""

from copy import deepcopy
from functools import wraps

import numpy as np
import pytest
import test_dropout
import test_normalization
import test_spatial_normalization
import torch
from conftest import (
    DTYPES,
    Layer,
    assert_same,
    compiled,
    draw,
    every_layer_check,
    every_second,
    layers,
    reversed_twice,
)
from test_fast_optim import ROOT, run_python, swapped, unaligned
from test_placement import assert_all_equal, placements
from torch.nn import functional

from cs231n import compiled_layers, fast_layers, layer_utils, model_layers
from cs231n import layers as formulas
from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.kernels import threads
from cs231n.kernels.threads import use_threads

pytestmark = pytest.mark.q2

norms = compiled("norms_cython")
SETS = norms.vector_sets()
TRAIN, BATCHNORM = {"mode": "train"}, {"mode": "train", "eps": 1e-3, "momentum": 0.8}
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65)

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_set = pytest.mark.parametrize("vectors", SETS)


@pytest.fixture(autouse=True)
def widest_vectors():
    yield
    norms.use_vectors(SETS[-1])


def groupnorm_of(module):
    """`spatial_groupnorm_forward` with G among the settings."""

    @wraps(module.spatial_groupnorm_forward)
    def groupnorm(x, gamma, beta, settings):
        others = {name: value for name, value in settings.items() if name != "G"}
        return module.spatial_groupnorm_forward(x, gamma, beta, settings["G"], others)

    return groupnorm


def layer_of(module, name, shapes, param=None):
    """A layer of `cs231n.layers` or of `compiled_layers` by its name."""
    forward = groupnorm_of(module) if name == "spatial_groupnorm" else getattr(module, f"{name}_forward")
    backward = f"{name}_backward{'_alt' if name == 'batchnorm' else ''}"  # in closed form
    return Layer(forward, getattr(module, backward), shapes, param)


def both(name, shapes, param=None):
    """The compiled layer, and the formula."""
    return [layer_of(module, name, shapes, param) for module in (compiled_layers, formulas)]


def cases(sizes=SIZES):
    """Yield a name, the shapes of its arrays and its settings, for many sizes."""
    for N, C in ((N, C) for N in (1, 2, 8, 9, 19) for C in sizes):
        params = (C,), (C,)
        yield "batchnorm", ((N, C), *params), BATCHNORM
        yield "layernorm", ((N, C), *params), {"eps": 1e-3}
        yield "spatial_batchnorm", ((N, 3, 1, C), (3,), (3,)), BATCHNORM
        yield "spatial_groupnorm", ((N, 6, C, 2), (6,), (6,)), {"eps": 1e-3, "G": 2}
        yield "relu", ((N, C),), None
        yield "dropout", ((N, C),), {"mode": "train", "p": 0.6, "seed": N}
    for shape in ((2, 9, 11, 12), (70, 3, 4, 4), (3, 2, 33, 35), (2, 2, 50, 60)):
        params = (shape[1],), (shape[1],)
        yield "spatial_batchnorm", (shape, *params), BATCHNORM
        yield "spatial_groupnorm", (shape, *params), {"eps": 1e-3, "G": 1}


def results(layer, arrays, dout):
    """The output, the gradients and, after training, the running averages."""
    param = deepcopy(layer.param)
    out, cache = layer.forward(*arrays, *([] if param is None else [param]))
    trained = ("running_mean", "running_var") if layer.param and layer.param.get("momentum") else ()
    averages = [param[name] for name in trained]
    return [out, *layer.gradients(dout, cache), *averages]


# The rules of layers, and the same results

NAMED = {
    "batchnorm": test_normalization.BATCHNORM,
    "batchnorm_alt": test_normalization.BATCHNORM_ALT,
    "batchnorm_in_test_mode": test_normalization.in_test_mode(test_normalization.BATCHNORM),
    "layernorm": test_normalization.LAYERNORM,
    "spatial_batchnorm": test_spatial_normalization.BATCHNORM,
    "spatial_batchnorm_in_test_mode": test_spatial_normalization.BATCHNORM._replace(
        param=test_spatial_normalization.AVERAGES | {"mode": "test"}
    ),
    "spatial_groupnorm": test_spatial_normalization.group_layer(2),
    "spatial_groupnorm_like_images": test_spatial_normalization.group_layer(3, gamma="image", beta="image"),
    "spatial_groupnorm_gamma_like_an_image": test_spatial_normalization.group_layer(1, gamma="image"),
    "dropout": test_dropout.DROPOUT,
    "relu": Layer(formulas.relu_forward, formulas.relu_backward, ((4, 3, 5),)),
}


def compiled_form(layer):
    forward, backward = (getattr(compiled_layers, part.__name__) for part in (layer.forward, layer.backward))
    is_group = forward.__name__ == "spatial_groupnorm_forward"
    return layer._replace(forward=groupnorm_of(compiled_layers) if is_group else forward, backward=backward)


@every_layer_check
@layers(**{name: compiled_form(layer) for name, layer in NAMED.items()})
def test_layer_keeps_the_rules(layer, check):
    check(layer)


@every_dtype
@every_set
def test_results_are_those_of_the_formula(vectors, dtype):
    """At every size, in every mode."""
    norms.use_vectors(vectors)
    for name, shapes, param in cases():
        layer, formula = both(name, shapes, param)
        arrays, dout = layer.draw(dtype, seed=len(shapes[0]))
        for result, expected in zip(
            results(layer, arrays, dout), results(formula, arrays, dout), strict=True
        ):
            assert_same(result, expected, dtype, f"{name} of {shapes[0]}")


@every_dtype
@pytest.mark.parametrize("name, shape", [("batchnorm", (5, 9)), ("spatial_batchnorm", (4, 9, 3, 2))])
def test_test_mode_is_that_of_the_formula(name, shape, dtype):
    averages = {"running_mean": draw(9, seed=1), "running_var": np.abs(draw(9, seed=2))}
    layer, formula = both(name, (shape, (9,), (9,)), {"mode": "test", **averages})
    arrays, dout = layer.draw(dtype)
    for result, expected in zip(results(layer, arrays, dout), results(formula, arrays, dout), strict=True):
        assert_same(result, expected, dtype)


@every_dtype
@every_set
@pytest.mark.parametrize("C", [1, 2, 10, 31, 32, 33, 100, 1000])
def test_softmax_loss_is_that_of_the_formula(vectors, dtype, C):
    norms.use_vectors(vectors)
    y = np.random.default_rng(C).integers(0, C, 9)
    for scale in (1e-3, 1, 30):
        x = scale * draw((9, C), dtype)
        loss, dx = compiled_layers.softmax_loss(x, y)
        expected_loss, expected = formulas.softmax_loss(x, y)
        assert type(loss) is type(expected_loss) is dtype
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-5 if dtype == np.float32 else 1e-13)
        assert_same(dx, expected, dtype)


@every_set
def test_exponentials_are_as_exact_as_the_number_type(vectors):
    """A row of two scores, 0 and -x, has the probability e^-x / (1 + e^-x)."""
    norms.use_vectors(vectors)
    for dtype, most in ((np.float32, 87), (np.float64, 708)):
        x = np.linspace(0, most, 100_001).astype(dtype)
        scores = np.stack([np.zeros_like(x), -x], axis=1)
        _, dx = compiled_layers.softmax_loss(scores, np.zeros(len(x), int))
        e = np.exp(-x.astype(np.longdouble))
        expected = e / (1 + e)
        error = np.abs(dx[:, 1] * len(x) / expected - 1)[: np.argmax(dx[:, 1] == 0) or None]
        assert error.max() < 3 * np.finfo(dtype).eps


# The same bits


@every_dtype
def test_every_set_of_vectors_gives_the_same_bits(dtype):
    for name, shapes, param in cases(sizes=(1, 9, 33)):
        layer, _ = both(name, shapes, param)
        arrays, dout = layer.draw(dtype)
        expected = None
        for vectors in SETS:
            norms.use_vectors(vectors)
            found = results(layer, arrays, dout)
            for result, other in zip(found, expected or found, strict=True):
                np.testing.assert_array_equal(result, other)
            expected = found
    x, y = 9 * draw((7, 45), dtype), np.arange(7)
    losses = []
    for vectors in SETS:
        norms.use_vectors(vectors)
        losses.append(compiled_layers.softmax_loss(x, y))
    for loss, dx in losses:
        assert loss == losses[0][0]
        np.testing.assert_array_equal(dx, losses[0][1])


@every_dtype
@every_set
@pytest.mark.parametrize(
    "name, shapes, param",
    [
        ("batchnorm", ((10, 45), (45,), (45,)), BATCHNORM),
        ("layernorm", ((3, 45), (45,), (45,)), {}),
        ("spatial_batchnorm", ((3, 4, 5, 3), (4,), (4,)), BATCHNORM),
        ("spatial_batchnorm", ((2, 2, 15, 10), (2,), (2,)), BATCHNORM),
        ("spatial_groupnorm", ((3, 4, 5, 7), (4,), (4,)), {"G": 2}),
        ("relu", ((7, 11),), None),
        ("dropout", ((7, 11),), {"mode": "train", "p": 0.6, "seed": 1}),
    ],
)
def test_a_layer_has_the_same_bits_everywhere(vectors, dtype, name, shapes, param):
    """Its results do not depend on where its arrays lie."""
    norms.use_vectors(vectors)
    layer, _ = both(name, shapes, param)
    arrays, dout = layer.draw(dtype)
    assert_all_equal(results(layer, placed, last) for *placed, last in placements(*arrays, dout))


@every_dtype
def test_softmax_has_the_same_bits_everywhere(dtype):
    y = np.arange(5)
    assert_all_equal([compiled_layers.softmax_loss(x, y)[1]] for (x,) in placements(3 * draw((5, 37), dtype)))


@every_dtype
def test_threads_do_not_change_the_results(dtype, monkeypatch):
    """But the rounding of dgamma and dbeta, where threads share images."""
    monkeypatch.setattr(threads, "WORTH_SHARING", 0)
    for name, shapes, param in cases(sizes=(1, 9, 33)):
        layer, _ = both(name, shapes, param)
        arrays, dout = layer.draw(dtype)
        with use_threads(1):
            alone = results(layer, arrays, dout)
        with use_threads(2):
            shared = results(layer, arrays, dout)
        by_image = name in ("layernorm", "spatial_groupnorm")
        for i, (result, expected) in enumerate(zip(shared, alone, strict=True)):
            if by_image and i >= 2:
                assert_same(result, expected, dtype)
            else:
                np.testing.assert_array_equal(result, expected)
    x, y = draw((5, 40), dtype), np.arange(5)
    with use_threads(1):
        loss, dx = compiled_layers.softmax_loss(x, y)
    with use_threads(2):
        shared_loss, shared_dx = compiled_layers.softmax_loss(x, y)
    assert loss == shared_loss
    np.testing.assert_array_equal(dx, shared_dx)


# Exactness


def errors(name, shapes, param, scale, offset):
    """How far from the result in float64 out, dx, dgamma are: compiled, by the formula and by PyTorch."""
    layer, formula = both(name, shapes, param)
    (x, gamma, beta), dout = layer.draw(np.float32)
    x = (x * scale + offset).astype(np.float32)
    exact = results(formula, [array.astype(float) for array in (x, gamma, beta)], dout.astype(float))[:3]
    torch_layer = {
        "batchnorm": lambda x, gamma, beta: functional.batch_norm(x, None, None, gamma, beta, True),
        "layernorm": lambda x, gamma, beta: functional.layer_norm(x, x.shape[1:], gamma, beta),
        "spatial_groupnorm": lambda x, gamma, beta: functional.group_norm(x, 2, gamma, beta),
    }[name.replace("spatial_batch", "batch")]
    leaves = [torch.tensor(array, requires_grad=True) for array in (x, gamma, beta)]
    out = torch_layer(*leaves)
    out.backward(torch.tensor(dout))
    in_torch = [array.detach().numpy() for array in (out, leaves[0].grad, leaves[1].grad)]
    sides = results(layer, (x, gamma, beta), dout)[:3], results(formula, (x, gamma, beta), dout)[:3], in_torch
    return [[np.abs(side[i] - exact[i]).max() / np.abs(exact[i]).max() for i in range(3)] for side in sides]


@pytest.mark.parametrize("scale, offset", [(1, 0), (1, 1e4), (1e-4, 3), (1e15, 0), (1e15, 1e18), (1e-3, -50)])
@pytest.mark.parametrize(
    "name, shapes, param",
    [
        ("batchnorm", ((300, 20), (20,), (20,)), TRAIN),
        ("layernorm", ((20, 300), (300,), (300,)), {}),
        ("spatial_batchnorm", ((30, 4, 20, 20), (4,), (4,)), TRAIN),
        ("spatial_batchnorm", ((30, 4, 7, 7), (4,), (4,)), TRAIN),
        ("spatial_groupnorm", ((10, 4, 20, 20), (4,), (4,)), {"G": 2}),
    ],
)
def test_float32_is_as_exact_as_in_numpy_and_pytorch(name, shapes, param, scale, offset):
    """Of the mean, float32 keeps 7 digits: a distance from a large mean is as exact as that allows."""
    ours, in_numpy, in_torch = errors(name, shapes, param, scale, offset)
    digits = np.finfo(np.float32).eps * (1 + abs(offset) / scale)
    for error, *others in zip(ours, in_numpy, in_torch, strict=True):
        assert error < max(4 * digits, 1.1 * min(others))


def test_a_sum_over_many_pixels_is_exact():
    """A long sum of floats one by one would be off in the fourth digit."""
    x, dout = np.full((1, 1, 2000, 1000), np.float32(0.1)), np.full((1, 1, 2000, 1000), np.float32(0.1))
    x[..., ::2] += np.float32(1)
    param = TRAIN | {"momentum": 0}
    _, cache = compiled_layers.spatial_batchnorm_forward(x, np.ones(1), np.zeros(1), param)
    _, _, dbeta = compiled_layers.spatial_batchnorm_backward(dout, cache)
    np.testing.assert_allclose(param["running_mean"], x.mean(dtype=float), rtol=1e-6)
    np.testing.assert_allclose(param["running_var"], x.var(dtype=float), rtol=1e-6)
    np.testing.assert_allclose(dbeta, dout.sum(dtype=float), rtol=1e-6)


@every_dtype
def test_what_never_varies_becomes_beta(dtype):
    for value in (0, 1, 0.1, 1e4):
        out, _ = compiled_layers.batchnorm_forward(
            np.full((19, 5), value, dtype), np.ones(5), np.arange(5.0), dict(TRAIN)
        )
        np.testing.assert_allclose(out, np.tile(np.arange(5.0), (19, 1)), atol=1e-8)


# Numbers that are none, and denormal ones


@every_dtype
@every_set
def test_nan_and_infinity_go_where_they_do_in_the_formula(vectors, dtype):
    norms.use_vectors(vectors)
    for name, shapes, param in cases(sizes=(2, 9, 33)):
        layer, formula = both(name, shapes, param)
        for value in (np.nan, np.inf, -np.inf):
            for place in ("x", "dout"):
                arrays, dout = layer.draw(dtype)
                (arrays[0] if place == "x" else dout).reshape(-1)[-1] = value
                with np.errstate(all="ignore"):
                    found, expected = results(layer, arrays, dout), results(formula, arrays, dout)
                for result, right in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(np.isnan(result), np.isnan(right), (name, shapes, place))
                    finite = np.isfinite(right)
                    assert_same(result[finite], right[finite], dtype)


@every_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_softmax_passes_on_nan_and_infinity(dtype, value):
    x, y = draw((3, 40), dtype), np.array([0, 1, 2])
    x[1, 7], x[2, 39] = value, value
    with np.errstate(all="ignore"):
        expected_loss, expected = formulas.softmax_loss(x, y)
    loss, dx = compiled_layers.softmax_loss(x, y)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert_same(dx, expected, dtype)


@every_dtype
@every_set
def test_no_gradient_of_softmax_is_denormal(vectors, dtype):
    """Where the formula's is, it is 0; all others are kept."""
    norms.use_vectors(vectors)
    smallest = np.finfo(dtype).smallest_normal
    scores = -np.linspace(0, -1.2 * np.log(float(smallest)), 500).astype(dtype)
    x = np.tile(scores, (3, 1))
    _, dx = compiled_layers.softmax_loss(x, np.array([0, 1, 499]))
    _, expected = formulas.softmax_loss(x, np.array([0, 1, 499]))
    assert ((expected != 0) & (np.abs(expected) < smallest)).any()
    assert not ((dx != 0) & (np.abs(dx) < smallest)).any()
    kept = np.abs(expected) > 2 * smallest
    np.testing.assert_allclose(dx[kept], expected[kept], rtol=1e-4)
    assert (dx[np.abs(expected) < smallest / 2] == 0).all()


# Arguments of every kind


@every_dtype
@pytest.mark.parametrize(
    "arrange", [np.asfortranarray, every_second, reversed_twice, unaligned, swapped], ids=lambda f: f.__name__
)
def test_memory_of_every_kind(dtype, arrange):
    """Bits are the same where only the layout differs; bytes in the other order are for NumPy."""
    for name, shapes, param in cases(sizes=(9,)):
        layer, _ = both(name, shapes, param)
        arrays, dout = layer.draw(dtype)
        with np.errstate(all="ignore"):
            found = results(layer, [arrange(array) for array in arrays], arrange(dout))
        for result, expected in zip(found, results(layer, arrays, dout), strict=True):
            if arrange is swapped:
                assert_same(result.astype(dtype), expected, dtype)
            else:
                np.testing.assert_array_equal(result, expected)
    x, y = draw((5, 33), dtype), np.arange(5)
    for labels in (y, y.astype(np.uint8), y[::-1][::-1], y.astype(">i4")):
        np.testing.assert_array_equal(
            compiled_layers.softmax_loss(arrange(x), labels)[1].argmin(axis=1), np.arange(5)
        )


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_other_dtypes_are_for_the_formula(dtype):
    for name, shapes, param in cases(sizes=(3,)):
        layer, formula = both(name, shapes, param)
        arrays, dout = layer.draw(dtype)
        for result, expected in zip(
            results(layer, arrays, dout), results(formula, arrays, dout), strict=True
        ):
            assert result.dtype == dtype
            np.testing.assert_array_equal(result, expected)
    loss, _ = compiled_layers.softmax_loss(np.ones((2, 3), dtype), [0, 1])
    assert loss.dtype == dtype


def test_a_single_number_is_for_the_formula():
    assert compiled_layers.relu_forward(np.float64(-1.0))[0] == 0
    assert compiled_layers.relu_forward(3)[0] == 3


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_arrays(shape):
    for name in ("relu", "dropout"):
        layer, _ = both(name, (shape,), {"mode": "train", "p": 0.5} if name == "dropout" else None)
        assert [array.shape for array in results(layer, [np.ones(shape)], np.ones(shape))] == [shape] * 2


@pytest.mark.parametrize("seed", [None, 5])
@every_dtype
def test_the_mask_is_that_of_the_formula(dtype, seed):
    """Drawn from the same generator: the numbers that come next are the same, too."""
    x, param = draw((30, 40), dtype), {"mode": "train", "p": 0.3, "seed": seed}
    outs = []
    for module in (compiled_layers, formulas):
        np.random.seed(3)
        out, _ = module.dropout_forward(x, param)
        outs.append((out, np.random.rand()))
    np.testing.assert_array_equal(outs[0][0], outs[1][0])
    assert outs[0][1] == outs[1][1]


X, P = np.ones((2, 3)), np.ones(3)
IMAGES = np.ones((2, 4, 3, 3))
REFUSED = (
    ("relu_forward", "a"),
    ("batchnorm_forward", np.ones(3), P, P, TRAIN),
    ("batchnorm_forward", X, np.ones(2), P, TRAIN),
    ("batchnorm_forward", X, P, np.ones((3, 1)), TRAIN),
    ("batchnorm_forward", X, P, P, {}),
    ("batchnorm_forward", X, P, P, None),
    ("batchnorm_forward", X, P, P, {"mode": "test", "running_mean": np.ones(2)}),
    ("batchnorm_forward", X, P, P, TRAIN | {"eps": -1}),
    ("batchnorm_forward", X, P, P, TRAIN | {"momentum": 2}),
    ("batchnorm_forward", X, P, P, TRAIN | {"running_var": "a"}),
    ("batchnorm_forward", np.ones((0, 3)), P, P, TRAIN),
    ("layernorm_forward", X, np.ones(2), P, {}),
    ("layernorm_forward", X, P, P, {"eps": 2}),
    ("layernorm_forward", X, P, P, []),
    ("spatial_batchnorm_forward", X, P, P, TRAIN),
    ("spatial_batchnorm_forward", IMAGES, P, np.ones(4), TRAIN),
    ("spatial_batchnorm_forward", IMAGES, np.ones(4), P, TRAIN),
    ("spatial_batchnorm_forward", IMAGES, np.ones(4), np.ones(4), {"mode": "no"}),
    ("spatial_groupnorm_forward", X, P, P, 1, {}),
    ("spatial_groupnorm_forward", IMAGES, np.ones(4), np.ones(4), 3, {}),
    ("spatial_groupnorm_forward", IMAGES, np.ones(4), np.ones(4), 0, {}),
    ("spatial_groupnorm_forward", IMAGES, P, np.ones(4), 2, {}),
    ("spatial_groupnorm_forward", IMAGES, np.ones(4), np.ones(4), 2, {"eps": -1}),
    ("dropout_forward", X, {"mode": "train"}),
    ("dropout_forward", X, {"mode": "test", "p": 2}),
    ("dropout_forward", X, {"mode": "train", "p": 0}),
    ("dropout_forward", X, {"p": 0.5}),
    ("softmax_loss", np.ones(3), [0]),
    ("softmax_loss", X, [0]),
    ("softmax_loss", X, [0, 3]),
    ("softmax_loss", X, [0.5, 1]),
    ("softmax_loss", np.ones((0, 3)), []),
)


@pytest.mark.validation
@pytest.mark.parametrize("name, arguments", [(name, arguments) for name, *arguments in REFUSED])
def test_errors_are_those_of_the_formula(name, arguments):
    messages = []
    for module in (compiled_layers, formulas):
        with pytest.raises(ValueError) as caught:
            getattr(module, name)(*deepcopy(arguments))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.validation
def test_a_refused_call_leaves_bn_param_as_it_was():
    param = {"mode": "train", "momentum": 5}
    with pytest.raises(ValueError, match="momentum"):
        compiled_layers.batchnorm_forward(X, P, P, param)
    assert param == {"mode": "train", "momentum": 5}


# The kernels themselves: what does not fit is refused before anything is written


@pytest.mark.parametrize("part", [slice(0, 4), slice(-1, 2), slice(2, 1)])
def test_a_part_that_is_none_is_refused(part):
    x, out, (gamma, beta, *rest) = np.ones((2, 3, 4)), np.ones((2, 3, 4)), np.ones((5, 3))
    with pytest.raises(ValueError, match="part must be a slice from 0 to 3"):
        norms.batch_forward(x, part, gamma, beta, 0, *rest, out)


@pytest.mark.parametrize("short", range(6))
def test_arrays_that_are_too_short_are_refused(short):
    x, lengths = np.ones((2, 3, 4)), [3, 3, 3, 3, 3, 4]
    lengths[short] -= 1
    gamma, beta, mean, var, inv_std = map(np.ones, lengths[:5])
    out = np.ones((2, 3, lengths[5]))
    with pytest.raises(ValueError, match="must have"):
        norms.batch_forward(x, slice(0, 3), gamma, beta, 0, mean, var, inv_std, out)


@pytest.mark.parametrize("short", range(5))
def test_a_group_that_does_not_fit_is_refused(short):
    x, shapes = np.ones((2, 4, 3)), [(4,), (4,), (2, 2), (2, 2), (2, 4, 3)]
    shapes[short] = (*shapes[short][:-1], shapes[short][-1] + 1)
    with pytest.raises(ValueError, match="must have"):
        norms.group_forward(x, slice(0, 2), *map(np.ones, shapes[:2]), 0, *map(np.ones, shapes[2:]))


def test_lengths_and_labels_that_do_not_fit_are_refused():
    for function, arrays in (
        (norms.relu, [3, 2]),
        (norms.relu_backward, [3, 3, 2]),
        (norms.relu_backward, [3, 2, 3]),
    ):
        with pytest.raises(ValueError, match="must have length 3; got 2"):
            function(*map(np.ones, arrays))
    with pytest.raises(ValueError, match="kept must have length 3; got 2"):
        norms.keep(np.ones(3), np.ones(2, np.uint8), 1, np.ones(3))
    for y in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="y must hold labels from 0 to 2"):
            norms.softmax(X, np.array(y), 2, np.ones(2), np.empty_like(X))
    with pytest.raises(ValueError, match="dx must have the shape"):
        norms.softmax(X, np.array([0, 1]), 2, np.ones(2), np.ones((2, 2)))
    with pytest.raises(ValueError, match="name must be one of"):
        norms.use_vectors("none")


# Who uses them, and what there is without them


def test_models_use_the_compiled_layers():
    for name in compiled_layers.__all__:
        assert getattr(model_layers, name) is getattr(compiled_layers, name)
    for name in set(formulas.__all__) - set(compiled_layers.__all__):
        assert getattr(model_layers, name) is getattr(formulas, name)
    assert layer_utils.relu_forward is compiled_layers.relu_forward
    assert not set(compiled_layers.__all__) & set(fast_layers.__all__)


@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@every_dtype
def test_a_network_learns_the_same_by_formula(normalization, dtype, monkeypatch):
    X, y = draw((20, 6)), np.arange(20) % 3
    found = []
    for module in (norms, None):
        monkeypatch.setattr(compiled_layers, "norms", module)
        np.random.seed(0)
        model = FullyConnectedNet([9, 8], 6, 3, 0.7, normalization, weight_scale=0.3, dtype=dtype, seed=1)
        found.append(model.loss(X, y))
    (loss, grads), (expected_loss, expected) = found
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for name in expected:
        assert_same(grads[name], expected[name], dtype, name)


NOT_BUILT = """
import sys
sys.modules["cs231n.kernels.norms_cython"] = None  # an import of it fails
import numpy as np
from cs231n import compiled_layers, layers
from cs231n.classifiers.fc_net import FullyConnectedNet

assert compiled_layers.norms is None
x = np.random.randn(4, 3)
out, cache = compiled_layers.batchnorm_forward(x, np.ones(3), np.zeros(3), {"mode": "train"})
expected, expected_cache = layers.batchnorm_forward(x, np.ones(3), np.zeros(3), {"mode": "train"})
assert (out == expected).all()
backwards = compiled_layers.batchnorm_backward_alt(x, cache), layers.batchnorm_backward_alt(x, expected_cache)
for grad, right in zip(*backwards):
    assert (grad == right).all()
FullyConnectedNet([5], 3, 2, normalization="batchnorm", dropout=0.5).loss(x, np.array([0, 1, 0, 1]))
"""


def test_without_compiled_code_the_formula_computes():
    done = run_python(NOT_BUILT, ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
