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
    WRONG_PRODUCT = "it is the wrong matrix product"
    RESHAPED = "a reshape mixes up the entries of {}"
    INDEPENDENT = "the output does not change with {}"
    FORWARD_WRONG = "the forward pass is wrong: it {}"

    # A constant factor
    SIGN = "its sign is wrong"
    TOO_LARGE = "it is {} times too large"
    TOO_SMALL = "it is {} times too small"
    NO_DIVISION_BY_P = "the division by p is missing"
    DIVIDED_BY_P_TWICE = "it is divided by p twice"
    ONE_MINUS_P = "1 - p is used instead of p"
    MULTIPLIED_BY_P = "it is multiplied by p, not divided by it"
    DIVIDED_BY_OTHER = "it is divided by {}"
    OFF_BY_FACTOR = "it is off by a constant factor"

    # ReLU and dropout
    WRONG_WHERE_NEGATIVE = "it is wrong where the input is negative"
    NO_MASK = "dout passes through unchanged"
    NO_DOUT = "dout is missing"
    MASK_INVERTED = "the mask is inverted"
    MASK_OF_DOUT = "the mask is taken from dout"
    MASK_OF_BOTH = "the mask is taken from dout as well"
    MASK_NOT_APPLIED = "the mask is not applied"
    MASK_HOLDS_X = "dout is multiplied by values of x, not by a mask"
    ANOTHER_MASK = "another mask than that of the forward pass is used"
    MASK_WITHOUT_FORWARD = "dout is masked, though the forward pass drops nothing"
    SCALED_WITHOUT_FORWARD = "it is scaled by p, though the forward pass is not"
    OUTPUT_RETURNED = "it is the output of the layer"
    INPUT_RETURNED = "it is the input of the layer"
    LEAKY = "its slope is not 0 where the input is negative"

    # Losses
    LOSS_WRONG = "the loss is wrong: it {}"
    LABEL_TERM_MISSING = "the label's term is missing"
    LABEL_TERM_NEGATIVE = "the label's term has the wrong sign"
    LABEL_TERM_NOT_DIVIDED = "the label's term is not divided by N"
    ONLY_LABEL_TERM_DIVIDED = "only the label's term is divided by N"
    ONLY_LABEL_ENTRY = "only the label's entry has a gradient"
    LABEL_ENTRY_CONSTANT = "the label's entry is a constant"
    LABELS_SHIFTED = "the labels are shifted by one"
    LABEL_SUBTRACTED = "the label itself is subtracted, not 1 at its entry"
    ONE_EVERYWHERE = "1 is subtracted from every entry"
    ONE_IN_COLUMNS = "1 is subtracted from whole columns"
    ONE_IN_ROWS = "1 is subtracted from whole rows"
    LABEL_AXES_SWAPPED = "examples and labels are swapped in the index"
    EXP_NOT_NORMALIZED = "exp is not divided by its sum"
    EXP_OVER_EXAMPLES = "exp is divided by its sum over the examples"
    EXP_OVER_ALL = "exp is divided by its sum over the whole minibatch"
    LABEL_LEFT_OUT_OF_SUM = "the sum of exp leaves out the label"
    CLASS_LEFT_OUT_OF_SUM = "the sum of exp leaves out a class"
    SCORES_FOR_P = "scores are used instead of probabilities"
    LOGS_FOR_P = "log-probabilities are used instead of probabilities"
    DERIVATIVE_OF_P = "it is the derivative of a probability, not of its logarithm"
    MARGINS_FOR_ONES = "margins are used instead of 0 and 1"
    MARGINS_SQUARED = "it is the gradient of squared margins"
    LABEL_COUNTED_ONCE = "the label's entry counts one class, not every class within the margin"
    LABEL_MARGIN_COUNTED = "the label's own margin is counted"
    COUNTED_OVER_WRONG_AXIS = "the label's entry counts over the wrong axis"
    ALL_CLASSES_COUNTED = "classes outside the margin are counted"
    ONE_CLASS_COUNTED = "only the class with the largest margin is counted"
    NO_MARGIN = "the margin is 0, not 1"
    OTHER_MARGIN = "the margin is not 1"
    MARGIN_REVERSED = "the two scores in the margin are swapped"

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
    TIES = "ties in a window are resolved wrongly"

    # Sums
    ONLY_LAST_TERM = "only the last term of a sum is left"
    TERMS_LEFT_OUT = "some {} are left out of the sum"

    # Part of the entries
    ONE_ENTRY_PER_EXAMPLE = "it is wrong at one entry of each example"
    ONLY_AT_LABELS = "it is wrong at the labels only"
    ONLY_BESIDE_LABELS = "it is right at the labels only"
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
