"""Every number that a gradient check and its diagnosis judge by, each with its reason."""

# ------------------------------------------------------------------------------- numeric gradients, verdicts

# The step h. The error of a centered difference is about h^2 + eps / h: 1e-10 here, in float64.
STEP = 1e-5

# Fractions of the step, for another look at an entry: a kink beside the point is then outside the step.
SMALLER_STEPS = (0.1, 0.01)

# Multiples of the step, for another look at entries that are hidden in rounding noise.
LARGER_STEPS = (10.0, 100.0)

# The tolerance for one layer: 1e4 times the error of a centered difference, and far below any mistake.
LAYER_TOL = 1e-6

# The tolerance for a network, and along random directions. The error grows with the number of layers, and
# with the number of entries that move together.
NETWORK_TOL = 1e-5

# The tolerance of an output that a reference gives: both are sums in float64, in another order.
OUTPUT_TOL = 1e-9

# Entries smaller than this are compared as if they had this size: they are mostly rounding error.
FLOOR = 1e-8

# In practice the rounding error of a sum is at most this many times eps times the sum of absolute values.
ROUNDINGS = 4

# Two slopes differ, and it is not noise, if their difference is more than this many times the noise.
ABOVE_NOISE = 10

# With a step 10 or 100 times smaller, curvature shrinks the gap between the slopes to the left and to the
# right to 0.1 or 0.01 of what it was; a kink at the point leaves it as it was. Above this
# fraction it is a kink.
STILL_A_KINK = 0.3

# A second look costs up to four forward passes. If none of this many entries, evenly spread over those that
# are bent and wrong, turns out to be at or beside a kink, the others are not looked at.
SECOND_LOOKS = 100

# A check that sees kinks, or rounding noise, in more than this part of a gradient's entries decides nothing.
NEARLY_ALL = 0.9

# A larger step decides about an entry in rounding noise if what it leaves open is at most this part of the
# gradient's largest entry.
OPEN = 0.1

# A point nearby, where ties are broken, is this part of an argument's largest entry away.
NUDGE = 1e-2

# Above this number of entries, a check follows random directions: every entry would take minutes.
MOST_ENTRIES = 10_000

# Above this many seconds, too: a naive convolution of a few images takes minutes.
LONGEST = 20.0

# Above this number of entries, formulas with mistakes are not tried: all of them would take minutes.
MOST_DIAGNOSED = 100_000

# Weights are too small for a check if their deviation is below this part of sqrt(2 / inputs), the deviation
# that keeps the variance of activations (He et al. 2015, equation 10).
SMALL_WEIGHTS = 0.5

# The deviation of the biases, in a check with larger weights, where all of them are equal.
SPREAD_BIASES = 0.1

# A function is smooth along a step if its two slopes differ by less than this, relative to the gradient.
SMOOTH = 1e-4

# The sum of a gradient's entries may be off by this many times the tolerance, or the noise, of one entry.
SUM_FACTOR = 10

# A gradient in float32 may be off by this many roundings of its largest entry: it sums some hundred terms.
COARSE_ROUNDINGS = 200

# A repaired gradient fits along random directions if its error is at most this many times the tolerance: the
# repair of the wrong mistake is off by about 1.
REPAIR_FACTOR = 10

# At a kink the numeric slope may be off by half the difference of the two slopes. Several entries may be at
# kinks along the same direction, so four times that is allowed.
BEND_FACTOR = 2

# A penalty below this fraction of the loss cannot be measured: the rounding of the loss (1e-16) leaves fewer
# than seven of its digits.
MEASURABLE = 1e-9

# ------------------------------------------------------------------------------------------- diagnosis

# All are relative unless a comment says otherwise. Numeric gradients in float64 agree with right ones to 1e-7
# or better, and mistakes differ from them by far more; the tolerances lie between.

# Two arrays are the same if no difference exceeds this part of the largest entry. Looser than a numeric
# gradient is exact, stricter than any mistake that is worth a name.
SAME = 1e-5

# An explanation may leave this part of the difference unexplained. Without it, an array that is as far from
# the gradient as the numeric one would explain a difference that is itself close to SAME.
UNEXPLAINED = 1e-2

# An output is that of a formula if they agree to this. Nothing numeric is in it, so it is stricter than SAME,
# and just loose enough for float32 (1e-7).
OUTPUT = 1e-6

# A factor is a number such as N or 1 / p if it agrees with it to this. It is fitted to entries that are only
# exact to SAME, so it gets ten times that.
FACTOR = 10 * SAME

# A layer is a normalization if its formula gives the output to this. The output is rounded to 1e-16, times
# some digits where the mean of x is far larger than its deviation; an eps of 1e-9 or less is lost in it.
FORWARD = 1e-10

# A combination of the three terms of a normalization explains a gradient to this. Three free coefficients fit
# more than a fixed formula does, so the bound is stricter than SAME.
COMBINATION = 1e-6

# How often a term is in a normalization's gradient, such as -1, 0.5 or N / (N - 1): absolute as well as
# relative, since 0 is one of the numbers. Coefficients are less exact than the gradient they are fitted to.
TERM_COUNT = 1e-4

# How far a fitted coefficient of a sum may be from a whole number (absolute). Whether the whole numbers
# explain the gradient is tested afterwards, to SAME.
WHOLE_NUMBER = 1e-3

# What a multiple of reg * W has to explain of a difference, and how exactly the multiple has to be 0, 1, 2,
# ...: the penalty is a small part of a gradient, and what is left of it after subtraction is less exact.
PENALTY = 1e-3

# An error sits in a place, such as a row or a border, if at least this part of the place's entries is wrong.
# Some may be right by chance.
THROUGHOUT = 0.9

# ReLU's gradient is wrong where the input is negative if more than this part of those entries is wrong. If
# more than this part of all entries is wrong, and explained, the others may differ by SAME.
MOSTLY = 0.5

# A shifted image has to overlap the right one in more than this part of its pixels; a few fit by chance.
OVERLAP = 0.25

# A model is a network that we know if the two losses agree to this: both are computed in float64 by the same
# formulas, and no other network has a loss with the same nine digits.
SAME_LOSS = 1e-9

# Two gradients of a network, neither of them numeric, are the same if they agree to this. Only rounding,
# which grows with the number of layers, makes them differ.
SAME_FORMULA = 1e-8

# Entries of a network's gradient may be zero except for rounding, as those of a bias before a normalization.
# They are compared as if they had this part of the largest entry of all gradients.
NETWORK_FLOOR = 1e-4

# More than this part of a network's numeric gradients has to agree with its formulas: the other entries may
# have kinks within the step.
BESIDE_KINKS = 0.5

# The least number of wrong entries that show which margin a hinge loss has, or that a mask is that of two
# arrays: one or two fit by chance.
WITNESSES = 3

# Another margin may leave examples without a gradient. One such example may as well have been left out.
MARGIN_EXAMPLES = 2

# Keeps 1 / sqrt(variance) finite, without eps, where a feature is constant (absolute).
TINY_VARIANCE = 1e-300
