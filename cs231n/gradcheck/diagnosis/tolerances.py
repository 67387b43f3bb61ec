"""The tolerances of a diagnosis, each with its reason.

All are relative unless a comment says otherwise. Numeric gradients in float64 agree with right ones to 1e-7
or better, and mistakes differ from them by far more; the tolerances lie between.
"""

# Two arrays are the same if no difference exceeds this part of the largest entry. Looser than a numeric
# gradient is exact, stricter than any mistake that is worth a name.
SAME = 1e-5

# An explanation may leave this part of the difference unexplained. Without it, an array that is as far from
# the gradient as the numeric one would explain a difference that is itself close to SAME.
UNEXPLAINED = 1e-2

# A factor is a number such as N or 1 / p if it agrees with it to this. It is fitted to entries that are only
# exact to SAME, so it gets ten times that.
FACTOR = 10 * SAME

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

# ReLU's gradient is wrong where the input is negative if more than this part of those entries is wrong.
MOSTLY = 0.5

# A shifted image has to overlap the right one in more than this part of its pixels; a few fit by chance.
OVERLAP = 0.25

# Keeps 1 / sqrt(variance) finite, without eps, where a feature is constant (absolute).
TINY_VARIANCE = 1e-300
