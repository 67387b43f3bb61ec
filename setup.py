"""Build script: compiles cs231n/kernels/*.pyx where a C compiler is found; metadata is in pyproject.toml.

Without a compiler the installation succeeds all the same: the fast layers then run on NumPy.
"""

import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = [
    Extension(f"cs231n.kernels.{Path(source).stem}", [source], depends=glob("cs231n/kernels/c/*.h"))
    for source in sorted(glob("cs231n/kernels/*_cython.pyx"))
]
# For GCC and Clang, on Windows too. A square root that need not set errno is one instruction, of vectors too.
OPTIONS = ["-O3", "-fno-math-errno"]
# A compiler may fuse a multiplication and an addition, which then round once, in one version of a loop and
# not in another. Adam's result would depend on which version runs: on where its arrays lie in memory.
OWN_OPTIONS = {"cs231n.kernels.optim_cython": ["-ffp-contract=off"]}


class BuildExtOrSayWhy(build_ext):
    """Compile, or go on without the compiled kernels and say so where it cannot be missed."""

    def build_extension(self, ext):
        if self.compiler.compiler_type != "msvc":  # which optimizes, and fuses nothing, unless it is told to
            ext.extra_compile_args = [*OPTIONS, *OWN_OPTIONS.get(ext.name, [])]
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
