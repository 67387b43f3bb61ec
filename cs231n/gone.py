"""Names that the course's code had and this library does not have, and what takes the place of each.

A module from which names are gone has `__getattr__ = explain_gone(__name__)`. One that is gone as a whole
lists them in `__all__` too, so that a star import says so.
"""

from collections.abc import Callable
from typing import NoReturn

_CONVOLUTION = "Use conv_{}_fast, which takes the fastest kernels for its input."
_POOLING = "Use max_pool_{}_fast, which takes the fastest kernels for any windows."
_SANDWICH = (
    "Use chain_{} of cs231n.layer_utils with an affine layer, batch normalization and a ReLU as its layers."
)
_BLOBS = "Use eval_numerical_gradient_array, once for each input."
_GRID = "Use visualize_grid(images, ubound=1.0), or show_grid to see the images at once."

_COLUMNS = (
    "Use im2col(x, HH, WW, stride, pad) and col2im(cols, x.shape, HH, WW, stride, pad) of "
    "cs231n.kernels.numpy_kernels. Their stride comes before pad, and their columns are in the order "
    "(image, row, column); the course's were in the order (row, column, image)."
)

GONE: dict[str, dict[str, str]] = {
    "cs231n.fast_layers": {
        **{
            f"conv_{way}_{kernel}": _CONVOLUTION.format(way)
            for way in ("forward", "backward")
            for kernel in ("im2col", "strides")
        },
        **{
            f"max_pool_{way}_{kernel}": _POOLING.format(way)
            for way in ("forward", "backward")
            for kernel in ("im2col", "reshape")
        },
    },
    "cs231n.im2col": dict.fromkeys(("get_im2col_indices", "im2col_indices", "col2im_indices"), _COLUMNS),
    "cs231n.im2col_cython": dict.fromkeys(("im2col_cython", "col2im_cython", "col2im_6d_cython"), _COLUMNS),
    "cs231n.layer_utils": {f"affine_bn_relu_{way}": _SANDWICH.format(way) for way in ("forward", "backward")},
    "cs231n.gradient_check": {
        "eval_numerical_gradient_blobs": _BLOBS,
        "eval_numerical_gradient_net": _BLOBS,
    },
    "cs231n.vis_utils": {"vis_grid": _GRID, "vis_nn": _GRID},
    "cs231n.data_utils": {
        "load_tiny_imagenet": (
            "Use ImageFolder of torchvision.datasets, which reads its training folder; "
            "the Solver takes arrays of any images."
        ),
        "load_models": (
            "Use load(path) of cs231n.saving for a model that model.save(path) wrote, and the resume() of "
            "Solver(..., checkpoint_name=...) for a run. Both hold plain arrays: no pickle has to be trusted."
        ),
        "load_pickle": "Use load_CIFAR_batch, which reads a batch file without trusting it.",
        "load_imagenet_val": "It belonged to the course's assignment 3, which is not in this library.",
    },
}


def explain_gone(module: str) -> Callable[[str], NoReturn]:
    """Return the `__getattr__` of a module, which Python calls for a name that the module does not have.

    It raises ImportError, with what to use instead, for a name that is gone, and AttributeError for others.
    """

    def explain(name: str) -> NoReturn:
        if name not in GONE.get(module, {}):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # Python would replace an AttributeError, and its text, where the name is imported.
        raise ImportError(f"{module}.{name}, of the course's code, is gone. {GONE[module][name]}")

    return explain
