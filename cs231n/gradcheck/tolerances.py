"""Every number that a gradient check judges by, each with its reason."""

# ------------------------------------------------------------------------------- numeric gradients, verdicts

# The step h. The error of a centered difference is about h^2 + eps / h: 1e-10 here, in float64.
STEP = 1e-5

# Fractions of the step, for another look at an entry: a kink beside the point is then outside the step.
SMALLER_STEPS = (0.1, 0.01)

# The tolerance for one layer: 1e4 times the error of a centered difference, and far below any mistake.
LAYER_TOL = 1e-6

# The tolerance for a network, and along random directions. The error grows with the number of layers, and
# with the number of entries that move together.
NETWORK_TOL = 1e-5

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

# A function is smooth along a step if its two slopes differ by less than this, relative to the gradient.
SMOOTH = 1e-4

# The sum of a gradient's entries may be off by this many times the tolerance, or the noise, of one entry.
SUM_FACTOR = 10

# A forward pass with an eps above this computes in float32 (1e-7) or coarser, not in float64 (2e-16).
COARSE_EPS = 1e-12

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
