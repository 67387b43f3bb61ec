"""Build script: compiles cs231n/im2col_cython.pyx where a C compiler is found; metadata is in pyproject.toml.

Without a compiler the installation succeeds all the same: the fast layers then run on NumPy.
"""

import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = Extension(
    "cs231n.im2col_cython",
    ["cs231n/im2col_cython.pyx"],
    extra_compile_args=[] if sys.platform == "win32" else ["-O3"],
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
        "Everything works without them, but convolution and pooling will take two to three times as long.\n"
        "To have them, install a C compiler (and Cython), then: python setup.py build_ext --inplace\n"
        f"{line}\n",
        file=sys.stderr,
    )


def _kernels():
    """The extension to compile; none, and the reason, where Cython or SciPy's declarations are missing."""
    try:
        from Cython.Build import cythonize

        (kernels,) = cythonize([KERNELS])
    except Exception as error:
        _warn(f"{type(error).__name__}: {error}")
        return []
    kernels.optional = True  # cythonize makes a new extension, without the old one's settings of setuptools
    return [kernels]


setup(ext_modules=_kernels(), cmdclass={"build_ext": BuildExtOrSayWhy})
