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

    # Normalization
    TERM_MISSING = "the {}'s term is missing"
    TERM_NEGATIVE = "the {}'s term has the wrong sign"
    TERM_SUMMED = "the {}'s term is a sum, not a mean"
    TERM_UNBIASED = "the {}'s term is divided by N - 1, not by N"
    TERM_TWICE = "the {}'s term is twice what it should be"
    TERM_HALF = "the {}'s term is half of what it should be"
    TERM_OVER_EXAMPLES = "the {}'s term is divided by N, not by the number of entries in the sum"
    TERM_SCALED = "the {}'s term is off by a factor"
    CONSTANTS = "mean and variance are treated as constants"
    SUMS_FOR_MEANS = "sums are used instead of means"
    MEANS_OVER_EXAMPLES = "the means are divided by N, not by the number of entries in the sum"
    MEANS_OVER_WRONG_AXES = "the means are taken over the wrong axes"
    UNBIASED_VARIANCE = "the variance is divided by N - 1, not by N"
    NO_GAMMA = "gamma is missing"
    NO_DIVISION_BY_STD = "the division by the standard deviation is missing"
    DIVIDED_BY_VARIANCE = "it is divided by the variance, not by the standard deviation"
    NO_EPS = "eps is missing"
    CENTERED_FOR_X_HAT = "x - mean is used instead of x_hat"
    X_FOR_X_HAT = "x is used instead of x_hat"
    WRONG_POWER = "the variance's term has the wrong power of sqrt(var + eps)"

    # Windows: convolution and pooling
    ASSIGNED = "where windows overlap, gradients are assigned instead of added"
    STRIDE_IGNORED = "the stride is ignored"
    SMALLEST_TAKES_IT = "the smallest entry of a window gets the gradient"
    ALL_TAKE_IT = "every entry of a window gets the gradient"
    STRIDE_IS_SIZE = "windows are as far apart as they are wide, whatever the stride"
    WINDOWS_SHIFTED = "the windows of x are shifted by a few pixels"
    PADDING_NOT_ZERO = "the padding of x is not zero"
    ROTATED = "its filters are rotated by a quarter turn"
    FLIPPED_AND_SWAPPED = "its filters are flipped, and the first two axes of w are swapped"
    REVERSED = "filters or channels are in reverse order"
    CHANNEL_BY_CHANNEL = "each channel gets the gradient of one filter only"
    OUT_FOR_DOUT = "out is used instead of dout"
    DOUT_REVERSED = "dout is flipped"
    OUTPUT_SWAPPED = "{} of an output are swapped"
    AXES_SWAPPED = "{} are swapped"
    ONE_FOR_ALL = "one {} is used for all"
    SUMMED_FIRST = "{} is summed before it is used"
    AVERAGED_FIRST = "{} is averaged before it is used"
    PRODUCT_OF_SUMS = "a product of sums is used instead of a sum of products"
    FACTOR_MISSING = "{} is missing"
    WINDOW_SWAPPED = "height and width of the window are swapped"
    NO_WINDOW_OFFSET = "the maximum's place in its window is used as a place in the image"
    ARGMAX_SWAPPED = "row and column of the maximum are mixed up"
    MAXIMUM_OVER = "the maximum is taken over {}"
    MAXIMUM_AS_FACTOR = "the maximum itself is a factor"
    NEAR_MAXIMA = "entries close to the maximum get the gradient as well"
    LAST_OF_TIES = "where a window has several maxima, the last one gets the gradient"
    ALL_OF_TIES = "where a window has several maxima, each of them gets the whole gradient"
    TIES_SHARED = "where a window has several maxima, they share the gradient"
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
