"""Which kernels the fast layers use: the fastest of those that were built.

Three modules have the same functions: `conv_forward`, `conv_backward`, `max_pool_forward` and
`max_pool_backward`.

- "direct": `direct_cython`, compiled; convolution without columns; float32 and float64
- "im2col": `im2col_cython`, compiled; convolution as a matrix product of columns; float32 and float64
- "NumPy": `numpy_kernels`, the same in NumPy; every dtype

What the results of compiled kernels depend on: not on where arrays lie in memory. With the direct kernels,
`out` and `dx` of two or more images do not depend on the number of threads. `dw` and `db` do, in their last
digits: each thread sums over its own images, and these sums are then added. (Of a single image, threads share
the filters or channels; with fewer for each thread, another algorithm may compute them. And where a number is
not finite, the direct convolution computes all images that the thread has.)
The last digits of all results depend on the set of vector instructions: on its width, and on whether it fuses
multiplication and addition.
"""

import importlib
import os
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import numpy.typing as npt

from cs231n.kernels import numpy_kernels

# The fastest first
COMPILED = {"direct": "cs231n.kernels.direct_cython", "im2col": "cs231n.kernels.im2col_cython"}
CHOICES = (*COMPILED, "NumPy")
COMPILED_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
USED = {"direct": "the compiled kernels", "im2col": "compiled im2col, as asked", "NumPy": "NumPy, as asked"}
INSTEAD = {
    "im2col": "compiled im2col: convolution takes about twice as long",
    "NumPy": "NumPy: convolution takes two to four times as long as compiled, pooling ten times",
}
MISSING = """\
The fast layers use {instead}.
The compiled {name} kernels cannot be loaded:
    {error}
To compile them, install GCC or Clang (Windows: MinGW-w64, and add --compiler=mingw32 below).
In the folder of setup.py, run
{commands}
Then call cs231n.kernels.load_kernels(); no restart is needed."""
GET_BUILD_TOOLS = "    python -m pip install cython setuptools\n"
BUILD = "    python setup.py build_ext --inplace"
REBUILT = (
    "{} was rebuilt after this process had loaded it, and Python cannot reload compiled code: "
    "restart Python (in a notebook, the kernel)"
)

_in_use: ModuleType | None = None
_built: dict[str, int] = {}  # when the file of each loaded module was written, in nanoseconds


def kernels_for(dtype: npt.DTypeLike) -> ModuleType:
    """Return the module whose kernels compute in this dtype; the first call chooses it and prints which."""
    if _in_use is None:
        load_kernels()
    if _in_use is None or dtype not in COMPILED_DTYPES:
        return numpy_kernels
    return _in_use


def load_kernels(name: str = "direct") -> None:
    """Use these kernels from now on, or slower ones if they cannot be loaded, and print which are used.

    A running notebook calls this after `python setup.py build_ext --inplace` to use what was built. If
    kernels that were already loaded have been rebuilt, RuntimeError asks for a restart, because Python does
    not unload compiled code.

    - name: "direct", "im2col" or "NumPy"

    >>> load_kernels("NumPy")
    The fast layers use NumPy, as asked.
    >>> load_kernels()  # doctest: +ELLIPSIS
    The fast layers use ...
    """
    global _in_use
    if name not in CHOICES:
        raise ValueError(f"name must be one of {', '.join(map(repr, CHOICES))}; got {name!r}")
    choice, _in_use, error = _first_that_loads(CHOICES[CHOICES.index(name) :])
    if error is None:
        print(f"The fast layers use {USED[choice]}.")
    else:
        print(MISSING.format(instead=INSTEAD[choice], name=name, error=error, commands=_commands()))


def _first_that_loads(choices: tuple[str, ...]) -> tuple[str, ModuleType, str | None]:
    """Return the first choice that loads, its module, and the error of the first that does not load."""
    missing = None
    for choice in choices:
        if choice == "NumPy":
            break
        loaded = _load_compiled(COMPILED[choice])
        if isinstance(loaded, ModuleType):
            return choice, loaded, missing
        missing = missing or loaded
    return "NumPy", numpy_kernels, missing


def _load_compiled(module: str) -> ModuleType | str:
    """Import a compiled module and return it; if that fails, return the reason."""
    importlib.invalidate_caches()  # the file may be newer than the importer's memory of its folder
    try:
        kernels = importlib.import_module(module)
    except Exception as error:  # not built, or built for another Python or SciPy
        return f"{type(error).__name__}: {error}"
    file = kernels.__file__
    if file is None or not os.path.exists(file):  # deleted since; the loaded code still works
        return kernels
    written = os.stat(file).st_mtime_ns
    if _built.setdefault(module, written) != written:
        raise RuntimeError(REBUILT.format(module))
    return kernels


def _commands() -> str:
    """Return the commands that build the kernels; the first installs Cython and setuptools where missing."""
    has_tools = all(find_spec(tool) for tool in ("Cython", "setuptools"))
    return BUILD if has_tools else GET_BUILD_TOOLS + BUILD
