"""Build script: compiles cs231n/*_cython.pyx where a C compiler is found; metadata is in pyproject.toml.

Without a compiler the installation succeeds all the same: the fast layers then run on NumPy.
"""

import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# A square root that need not set errno is a single instruction, of vectors too
OPTIONS = [] if sys.platform == "win32" else ["-O3", "-fno-math-errno"]
KERNELS = [
    Extension(
        f"cs231n.{Path(source).stem}",
        [source],
        depends=glob("cs231n/vectors/*.h"),
        extra_compile_args=OPTIONS,
    )
    for source in sorted(glob("cs231n/*_cython.pyx"))
]


class BuildExtOrSayWhy(build_ext):
    """Compile, or go on without the compiled kernels and say so where it cannot be missed."""

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:  # whatever a missing or broken compiler raises
            _warn(ext.name, f"{type(error).__name__}: {error}")


def _warn(names, reason):
    line = "*" * 78
    print(
        f"\n{line}\nCompiled kernels of cs231n could not be built: {names}: {reason}\n"
        "Everything works without them, but convolution, pooling and Adam take two to ten times as long.\n"
        "To have them, install GCC or Clang (and Cython), then: python setup.py build_ext --inplace\n"
        f"{line}\n",
        file=sys.stderr,
    )


def _kernels():
    """The extensions to compile; none, and the reason, where Cython or SciPy's declarations are missing."""
    try:
        from Cython.Build import cythonize

        kernels = cythonize(KERNELS)
    except Exception as error:
        _warn("all", f"{type(error).__name__}: {error}")
        return []
    for extension in kernels:
        extension.optional = (
            True  # cythonize makes new extensions, without the old ones' settings of setuptools
        )
    return kernels


setup(ext_modules=_kernels(), cmdclass={"build_ext": BuildExtOrSayWhy})
