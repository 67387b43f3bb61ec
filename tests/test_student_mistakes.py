"""Mistakes that learners make, written by one who did not know the diagnosis: all fail, and most are named.

python tests/test_student_mistakes.py        # the report of each, beside what a teaching assistant would say
"""

from functools import cache

import pytest
from student_mistakes import CASES

from cs231n.gradcheck import FAIL, check_layer, check_model

# The first cause that the check names. When all were tried for the first time, one who knew only the
# reports judged whether it is the mistake: 147 of 152 with settings, 145 without; no cause was false.
NAMED = {
    "affine-db-axis-one": "it is summed over the wrong axes",
    "affine-dw-reshape-for-transpose": "a reshape mixes up the entries of x",
    "affine-dw-transpose-before-flatten": "a reshape mixes up the entries of x",
    "affine-dx-no-transpose": "w is not transposed",
    "affine-dw-transposed": "it is transposed",
    "affine-params-averaged": "it is N times too small",
    "affine-dw-last-example": "only the last term of a sum is left",
    "affine-db-total-sum": "it is summed over too many axes",
    "relu-mask-of-dout": "the mask is taken from dout",
    "relu-times-output": "dout is multiplied by values of x, not by a mask",
    "relu-mask-inverted": "the mask is inverted",
    "relu-no-upstream": "dout is missing",
    "relu-pass-through": "dout passes through unchanged",
    "affine-relu-skips-relu": "the backward pass leaves out the ReLU of this layer",
    "affine-relu-params-before-mask": "the backward pass leaves out the ReLU of this layer",
    "affine-relu-mask-of-input": "ReLU's mask in this layer is taken from x, not from the values that ReLU gets",
    "affine-bn-relu-swapped": "it is the gradient of beta",
    "affine-bn-relu-order": "the backward pass of this layer takes the normalization before ReLU",
    "conv-relu-pool-skips-relu": "the backward pass leaves out the ReLU of this layer",
    "dropout-no-scale": "the division by p is missing",
    "dropout-times-p": "it is multiplied by p, not divided by it",
    "dropout-new-mask": "the backward pass changes from call to call",
    "dropout-no-mask": "the mask is not applied",
    "dropout-scale-one-minus-p": "1 - p is used instead of p",
    "dropout-mask-inverted": "the mask is inverted",
    "dropout-test-mode-scaled": "it is scaled by p, though the forward pass is not",
    "dropout-forward-scaled-twice": "the forward pass is wrong: it does not scale by 1 / p",
    "dropout-no-upstream": "dout is missing",
    "softmax-no-minus-one": "the label's term is missing",
    "softmax-not-averaged": "it is N times too large",
    "softmax-one-not-averaged": "the label's term is not divided by N",
    "softmax-index-all-rows": "1 is subtracted from whole columns",
    "softmax-sign": "its sign is wrong",
    "softmax-divided-by-classes": "it is divided by C, not by N",
    "softmax-extra-sigmoid-factor": "it is the derivative of a probability, not of its logarithm",
    "softmax-loss-summed": "the loss is wrong: it is a sum over the examples, not a mean",
    "softmax-unnormalized": "exp is not divided by its sum",
    "softmax-normalized-over-batch": "exp is divided by its sum over the examples",
    "svm-correct-minus-one": "the label's entry counts one class, not every class within the margin",
    "svm-correct-class-missing": "the label's term is missing",
    "svm-margin-values": "margins are used instead of 0 and 1",
    "svm-not-averaged": "it is N times too large",
    "svm-mask-without-margin": "the margin is 0, not 1",
    "svm-counts-itself": "the label's own margin is counted",
    "svm-correct-class-sign": "the label's term has the wrong sign",
    "svm-loss-mean-over-all": "the loss is wrong: it is divided by the number of scores, N C, not by N",
    "svm-count-axis-zero": "the label's entry counts over the wrong axis",
    "bn-staged-no-mean-path": "the mean's term is missing",
    "bn-staged-no-var-path": "the variance's term is missing",
    "bn-alt-no-gamma": "gamma is missing",
    "bn-staged-dvar-power": "the variance's term has the wrong power of sqrt(var + eps)",
    "bn-dgamma-with-x": "x is used instead of x_hat",
    "bn-dgamma-with-out": "out is used instead of x_hat",
    "bn-staged-dmean-not-divided": "the mean's term is a sum, not a mean",
    "bn-staged-no-two": "the variance's term is half of what it should be",
    "bn-staged-dsqrtvar-square": "the variance's term has the wrong power of sqrt(var + eps)",
    "bn-alt-first-term-no-n": "dx_hat is multiplied by 1, not by N",
    "bn-alt-third-term-sum": "the variance's term is a sum, not a mean",
    "bn-alt-third-term-sign": "the variance's term has the wrong sign",
    "bn-forward-unbiased-variance": "the forward pass divides the variance by N - 1, the backward pass by N",
    "bn-no-eps-in-backward": "eps is missing",
    "bn-alt-wrong-axis": "the means are taken over the wrong axes",
    "bn-dbeta-mean": "it is N times too small",
    "bn-test-mode-training-backward": "mean and variance are constants in the forward pass, but not in the backward pass",
    "bn-test-mode-no-std": "the division by the standard deviation is missing",
    "ln-alt-n-for-d": "the means are divided by N, not by D",
    "ln-gamma-outside": "gamma is multiplied after the means are taken",
    "ln-means-over-batch": "the means are taken over the wrong axes",
    "ln-params-axis-one": "it is summed over the wrong axes",
    "ln-staged-var-path-n": "the sum in the variance's term is divided by N, not by D",
    "ln-staged-no-mean-path": "the mean's term is missing",
    "ln-dx-not-transposed-back": "dx is reshaped with its axes in the wrong order",
    "ln-alt-no-x-hat": "the variance's term lacks the factor x_hat in front of the mean",
    "sbn-dout-no-transpose": "dout is reshaped with its axes in the wrong order",
    "sbn-dx-reshaped-only": "dx is reshaped with its axes in the wrong order",
    "sbn-dx-height-width-swapped": "dx is reshaped with its axes in the wrong order",
    "sbn-count-is-n": "the means are divided by N, not by NHW",
    "sbn-means-per-image": "the means are taken over the wrong axes",
    "sbn-params-mean-over-pixels": "it is HW times too small",
    "gn-count-without-channels": "the means are divided by HW or C, not by HWC/G",
    "gn-no-gamma": "gamma is missing",
    "gn-gamma-outside": "gamma is multiplied after the means are taken",
    "gn-means-over-all-channels": "the means are taken over the wrong axes",
    "gn-groups-interleaved": "the means are taken over the wrong axes",
    "gn-no-variance-path": "the variance's term is missing",
    "conv-dx-unpadded-at-corner": "it is shifted by a few pixels",
    "conv-dx-assigned": "where windows overlap, gradients are assigned instead of added",
    "conv-dw-no-stride": "the stride is ignored",
    "conv-db-last-image": "only the last term of a sum is left",
    "conv-dw-assigned": "only the last term of a sum is left",
    "conv-dx-flipped": "its filters are flipped",
    "conv-dw-reset-per-image": "only the last term of a sum is left",
    "conv-loops-one-short": "some windows are left out of the sum",
    "conv-dx-indices-swapped": "row and column of an output are swapped",
    "conv-dx-stride-rows-only": "the stride is ignored",
    "conv-forward-without-bias": "the forward pass leaves out the bias, the backward pass does not",
    "conv-forward-flips-filter": "the forward pass flips the filters, the backward pass does not",
    "conv-params-averaged": "it is N times too small",
    "conv-dw-first-image": "one example's x is used for all",
    "conv-im2col-dout-not-transposed": "dout is reshaped with its axes in the wrong order",
    "conv-dx-skips-border-windows": "some windows are left out of the sum",
    "conv-width-from-height": "some windows are left out of the sum",
    "pool-overlap-assigned": "where windows overlap, gradients are assigned instead of added",
    "pool-no-mask": "every entry of a window gets the gradient",
    "pool-average-backward": "every entry of a window gets the gradient",
    "pool-destination-no-stride": "the stride is ignored",
    "pool-no-window-offset": "the maximum's place in its window is used as a place in the image",
    "pool-row-column-swapped": "row and column of the maximum are mixed up",
    "pool-times-value": "the maximum itself is a factor",
    "pool-max-over-channels": "the maximum is taken over all channels",
    "pool-no-upstream": "dout is missing",
    "pool-loops-one-short": "some windows are left out of the sum",
    "two-layer-reg-times-two": "the regularization term is twice what it should be",
    "two-layer-loss-without-half": "the penalty in the loss is twice what it should be",
    "two-layer-reg-missing-w1": "the regularization term is missing",
    "two-layer-no-relu-backward": "the backward pass leaves out the ReLU of layer 1",
    "two-layer-reg-on-biases": "the regularization is applied to biases",
    "two-layer-divided-by-n-twice": "the gradient of the scores is divided by N twice",
    "two-layer-dw2-before-relu": "dW2 uses the values before ReLU instead of those after it",
    "two-layer-mask-of-gradient": "ReLU's mask in layer 1 is taken from dout",
    "two-layer-db1-before-mask": "the backward pass of ReLU comes too late for db1",
    "two-layer-loss-w1-twice": "the loss penalizes W1 twice and W2 not at all",
    "two-layer-reg-of-wrong-matrix": "the regularization term is that of W1",
    "net-reg-last-layer-only": "the regularization term is missing",
    "net-reg-on-gamma": "the regularization is applied to gammas",
    "net-no-dropout-backward": "the backward pass leaves out the dropout of all hidden layers",
    "net-bn-dx-ignored": "the backward pass leaves out the normalization of all hidden layers",
    "net-gamma-beta-swapped": "it is the gradient of gamma1",
    "net-relu-cache-of-last-layer": "all hidden layers use the ReLU masks of the last one",
    "net-dout-not-updated": "all hidden layers get the same upstream gradient",
    "net-relu-on-scores": "the forward pass applies a ReLU to the scores, the backward pass does not",
    "net-reg-overwrites": "it is the regularization term alone",
    "net-layernorm-with-batchnorm-backward": "the backward pass is that of batch normalization",
    "net-penalty-not-squared": "the penalty in the loss is not 0.5 * reg * sum(W * W)",
    "net-penalty-of-last-layer": "the penalty is missing from the loss",
    "net-reg-divided-by-n": "the regularization term has the wrong strength",
    "net-hidden-weight-transposed": "dW2 is transposed",
    "net-bn-statistics-constant": "mean and variance are treated as constants",
    "net-dropout-mask-unscaled": "the division by p is missing from the dropout of all hidden layers",
    "cnn-reg-missing-filters": "the regularization term is missing",
    "cnn-loss-w1-twice": "the loss penalizes W1 twice and W3 not at all",
    "cnn-no-conv-relu-backward": "the backward pass leaves out the ReLU of layer 1",
    "cnn-no-hidden-relu-backward": "the backward pass leaves out the ReLU of layer 2",
    "cnn-unflattened-channels-last": "the flat gradient is put back into images in the wrong order",
    "cnn-conv-averaged-again": "it is N times too small",
    "cnn-reg-w2-twice": "the regularization term is twice what it should be",
    "cnn-pool-average-backward": "the backward pass spreads the gradient over each pooling window",
    "cnn-reg-on-biases": "the regularization is applied to biases",
}
BY_SETTINGS_ALONE = {"dropout-test-mode-scaled", "dropout-forward-scaled-twice"}  # p is not in the output
every_case = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])


