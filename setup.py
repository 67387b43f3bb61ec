"""Build script: compiles cs231n/im2col_cython.pyx where a C compiler is found; metadata is in pyproject.toml.

Without a compiler the installation succeeds all the same: the fast layers then run on NumPy.
"""

import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

try:
    from Cython.Build import cythonize
except ImportError:
    cythonize = None

KERNELS = Extension(
    "cs231n.im2col_cython",
    ["cs231n/im2col_cython.pyx"],
    extra_compile_args=[] if sys.platform == "win32" else ["-O3"],
    optional=True,
)


class BuildExtOrSayWhy(build_ext):
    """Compile, or go on without the compiled kernels and say so where it cannot be missed."""

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:  # whatever a missing or broken compiler raises
            _warn(f"{type(error).__name__}: {error}")


def _warn(reason):
    line = "*" * 78
    print(
        f"\n{line}\nThe compiled kernels of cs231n could not be built: {reason}\n"
        "Everything works without them, but convolution and pooling will be several times slower.\n"
        "To have them, install a C compiler (and Cython), then: python setup.py build_ext --inplace\n"
        f"{line}\n",
        file=sys.stderr,
    )


if cythonize is None:
    _warn("Cython is not installed")
    setup()
else:
    setup(ext_modules=cythonize([KERNELS]), cmdclass={"build_ext": BuildExtOrSayWhy})
