"""Is a gradient right, and why not? The one door to gradient checks.

    from cs231n.gradcheck import check_layer

    print(check_layer(affine_forward, affine_backward, {"x": x, "w": w, "b": b}))

`check_layer`, `check_model` and `check_projected` return a Report; its `show` prints it, or stops a notebook.
`check_close` and `check_at_least` compare numbers, `check_backward` and `check_gradients` print at once.
"""

from cs231n.gradcheck.check import check_layer, check_model, check_projected
from cs231n.gradcheck.notebook import check_at_least, check_backward, check_close, check_gradients
from cs231n.gradcheck.numeric import numeric_gradient, rel_error
from cs231n.gradcheck.report import Comparison, Report
from cs231n.passes import FAIL, PASS, WARN

__all__ = [
    "FAIL",
    "PASS",
    "WARN",
    "Comparison",
    "Report",
    "check_at_least",
    "check_backward",
    "check_close",
    "check_gradients",
    "check_layer",
    "check_model",
    "check_projected",
    "numeric_gradient",
    "rel_error",
]
