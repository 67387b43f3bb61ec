"""Build script: compile cs231n/kernels/*.pyx if there is a C compiler. pyproject.toml has the metadata.

Without a compiler the installation still succeeds: the fast layers then run on NumPy.
"""

import sys
from glob import glob
from pathlib import Path

try:
    from setuptools import Extension, setup
    from setuptools.command.build_ext import build_ext
except ImportError as error:
    sys.exit(f"setup.py needs setuptools ({error}). Install it: python -m pip install cython setuptools")

KERNELS = [
    Extension(f"cs231n.kernels.{Path(source).stem}", [source], depends=glob("cs231n/kernels/c/*.h"))
    for source in sorted(glob("cs231n/kernels/*_cython.pyx"))
]
# For GCC and Clang, on Windows too. Without errno, a square root is one instruction, even of a vector.
OPTIONS = ["-O3", "-fno-math-errno"]
# By default a compiler may fuse a multiplication and an addition, which then round only once, in one version
# of a loop and not in another. Results would depend on which version runs: on where the arrays lie.
OWN_OPTIONS = {
    "cs231n.kernels.optim_cython": ["-ffp-contract=off"],
    # Nobody asks whether a comparison met a NaN; a loop with one need not keep that to become vectors.
    "cs231n.kernels.norms_cython": ["-ffp-contract=off", "-fno-trapping-math"],
}

SLOWER = {
    "cs231n.kernels.denormals_cython": "Training takes several times as long where numbers become denormal.",
    "cs231n.kernels.direct_cython": "Convolution takes about twice as long.",
    "cs231n.kernels.im2col_cython": "Convolution takes two to four times as long, pooling ten times.",
    "cs231n.kernels.matmul_cython": "Training steps of small minibatches take up to twice as long.",
    "cs231n.kernels.norms_cython": "Normalization takes three to nine times as long.",
    "cs231n.kernels.optim_cython": "An update of the parameters takes about three times as long.",
}
INSTALL_COMPILER = "Install GCC or Clang (Windows: MinGW-w64, and add --compiler=mingw32 below)"
INSTALL_TOOLS = "Install or upgrade: python -m pip install --upgrade cython scipy setuptools"


class BuildExtOrSayWhy(build_ext):
    """Compile the kernels; if that fails, continue without them and print what to do."""

    def build_extension(self, ext):
        if self.compiler.compiler_type != "msvc":  # MSVC needs no options to optimize and fuses nothing
            ext.extra_compile_args = [*OPTIONS, *OWN_OPTIONS.get(ext.name, [])]
        try:
            super().build_extension(ext)
        except Exception as error:  # whatever a missing or broken compiler raises
            _warn(ext.name, error, INSTALL_COMPILER, [SLOWER[ext.name]])


def _warn(names, error, remedy, slower):
    """Print that these kernels were not built, why, what is slower and what to do."""
    line = "*" * 78
    print(
        f"\n{line}\n"
        f"Compiled kernels of cs231n could not be built: {names}: {type(error).__name__}: {error}\n"
        f"Everything works without them, but more slowly. {' '.join(slower)}\n"
        f"{remedy}\n"
        "Then run: python setup.py build_ext --inplace\n"
        f"{line}\n",
        file=sys.stderr,
    )


def _kernels():
    """Return the extensions to compile; warn and return none if Cython or SciPy is missing."""
    try:
        from Cython.Build import cythonize

        kernels = cythonize(KERNELS)
    except Exception as error:
        all_but_direct = [text for name, text in SLOWER.items() if "direct" not in name]
        _warn("all", error, INSTALL_TOOLS, all_but_direct)
        return []
    for extension in kernels:
        extension.optional = True  # cythonize makes new extensions, without the settings of the old ones
    return kernels


setup(ext_modules=_kernels(), cmdclass={"build_ext": BuildExtOrSayWhy})