BY_ID = {case.id: case for case in CASES}


def report_on(case, with_settings=True):
    """The Report that a learner gets."""
    return _report_on(case.id, with_settings)


@cache
def _report_on(name, with_settings):
    item = BY_ID[name].make()
    if item["kind"] == "model":
        return check_model(item["model"], item["X"], item["y"])
    settings = item["settings"] if with_settings else {}
    return check_layer(item["forward"], item["backward"], item["inputs"], settings=settings)


def first_cause(report):
    """The title of the cause of the first wrong thing in a report, or None."""
    failed = [comparison for comparison in report.comparisons if comparison.status == FAIL]
    causes = report.causes or (failed[0].causes if failed else [])
    return causes[0].title if causes else None


@every_case
def test_no_mistake_passes_and_no_right_gradient_fails(case):
    report = report_on(case)
    assert report.status == FAIL
    if report.comparisons:
        expected = {f"d{name}" for name in case.wrong}
        assert {one.name for one in report.comparisons if one.status == FAIL} == expected


@every_case
def test_what_is_named_first(case):
    assert first_cause(report_on(case)) == NAMED.get(case.id)
    if case.id not in BY_SETTINGS_ALONE:
        assert first_cause(report_on(case, with_settings=False)) == NAMED.get(case.id)


if __name__ == "__main__":
    for case in CASES:
        print(f"## {case.id}: {case.what}\n{report_on(case)}\n")
