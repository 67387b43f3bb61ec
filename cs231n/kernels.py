"""Which kernels the fast layers use: the compiled ones where these were built, NumPy's otherwise.

Both modules have the same functions: `im2col_cython`, for float32 and float64, and `im2col`, in NumPy.
"""

import importlib
import os

import numpy as np

from cs231n import im2col

COMPILED = "cs231n.im2col_cython"
COMPILED_DTYPES = (np.float32, np.float64)
NOT_COMPILED = """\
The fast layers use NumPy and take two to three times as long as compiled. The compiled kernels are missing:
    {error}
To compile them: python setup.py build_ext --inplace
Then cs231n.kernels.load_kernels() picks them up; no restart is needed."""
REBUILT = (
    f"{COMPILED} was built anew after this process had loaded it: restart Python (in a notebook, the kernel)"
)

_in_use = {"kernels": None, "built": None}  # the module, and when the compiled one that was loaded was built


def kernels_for(dtype):
    """The module whose kernels compute in this dtype; the first call looks for it and says which."""
    if _in_use["kernels"] is None:
        load_kernels()
    return _in_use["kernels"] if dtype in COMPILED_DTYPES else im2col


def load_kernels(compiled=True):
    """Look for the compiled kernels (again) and say which ones are used from now on.

    A running notebook picks up with this what `python setup.py build_ext --inplace` has made. Kernels
    that were loaded already and then built anew cannot be exchanged, as Python does not unload compiled
    code: RuntimeError asks for a restart. With compiled=False NumPy is used all the same.
    """
    if not compiled:
        _use(im2col, "The fast layers use NumPy, as asked.")
        return
    importlib.invalidate_caches()  # the file may be newer than what the importer remembers of its folder
    try:
        kernels = importlib.import_module(COMPILED)
    except Exception as error:  # not built, or built for another Python or SciPy
        _use(im2col, NOT_COMPILED.format(error=f"{type(error).__name__}: {error}"))
        return
    built = os.stat(kernels.__file__).st_mtime_ns if os.path.exists(kernels.__file__) else None
    _in_use["built"] = _in_use["built"] or built
    if built not in (None, _in_use["built"]):
        raise RuntimeError(REBUILT)
    _use(kernels, "The fast layers use the compiled kernels.")


def _use(kernels, message):
    _in_use["kernels"] = kernels
    print(message)
