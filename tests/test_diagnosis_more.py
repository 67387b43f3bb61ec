"""Mistakes of many families: forward passes that differ, missing sums, mixed-up indices, and conclusions.

The layers are written as learners write them, in loops or in stages; the mistake is in their text.
"""

import numpy as np
import pytest
from broken_layers import named_first
from conftest import draw, draw_all
from test_diagnosis_networks import DEEP, EPS, EQUAL, LAYER, NORM, Learner, minibatch

from cs231n.gradcheck.check import FAIL, PASS, WARN, check_layer, check_model
from cs231n.gradcheck.conduct import raised
from cs231n.gradcheck.diagnosis import Mistake

pytestmark = pytest.mark.q2


def first(report, name="dx"):
    """Return the title of the first cause of a gradient that fails."""
    title = named_first(report)[name]
    assert title, str(report)
    return title


# ---------------------------------------------------------------------------------------------------------
# ReLU and dropout
# ---------------------------------------------------------------------------------------------------------

RELUS = {
    "multiplies negative entries": lambda x: np.where(x > 0, x, 0.1 * x),
    "returns the absolute value": np.abs,
    "multiplies positive entries": lambda x: 2 * np.maximum(x, 0),
    "takes the maximum of x and a number": lambda x: np.maximum(x, 0.3),
    "cuts its output off": lambda x: np.clip(x, 0, 0.8),
    "returns the negative part": lambda x: np.minimum(x, 0),
    "takes the maximum of -x": lambda x: np.maximum(-x, 0),
    "stops positive entries": lambda x: x * (x > 0.9),
    "lets negative entries": lambda x: x * (x > -0.9),
}
SHAPES = [(5, 7), (6, 6), (2, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("words", RELUS)
def test_a_forward_pass_that_is_not_relu_is_named(words, shape):
    forward = RELUS[words]
    report = check_layer(lambda x: (forward(x), x), lambda dout, x: dout * (x > 0), {"x": draw(shape)})
    assert first(report).startswith(f"the forward pass {words}"), str(report)


@pytest.mark.parametrize("shape", SHAPES)
def test_activations_that_are_right_pass(shape):
    def check(forward, slope):
        return check_layer(lambda x: (forward(x), x), lambda dout, x: dout * slope(x), {"x": draw(shape)})

    assert check(RELUS["multiplies negative entries"], lambda x: np.where(x > 0, 1, 0.1)).status == PASS
    assert check(np.abs, np.sign).status == PASS
    unknown = check(lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.cos(x))
    assert not any("forward" in cause.title for cause in unknown.all_causes())


def whole_rows(dx, x):
    dx[np.where(x <= 0)[0]] = 0


def whole_columns(dx, x):
    dx[:, np.where(x <= 0)[1]] = 0


@pytest.mark.parametrize(("change", "name"), [(whole_rows, "rows"), (whole_columns, "columns")])
def test_whole_rows_that_are_stopped_are_named(change, name):
    x = np.abs(draw((6, 5)))
    x[[1, 4], [2, 0]] *= -1

    def backward(dout, x):
        dx = dout.copy()
        change(dx, x)
        return dx

    report = check_layer(lambda x: (np.maximum(x, 0), x), backward, {"x": x})
    assert first(report) == Mistake.WHOLE_SLICES.value.format(name)


@pytest.mark.parametrize("settings", [None, {"p": 0.7, "mode": "train"}])
@pytest.mark.parametrize("factor", [lambda mask: mask, lambda mask: 1.0])
def test_a_mask_of_positive_outputs_is_named(factor, settings):
    x, p = draw((6, 7)), 0.7
    mask = (np.random.RandomState(3).rand(*x.shape) < p) / p

    def backward(dout, out):
        return dout * factor(mask) * (out > 0)

    report = check_layer(lambda x: (x * mask, x * mask), backward, {"x": x}, settings=settings)
    assert first(report) == Mistake.MASK_OF_OUT.value


def test_a_sum_that_is_broadcast_to_other_examples_is_named():
    y = np.arange(5) % 5

    def loss(x):
        e = np.exp(x)
        p, wrong = e / e.sum(axis=1, keepdims=True), e / e.sum(axis=1)
        wrong[np.arange(5), y] -= 1
        return -np.log(p[np.arange(5), y]).mean(), wrong / 5

    report = check_layer(loss, lambda dout, dx: dout * dx, {"x": draw((5, 5))}, settings={"y": y})
    assert first(report) == Mistake.EXP_OVER_SUM_OF_ANOTHER.value


# ---------------------------------------------------------------------------------------------------------
# Normalization
# ---------------------------------------------------------------------------------------------------------


def statistics(x, axis):
    centered = x - x.mean(axis, keepdims=True)
    return centered, np.sqrt((centered**2).mean(axis, keepdims=True) + EPS)


def normalized(axis, out=None):
    """The forward pass of batch (axis 0) or layer normalization (1), or one that computes out otherwise."""

    def forward(x, gamma, beta):
        centered, std = statistics(x, axis)
        right = gamma * centered / std + beta
        given = (x, gamma, centered, std)
        return right if out is None else out(x, gamma, beta, centered, std), given

    return forward


def closed(dout, cache, axis, dx_hat=None, sums=None, std=None):
    _, gamma, centered, right = cache
    x_hat, g = centered / right, dout * gamma if dx_hat is None else dx_hat
    s = g if sums is None else sums
    mean, product = s.mean(axis, keepdims=True), (s * x_hat).mean(axis, keepdims=True)
    dx = (g - mean - x_hat * product) / (right if std is None else std)
    return dx, (dout * x_hat).sum(axis=0), dout.sum(axis=0)


def check_norm(axis, dx=None, out=None, shape=(6, 4), settings=None):
    def backward(dout, cache):
        right = closed(dout, cache, axis)
        return right if dx is None else (dx(dout, cache, axis), *right[1:])

    x, gamma, beta = draw_all([shape, shape[1:], shape[1:]], seed=4)
    inputs = {"x": 1.5 * x + 0.3, "gamma": 1 + 0.4 * gamma, "beta": beta}
    return check_layer(normalized(axis, out), backward, inputs, settings=settings)


def staged(dout, cache, axis, of_variance=None, of_mean=None):
    """The staged pass; of_variance and of_mean take the place of the sums for the variance and the mean."""
    x, gamma, centered, std = cache
    count = x.shape[axis]

    def total(array):
        return array.sum(axis, keepdims=True)

    dx_hat = dout * gamma
    dvar = (of_variance or total)(dx_hat * centered * -0.5 * std**-3.0)
    dcentered = dx_hat / std + 2 / count * centered * dvar
    return dcentered - (of_mean or total)(dcentered) / count


def itself(array):
    return array


STAGES = {
    "variance": (Mistake.TERM_NOT_SUMMED, {"of_variance": itself}),
    "mean": (Mistake.TERM_NOT_SUMMED, {"of_mean": itself}),
    "": (Mistake.MEANS_NOT_SUMMED, {"of_variance": itself, "of_mean": itself}),
}


@pytest.mark.parametrize("shape", [(6, 4), (5, 5)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("about", STAGES)
def test_a_sum_that_is_missing_in_a_stage_is_named(about, axis, shape):
    mistake, changes = STAGES[about]
    report = check_norm(axis, lambda *given: staged(*given, **changes), shape=shape)
    assert first(report) == mistake.value.format(about), str(report)


@pytest.mark.parametrize("shape", [(6, 4), (5, 5)])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_variance_alone_summed_over_the_wrong_axis_is_named(axis, shape):
    def over_the_other(array):
        return array.sum(1 - axis, keepdims=True)

    report = check_norm(axis, lambda *given: staged(*given, of_variance=over_the_other), shape=shape)
    assert first(report) == Mistake.TERM_OVER_WRONG_AXES.value.format("variance"), str(report)


@pytest.mark.parametrize("shape", [(6, 4), (5, 5)])
@pytest.mark.parametrize("axis", [0, 1])
def test_sums_without_gamma_are_named(axis, shape):
    report = check_norm(axis, lambda dout, cache, axis: closed(dout, cache, axis, sums=dout)[0], shape=shape)
    assert first(report) == Mistake.NO_GAMMA_IN_SUMS.value


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("eps", [EPS, 0.0])
def test_an_extra_root_is_named(axis, eps):
    def dx(dout, cache, axis):
        return closed(dout, cache, axis, std=np.sqrt(cache[-1] + eps))[0]

    assert first(check_norm(axis, dx)) == Mistake.STD_FOR_VAR.value


@pytest.mark.parametrize("axis", [0, 1])
def test_gamma_along_the_wrong_axis_is_named(axis):
    def dx(dout, cache, axis):
        return closed(dout, cache, axis, dx_hat=dout * cache[1][:, None])[0]

    assert first(check_norm(axis, dx, shape=(5, 5))) == Mistake.GAMMA_ALONG_WRONG_AXIS.value


FORWARD_NORMS = {
    "divides by the variance": lambda x, gamma, beta, centered, std: gamma * centered / std**2 + beta,
    "does not divide": lambda x, gamma, beta, centered, std: gamma * centered + beta,
    "does not subtract the mean": lambda x, gamma, beta, centered, std: gamma * x / std + beta,
    "divides by the root of": lambda x, gamma, beta, centered, std: gamma * centered / np.sqrt(std) + beta,
    "leaves out gamma,": lambda x, gamma, beta, centered, std: centered / std + beta,
    "swaps gamma and beta": lambda x, gamma, beta, centered, std: beta * centered / std + gamma,
    "multiplies by 1 + gamma": lambda x, gamma, beta, centered, std: (1 + gamma) * centered / std + beta,
}


@pytest.mark.parametrize("settings", [None, {"eps": EPS, "mode": "train"}])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("words", FORWARD_NORMS)
def test_a_forward_pass_that_is_not_a_normalization_is_named(words, axis, settings):
    report = check_norm(axis, out=FORWARD_NORMS[words], settings=settings)
    assert first(report).startswith(f"the forward pass {words}"), str(report)


@pytest.mark.parametrize("axis", [0, 1])
def test_normalizations_are_not_accused(axis):
    assert check_norm(axis).status == PASS
    assert check_norm(axis, staged).status == PASS
    unknown = check_norm(axis, lambda dout, cache, axis: np.sin(closed(dout, cache, axis)[0]))
    assert unknown.status == FAIL
    assert not unknown.all_causes()


@pytest.mark.parametrize("settings", [None, {"G": 2}])
def test_parameters_that_are_summed_over_a_group_are_named(settings):
    N, C, G, H, W = 3, 6, 2, 2, 3

    def forward(x, gamma, beta):
        groups = x.reshape(N, G, -1)
        centered, std = statistics(groups, 2)
        x_hat = (centered / std).reshape(x.shape)
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def backward(dout, cache):
        x_hat, std, gamma = cache
        g, h = (dout * gamma).reshape(N, G, -1), x_hat.reshape(N, G, -1)
        dx = (g - g.mean(2, keepdims=True) - h * (g * h).mean(2, keepdims=True)) / std

        def of_groups(array):
            sums = array.reshape(N, G, C // G, H, W).sum(axis=(0, 2, 3, 4))
            return np.repeat(sums, C // G).reshape(1, C, 1, 1)

        return dx.reshape(dout.shape), of_groups(dout * x_hat), of_groups(dout)

    shapes = [(N, C, H, W), (1, C, 1, 1), (1, C, 1, 1)]
    inputs = dict(zip(("x", "gamma", "beta"), draw_all(shapes), strict=True))
    report = check_layer(forward, backward, inputs, settings=settings)
    of_group = Mistake.SUMMED_OVER_GROUP.value
    assert named_first(report) == {"dgamma": of_group, "dbeta": of_group}, str(report)


# ---------------------------------------------------------------------------------------------------------
# Convolution and pooling
# ---------------------------------------------------------------------------------------------------------


def forward_conv(stride, pad, step=None):
    rows, columns = step or (stride, stride)

    def forward(x, w):
        HH, WW = w.shape[2:]
        padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        counts = [
            1 + (size - length) // stride for size, length in zip(padded.shape[2:], (HH, WW), strict=True)
        ]
        out = np.zeros((len(x), len(w), *counts))
        for i, j in np.ndindex(*counts):
            window = padded[:, :, i * rows : i * rows + HH, j * columns : j * columns + WW]
            out[:, :, i, j] = np.einsum("ncpq,fcpq->nf", window, w)
        return out, (x, w)

    return forward


def right_dw(dout, x, w, stride, pad):
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dw = np.zeros_like(w)
    for i, j in np.ndindex(*dout.shape[2:]):
        window = padded[:, :, i * stride : i * stride + w.shape[2], j * stride : j * stride + w.shape[3]]
        dw += np.einsum("nf,ncpq->fcpq", dout[:, :, i, j], window)
    return dw


def dx_by_pixels(dout, x, w, stride, pad, is_inside, w_of=lambda w, n, f: w[f], size=None):
    """dx pixel by pixel, without padding: is_inside(h, H) guards against it."""
    dx, (H, W) = np.zeros_like(x), x.shape[2:]
    for n, f, i, j in np.ndindex(*dout.shape):
        for p, q in np.ndindex(*(size or w.shape[2:])):
            h, v = i * stride + p - pad, j * stride + q - pad
            if is_inside(h, H) and is_inside(v, W):
                dx[n, :, h, v] += w_of(w, n, f)[:, p, q] * dout[n, f, i, j]
    return dx


def inside(h, size):
    return 0 <= h < size


def check_conv(dx, x=(2, 2, 5, 4), w=(3, 2, 3, 3), stride=1, pad=1, settings=True, step=None):
    def backward(dout, cache):
        return dx(dout, *cache, stride, pad), right_dw(dout, *cache, stride, pad)

    inputs = dict(zip(("x", "w"), draw_all([x, w]), strict=True))
    given = {"stride": stride, "pad": pad} if settings else None
    return check_layer(forward_conv(stride, pad, step), backward, inputs, settings=given)


PIXELS = {
    "right": (None, {"is_inside": inside}),
    "n-for-f": (
        Mistake.WRONG_INDEX.value.format("n is used for f in w"),
        {"is_inside": inside, "w_of": lambda w, n, f: w[n]},
    ),
    "wrapped": (Mistake.WRAPPED.value, {"is_inside": lambda h, size: h < size}),
    "guard": (
        Mistake.PIXELS_LEFT_OUT.value.format("first row and first column"),
        {"is_inside": lambda h, size: 0 < h < size},
    ),
    "guard-at-end": (
        Mistake.PIXELS_LEFT_OUT.value.format("last row and last column"),
        {"is_inside": lambda h, size: 0 <= h < size - 1},
    ),
}


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize("shape", [(2, 2, 5, 4), (2, 2, 4, 4)])
@pytest.mark.parametrize("name", PIXELS)
def test_a_convolution_pixel_by_pixel(name, shape, settings):
    title, changes = PIXELS[name]
    report = check_conv(lambda *given: dx_by_pixels(*given, **changes), x=shape, settings=settings)
    assert named_first(report) == ({"dx": title} if title else {}), str(report)


def test_entries_of_filters_that_are_left_out_are_named():
    report = check_conv(
        lambda *given: dx_by_pixels(*given, inside, size=(2, 2)), x=(2, 2, 5, 6), w=(3, 2, 2, 3)
    )
    assert first(report) == Mistake.ENTRIES_LEFT_OUT.value
    assert "HH used for WW" in str(report)


@pytest.mark.parametrize(("step", "where"), [((2, 1), "columns"), ((1, 2), "rows")])
@pytest.mark.parametrize("settings", [True, False])
def test_a_stride_that_is_ignored_in_one_direction_forward(step, where, settings):
    report = check_conv(
        lambda *given: dx_by_pixels(*given, inside), x=(2, 2, 6, 5), stride=2, settings=settings, step=step
    )
    wrong = f"the forward pass ignores the stride in {where}, the backward pass does not"
    assert set(named_first(report).values()) == {wrong}, str(report)


def check_pool(size, stride, x=(2, 2, 6, 6), forward_size=None, dx_size=None, place=None, settings=True):
    """Check a max pooling whose forward or backward pass has windows of another size, or a fixed place."""

    def windows(x, size):
        counts = [
            1 + (length - side) // stride for length, side in zip(x.shape[2:], size_of_out, strict=True)
        ]
        for n, c, i, j in np.ndindex(*x.shape[:2], *counts):
            rows, columns = slice(i * stride, i * stride + size[0]), slice(j * stride, j * stride + size[1])
            yield (n, c, i, j), (n, c, rows, columns)

    size_of_out = size

    def forward(x):
        counts = [1 + (length - side) // stride for length, side in zip(x.shape[2:], size, strict=True)]
        out = np.zeros((*x.shape[:2], *counts))
        for index, pixels in windows(x, forward_size or size):
            out[index] = x[pixels].max()
        return out, x

    def backward(dout, x):
        dx = np.zeros_like(x)
        for index, pixels in windows(x, dx_size or size):
            if place is None:
                dx[pixels] += (x[pixels] == x[pixels].max()) * dout[index]
            else:
                dx[pixels][place] += dout[index]
        return dx

    given = {"pool_height": size[0], "pool_width": size[1], "stride": stride} if settings else None
    return check_layer(forward, backward, {"x": draw(x)}, settings=given)


def test_windows_of_another_size_forward_are_named():
    report = check_pool((3, 3), 2, x=(2, 2, 7, 7), forward_size=(2, 2))
    assert first(report).startswith("the forward pass takes windows as large as the stride")
    report = check_pool((2, 3), 2, x=(2, 2, 8, 9), forward_size=(2, 2))
    assert first(report).startswith("the forward pass ")


@pytest.mark.parametrize("settings", [True, False])
def test_one_side_of_the_window_for_both_is_named(settings):
    wide, high = (2, 4), (4, 2)
    report = check_pool(wide, 2, dx_size=(2, 2), x=(2, 2, 4, 8), settings=settings)
    assert first(report) == Mistake.ONE_SIDE_FOR_BOTH.value.format("height"), str(report)
    report = check_pool(high, 2, dx_size=(2, 2), x=(2, 2, 8, 4), settings=settings)
    assert first(report) == Mistake.ONE_SIDE_FOR_BOTH.value.format("width"), str(report)


@pytest.mark.parametrize("place", [(0, 0), (1, 0), (1, 1)])
def test_a_fixed_place_in_a_window_is_named(place):
    assert first(check_pool((2, 2), 2, place=place)) == Mistake.SAME_PLACE.value


def test_a_pooling_whose_settings_are_wrong_is_not_accused():
    assert check_pool((2, 2), 2).status in (PASS, WARN)
    assert check_pool((3, 3), 2, x=(2, 2, 7, 7)).status in (PASS, WARN)


# ---------------------------------------------------------------------------------------------------------
# Networks, and the sentences beside the causes
# ---------------------------------------------------------------------------------------------------------


class ReluOnScores(Learner):
    """Forward has a ReLU on the scores."""

    def forward(self, x, i):
        out, cache = super().forward(x, i)
        return (np.maximum(out, 0) if i == self.last else out), cache


class NoRelu(Learner):
    """Forward has no ReLU in the first layer, where backward has one."""

    def forward(self, x, i):
        out, cache = super().forward(x, i)
        return (cache["pre"] if i == 1 else out), cache


class EarlyBeta(Learner):
    """Beta's gradient is taken above the ReLU."""

    def relu(self, dout, cache, i, grads):
        self.above = dout
        return super().relu(dout, cache, i, grads)

    def norm(self, dout, cache, i, grads):
        dx = super().norm(dout, cache, i, grads)
        grads[f"beta{i}"] = self.above.sum(axis=0)
        return dx


@pytest.mark.parametrize("dims", [(6, 5, 4), DEEP])
def test_relus_that_only_one_pass_has_are_named(dims):
    report = check_model(ReluOnScores(dims), *minibatch())
    assert set(named_first(report).values()) == {Mistake.RELU_ON_SCORES.value}, str(report)
    report = check_model(NoRelu(dims), *minibatch())
    title = Mistake.RELU_MISSING_IN_FORWARD.value.format("layer 1")
    assert set(named_first(report).values()) == {title}, str(report)


@pytest.mark.parametrize("options", [NORM, LAYER])
def test_beta_above_the_relu_is_named(options):
    report = check_model(EarlyBeta(DEEP, **options), *minibatch())
    title = Mistake.BEFORE_RELU_BACKWARD.value.format("dbeta1 and dbeta2")
    assert set(named_first(report).values()) == {title}, str(report)


def with_grads(dims, after, **options):
    net = Learner(dims, **options)
    net.after = after
    return net


def test_gradients_under_each_others_names_are_told_once():
    def swapped(grads, _):
        return grads | {"W2": grads["W3"], "W3": grads["W2"], "b2": grads["b3"], "b3": grads["b2"]}

    report = check_model(with_grads(EQUAL, swapped, reg=0.0), *minibatch())
    assert report.notes == ["The gradients of W2 and W3, b2 and b3 are stored under each other's names."]
    assert "under the name of its own parameter" in str(report)


def test_a_copy_of_a_right_gradient_is_no_matter_of_order():
    def copied(grads, _):
        return grads | {"b2": grads["b3"]}

    report = check_model(with_grads(EQUAL, copied, reg=0.0), *minibatch())
    assert first(report, "db2") == Mistake.OF_ANOTHER_ARGUMENT.value.format("b3")
    assert "needs a formula of its own" in str(report)


class TwicePenalized(Learner):
    """The loss lacks the 0.5 of the penalty."""

    def loss(self, X, y):
        loss, grads = super().loss(X, y)
        extra = sum((self.params[f"W{i}"] ** 2).sum() for i in range(1, self.last + 1))
        return loss + 0.5 * self.reg * extra, grads


def test_a_wrong_loss_does_not_lead_to_the_gradients():
    report = check_model(TwicePenalized((6, 5, 4)), *minibatch())
    assert set(named_first(report).values()) == {Mistake.LOSS_PENALTY_TWICE.value}
    assert not report.notes


def test_both_readings_of_a_penalty_are_offered():
    def with_w(grads, net):
        return grads | {"W2": grads["W2"] + net.reg * net.params["W2"]}

    report = check_model(with_grads((6, 5, 4), with_w, reg=0.5), *minibatch())
    titles = [cause.title for cause in report.all_causes()]
    assert titles == [Mistake.PENALTY_TWICE.value, Mistake.PENALTY_WITHOUT_REG.value]


def test_an_error_deep_in_numpy_is_told_with_the_learners_line():
    try:
        np.broadcast_to(np.ones(4), (1, 4, 1, 1))
    except ValueError as error:
        assert "test_diagnosis_more.py" in raised(error).evidence
