"""The L2 penalty that every model here shares."""

import numpy as np


def add_l2_penalty(loss, grads, params, reg):
    """Add 0.5 * reg * sum(W * W) over all weights to the loss, and its gradient to theirs, in place.

    Weights are the parameters whose name starts with W; there is no penalty on biases, gammas and betas.
    Returns the loss.
    """
    reg = float(reg)  # a NumPy float64 would raise float32 gradients to float64
    if reg == 0:
        return loss
    for name, grad in grads.items():
        if name.startswith("W"):
            loss += 0.5 * reg * np.vdot(params[name], params[name])
            grad += reg * params[name]
    return loss
