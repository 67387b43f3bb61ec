"""The backward pass of a normalization, stage by stage, with any stage replaced by a wrong one.

The forward pass is mean -> centered -> var -> root -> x_hat -> out; each stage undoes one of its steps, in
reverse order. (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167, section 3.) In closed form,

    dx = r * (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)),   r = 1 / std.
"""

from collections.abc import Callable

from cs231n.gradcheck.diagnosis.causes import Array
from cs231n.gradcheck.diagnosis.terms import Grouping, Terms


class Pass:
    """The variables of one backward pass, all in the shape of x; each stage reads those before it."""

    dx_hat: Array
    dinv: Array
    direct: Array
    dstd: Array
    dvar: Array
    dsquare: Array
    from_var: Array
    dmean: Array
    from_mean: Array
    dx: Array

    def __init__(self, terms: Terms, changes: dict[str, "Stage"]) -> None:
        self.terms, self.layer = terms, terms.layer
        self.r, self.x_hat, self.centered = terms.r, terms.x_hat, terms.centered
        for name, stage in (STAGES | changes).items():
            setattr(self, name, stage(self))

    def sum(self, array: Array) -> Array:
        """Return the sum over what shares a mean."""
        return self.layer.grouping.sum(array)


Stage = Callable[[Pass], Array]

STAGES: dict[str, Stage] = {
    "dx_hat": lambda p: p.layer.gamma * p.layer.dout,  # out = gamma * x_hat + beta
    "dinv": lambda p: p.sum(p.dx_hat * p.centered),  # x_hat = centered / std
    "direct": lambda p: p.dx_hat * p.r,
    "dstd": lambda p: -(p.r**2) * p.dinv,
    "dvar": lambda p: 0.5 / p.terms.root * p.dstd,  # std = sqrt(var + eps)
    "dsquare": lambda p: p.dvar / p.terms.divisor,  # var = mean(centered ** 2)
    "from_var": lambda p: 2 * p.centered * p.dsquare,
    "dmean": lambda p: -p.sum(p.direct + p.from_var),  # centered = x - mean
    "from_mean": lambda p: p.dmean / p.terms.count,
    "dx": lambda p: p.direct + p.from_var + p.from_mean,
}


def backward(terms: Terms, **changes: Stage) -> Array:
    """Return dx with some stages replaced.

    In test mode mean and variance are constants: dx = gamma / std * dout.
    """
    if not terms.training and not changes:
        return terms.layer.gamma * terms.layer.dout * terms.r
    return Pass(terms, changes).dx


def closed_form(
    terms: Terms,
    g: Array | None = None,
    grouping: Grouping | None = None,
    x_hat: Array | None = None,
    r: Array | None = None,
) -> Array:
    """Return dx in closed form, with the named parts changed."""
    grouping = grouping or terms.layer.grouping
    g = terms.layer.gamma * terms.layer.dout if g is None else g
    x_hat, r = terms.x_hat if x_hat is None else x_hat, terms.r if r is None else r
    dx: Array = r * (g - grouping.mean(g) - x_hat * grouping.mean(g * x_hat))
    return dx


def parameter_gradients(terms: Terms) -> dict[str, Array]:
    """Return {name: gradient} of gamma and beta, as far as the layer has them, flat."""
    layer = terms.layer
    flat = (
        layer.grouping.sum_for_parameter(layer.dout * terms.x_hat),
        layer.grouping.sum_for_parameter(layer.dout),
    )
    return dict(zip(layer.names[1:], flat, strict=False))
