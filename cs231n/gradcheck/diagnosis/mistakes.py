"""Every mistake that a diagnosis can name.

Explainers pass members of `Mistake` around. The texts become the titles of causes, at the very end; nothing
compares them. They hold no numbers of the data, so a grader may show them to a learner.
"""

from enum import Enum


class Mistake(Enum):
    """A known mistake; its value is the title. {} stands for what it concerns, as in `Finding.about`."""

    # What cannot be compared entry by entry
    NONE = "it is None"
    NOT_NUMBERS = "it is not an array of numbers"
    NOT_FINITE = "it is not finite"

    # Shapes
    WRONG_SHAPE = "it has the wrong shape"
    WRONG_LAYOUT = "its values are right but its shape is not"
    AXES_OUT_OF_ORDER = "its axes are in the wrong order"
    PADDING_KEPT = "the padding is not cut off"
    NOT_SUMMED = "it is not summed"
    NOT_SUMMED_OVER_BATCH = "it is not summed over the batch"
    SUMMED_OVER_TOO_MANY_AXES = "it is summed over too many axes"
    SUMMED_OVER_WRONG_AXES = "it is summed over the wrong axes"

    # The gradient as a whole
    ZERO = "it is zero everywhere"
    OF_ANOTHER_ARGUMENT = "it is the gradient of {}"
    TRANSPOSED = "it is transposed"
    FLIPPED = "its filters are flipped"
    UPSIDE_DOWN = "its filters are upside down"
    MIRRORED = "its filters are mirrored"
    HEIGHT_WIDTH_SWAPPED = "height and width are swapped"
    FIRST_AXES_SWAPPED = "the first two axes are swapped"
    OFF_BY_CONSTANT = "it is off by a constant"
    SHIFTED = "it is shifted by a few pixels"
    W_NOT_TRANSPOSED = "w is not transposed"

    # A constant factor
    SIGN = "its sign is wrong"
    TOO_LARGE = "it is {} times too large"
    TOO_SMALL = "it is {} times too small"
    NO_DIVISION_BY_P = "the division by p is missing"
    DIVIDED_BY_P_TWICE = "it is divided by p twice"
    ONE_MINUS_P = "1 - p is used instead of p"
    OFF_BY_FACTOR = "it is off by a constant factor"

    # ReLU and dropout
    WRONG_WHERE_NEGATIVE = "it is wrong where the input is negative"
    NO_MASK = "dout passes through unchanged"
    NO_DOUT = "dout is missing"
    MASK_INVERTED = "the mask is inverted"
    MASK_OF_DOUT = "the mask is taken from dout"

    # Normalization: its terms
    TERM_MISSING = "the {}'s term is missing"
    TERM_NEGATIVE = "the {}'s term has the wrong sign"
    TERM_SUMMED = "the {}'s term is a sum, not a mean"
    TERM_TWICE = "the {}'s term is twice what it should be"
    TERM_HALF = "the {}'s term is half of what it should be"
    TERM_DIVIDED = "the sum in the {}"
    TERM_SCALED = "the {}'s term is off by a factor"
    TERM_OVER_WRONG_AXES = "the sum in the {}'s term is taken over the wrong axes"
    BOTH_NEGATIVE = "the terms of mean and variance have the wrong sign"
    CONSTANTS = "mean and variance are treated as constants"
    SUMS_FOR_MEANS = "sums are used instead of means"
    MEANS_DIVIDED = "the means are divided by {}"
    MEANS_SCALED = "the means are off by a factor"
    MEANS_OVER_WRONG_AXES = "the means are taken over the wrong axes"
    MEANS_LAID_OUT_WRONGLY = "the means are subtracted along the wrong axis"
    DIRECT_MISSING = "the term dx_hat / std is missing"
    DIRECT_TWICE = "the term dx_hat / std is counted twice"
    DIRECT_NEGATIVE = "the term dx_hat / std has the wrong sign"
    DIRECT_MULTIPLIED = "dx_hat is multiplied by {}"
    CLOSED_FORM_DIVIDED = "the closed form is divided by {}"

    # Normalization: the factors in its terms
    NO_GAMMA = "gamma is missing"
    NO_GAMMA_IN_TERM = "gamma is missing in one of the terms"
    GAMMA_TWICE = "gamma is a factor twice"
    GAMMA_IN_EXCESS = "gamma is a factor, but should not be"
    GAMMA_AFTER_MEANS = "gamma is multiplied after the means are taken"
    DIVIDED_BY_GAMMA = "it is divided by gamma"
    BETA_FOR_GAMMA = "beta is used instead of gamma"
    NO_DIVISION_BY_STD = "the division by the standard deviation is missing"
    NO_DIVISION_BY_STD_IN_MEAN = "the mean's term lacks the division by the standard deviation"
    DIVIDED_BY_VARIANCE = "it is divided by the variance, not by the standard deviation"
    MULTIPLIED_BY_STD = "it is multiplied by the standard deviation, not divided"
    WRONG_POWER = "the variance's term has the wrong power of sqrt(var + eps)"
    NO_PRODUCT = "the sum in the variance's term lacks the factor x - mean or x_hat"
    NO_X_HAT = "the variance's term lacks the factor x_hat in front of the mean"
    X_FOR_CENTERED = "x is used instead of x - mean"
    CENTERED_FOR_X_HAT = "x - mean is used instead of x_hat"
    X_FOR_X_HAT = "x is used instead of x_hat"
    OUT_FOR_X_HAT = "out is used instead of x_hat"

    # Normalization: what forward and backward do differently
    NO_EPS = "eps is missing"
    OTHER_EPS = "the forward and the backward pass use different values of eps"
    EPS_OUTSIDE = "the backward pass adds eps outside of the root, the forward pass inside"
    UNBIASED_VARIANCE = "the variance is divided by {}"
    FORWARD_NO_EPS = "the forward pass leaves out eps, the backward pass adds it"
    FORWARD_EPS_OUTSIDE = "the forward pass adds eps outside of the root, the backward pass inside"
    FORWARD_UNBIASED = "the forward pass divides the variance by {}"
    FORWARD_NOT_TRANSPOSED = "the forward pass reshapes x without a transpose"
    DOUT_NOT_TRANSPOSED = "dout is reshaped with its axes in the wrong order"
    DX_NOT_TRANSPOSED = "dx is reshaped with its axes in the wrong order"
    NEITHER_TRANSPOSED = "dout and dx are reshaped with their axes in the wrong order"
    TEST_AS_TRAINING = "test mode is differentiated as if it were training"
    TRAINING_AS_TEST = "training is differentiated as if it were test mode"
    BATCH_VARIANCE = "the variance of the batch is used, not the running average"

    # Windows: convolution and pooling
    ASSIGNED = "where windows overlap, gradients are assigned instead of added"
    STRIDE_IGNORED = "the stride is ignored"
    SMALLEST_TAKES_IT = "the smallest entry of a window gets the gradient"
    ALL_TAKE_IT = "every entry of a window gets the gradient"
    TIES = "ties in a window are resolved wrongly"

    # Sums
    ONLY_LAST_TERM = "only the last term of a sum is left"
    TERMS_LEFT_OUT = "some {} are left out of the sum"

    # Part of the entries
    ONE_ENTRY_PER_EXAMPLE = "it is wrong at one entry of each example"
    BORDER = "it is wrong at the border of the image"
    STRIDE_OFFSETS = "it is wrong at some offsets of the stride"
    SOME_SLICES = "it is wrong for some {} only"

    # Regularization
    PENALTY_SUMMED = "the regularization term is a sum"
    PENALTY_WITHOUT_REG = "the regularization term lacks the factor reg"
    PENALTY_MISSING = "the regularization term is missing"
    PENALTY_TWICE = "the regularization term is twice what it should be"
    PENALTY_HALF = "the regularization term is half of what it should be"
    PENALTY_NEGATIVE = "the regularization term has the wrong sign"
    PENALTY_SCALED = "the regularization term has the wrong strength"
    PENALTY_ON_OTHERS = "the regularization is applied to {}"
    LOSS_PENALTY_MISSING = "the penalty is missing from the loss"
    LOSS_PENALTY_TWICE = "the penalty in the loss is twice what it should be"
    LOSS_PENALTY_HALF = "the penalty in the loss is half of what it should be"
    LOSS_PENALTY_NEGATIVE = "the penalty in the loss has the wrong sign"
    LOSS_PENALTY_SCALED = "the penalty in the loss has the wrong strength"
    LOSS_PENALTY_ON_OTHERS = "the loss penalizes {}"
