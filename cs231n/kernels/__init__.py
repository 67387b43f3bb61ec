"""Which kernels the fast layers use: the fastest of those that were built.

Three modules have the same functions: `conv_forward`, `conv_backward`, `max_pool_forward` and
`max_pool_backward`.

- "direct": `direct_cython`, compiled, convolution without columns; float32 and float64
- "im2col": `im2col_cython`, compiled, convolution as a matrix product of columns; float32 and float64
- "NumPy": `numpy_kernels`, the same in NumPy; every dtype
"""

import importlib
import os

import numpy as np

from cs231n.kernels import numpy_kernels

# The fastest first
COMPILED = {"direct": "cs231n.kernels.direct_cython", "im2col": "cs231n.kernels.im2col_cython"}
CHOICES = (*COMPILED, "NumPy")
COMPILED_DTYPES = (np.float32, np.float64)
MISSING = """\
The fast layers use {instead}. The compiled {name} kernels are missing:
    {error}
To compile them: python setup.py build_ext --inplace
Then cs231n.kernels.load_kernels() picks them up; no restart is needed."""
USED = {"direct": "the compiled kernels", "im2col": "compiled im2col, as asked", "NumPy": "NumPy, as asked"}
INSTEAD = {
    "im2col": "compiled im2col; a convolution takes about twice as long",
    "NumPy": "NumPy; a convolution takes two to four times as long as compiled, pooling ten",
}
REBUILT = "{} was built anew after this process had loaded it: restart Python (in a notebook, the kernel)"

_in_use = {"kernels": None}  # the module
_built = {}  # when every compiled module that was loaded was built


def kernels_for(dtype):
    """The module whose kernels compute in this dtype; the first call looks for it and says which."""
    if _in_use["kernels"] is None:
        load_kernels()
    return _in_use["kernels"] if dtype in COMPILED_DTYPES else numpy_kernels


def load_kernels(name="direct"):
    """Look for these kernels (again), or else for slower ones, and say which are used from now on.

    A running notebook picks up with this what `python setup.py build_ext --inplace` has made. Kernels
    that were loaded already and then built anew cannot be exchanged, as Python does not unload compiled
    code: RuntimeError asks for a restart.

    - name: "direct", "im2col" or "NumPy"
    """
    if name not in CHOICES:
        raise ValueError(f"name must be one of {', '.join(map(repr, CHOICES))}; got {name!r}")
    missing = None
    for choice in CHOICES[CHOICES.index(name) :]:
        kernels, error = (numpy_kernels, None) if choice == "NumPy" else _load_compiled(COMPILED[choice])
        missing = missing or error
        if kernels is not None:
            break
    _in_use["kernels"] = kernels
    if missing:
        print(MISSING.format(instead=INSTEAD[choice], name=name, error=missing))
    else:
        print(f"The fast layers use {USED[choice]}.")


def _load_compiled(module):
    """The compiled module and None; where it cannot be loaded, None and the reason."""
    importlib.invalidate_caches()  # the file may be newer than what the importer remembers of its folder
    try:
        kernels = importlib.import_module(module)
    except Exception as error:  # not built, or built for another Python or SciPy
        return None, f"{type(error).__name__}: {error}"
    built = os.stat(kernels.__file__).st_mtime_ns if os.path.exists(kernels.__file__) else None
    if built not in (None, _built.setdefault(module, built)):
        raise RuntimeError(REBUILT.format(module))
    return kernels, None
