"""The compiled kernels: which memory they touch, how they are built, and how they are found and loaded."""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import DTYPES, NOT_BUILT, PATIENCE, built

import cs231n
from cs231n import kernels
from cs231n.kernels import COMPILED, kernels_for, load_kernels, numpy_kernels

pytestmark = pytest.mark.q4

ROOT = Path(cs231n.__file__).parents[1]
CHOSEN = [name.removeprefix("cs231n.kernels.") for name in COMPILED.values()]
GRIDS = dict.fromkeys(CHOSEN, "kernel_grid.py") | {
    "matmul_cython": "matmul_grid.py",
    "norms_cython": "norms_grid.py",
}
MODULES = list(GRIDS)
KERNELS = Path("cs231n") / "kernels"
EXTENSIONS = sorted(path.stem for path in (ROOT / KERNELS).glob("*_cython.pyx"))
REMEDY = "python setup.py build_ext --inplace"
WITH_NUMPY = "NumPy: convolution takes two to four times as long as compiled, pooling ten times."
WITH_IM2COL = "compiled im2col: convolution takes about twice as long."
COMPILER = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cl").split()

every_module = pytest.mark.parametrize("module", MODULES)
not_on_windows = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has another compiler and cannot delete files in use"
)

BUILD = """
import sys
from Cython.Build import cythonize
from setuptools import Extension, setup

name, *options = sys.argv[1:]
kernels = Extension(name, [f"{name}.pyx"], extra_compile_args=options, extra_link_args=options)
setup(ext_modules=cythonize([kernels]), script_args=["build_ext", "--inplace"])
"""
SCARCE_MEMORY = """
#include <malloc.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

/* After `granted` allocations one is refused or, if there is a shortage, gets that many bytes less. */
long granted = -1, shortage = 0;
long denormal = 0; /* whether new memory holds denormal numbers, of either type */
long held = 0, most_held = 0; /* bytes */

static void *allocate(size_t size)
{
    if (granted-- == 0) {
        if (!shortage) return NULL;
        size -= shortage;
    }
    /* The kernels put a workspace at the next cache line. In memory that begins at one, this leaves nothing
       behind the workspace, and before it only the pointer that the kernels store may be touched. So the
       sanitizer reports an access that is off by one byte. */
    enum { CACHE_LINE_BYTES = 64 };
    void *pointer;
    if (posix_memalign(&pointer, CACHE_LINE_BYTES, size)) return NULL;
    for (size_t i = 0; denormal && i < size / sizeof(int); i++) ((int *)pointer)[i] = 1;
    __asan_poison_memory_region(pointer, CACHE_LINE_BYTES - sizeof pointer);
    held += malloc_usable_size(pointer);
    most_held = held > most_held ? held : most_held;
    return pointer;
}

static void release(void *pointer)
{
    held -= malloc_usable_size(pointer);
    free(pointer);
}

/* Return whether an operation met a denormal number since the last call: a flag of x86 processors. */
int met_denormal(void)
{
#ifdef __x86_64__
    unsigned state = __builtin_ia32_stmxcsr(), flag = 2;
    __builtin_ia32_ldmxcsr(state & ~flag);
    return (state & flag) != 0;
#else
    return -1;
#endif
}

#define malloc(size) allocate(size)
#define free(pointer) release(pointer)
"""
VARIABLE_LIMITS = """
long band_bytes = 1 << 18, winograd_bytes = 1 << 19;
#define BAND_BYTES band_bytes
#define WINOGRAD_BYTES winograd_bytes
"""
FIRST_USE = """
import numpy as np
from cs231n.fast_layers import conv_backward_fast, conv_forward_fast
from cs231n.kernels import kernels_for, load_kernels
from cs231n.layers import conv_forward_naive

x, w, b = np.random.rand(2, 3, 4, 5), np.random.rand(2, 3, 3, 3), np.random.rand(2)
conv_param = {"stride": 1, "pad": 1}

def used():
    out, cache = conv_forward_fast(x, w, b, conv_param)
    conv_backward_fast(out, cache)
    np.testing.assert_allclose(out, conv_forward_naive(x, w, b, conv_param)[0], rtol=1e-12)
    return kernels_for(x.dtype).__name__.removeprefix("cs231n.kernels.")
"""


def environment(**more):
    """Return our environment with these settings, without the user's own compiler options."""
    theirs = {"CFLAGS", "CPPFLAGS", "PYTHONPATH"}
    ours = {name: value for name, value in os.environ.items() if name not in theirs}
    return {**ours, "OPENBLAS_NUM_THREADS": "1", **more}


def run(folder, *arguments, **more):
    """Run Python in this folder with these arguments; return the finished process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def run_copy(folder, code):
    """Run code with a copy of the package; without -S, an installed package could be used in its place."""
    paths = os.pathsep.join([str(folder), *sys.path])
    return run(folder, "-S", "-W", "error", "-c", code, PYTHONPATH=paths)


def assert_succeeded(process):
    assert process.returncode == 0, process.stdout + process.stderr


def compiled_file(folder, module):
    (path,) = folder.glob(module + sysconfig.get_config_var("EXT_SUFFIX"))
    return path


def sanitizer():
    """Return the sanitizer's library, which must be loaded before Python, or None if there is none."""
    if sys.platform != "linux":
        return None
    asked = [*COMPILER, "-print-file-name=libasan.so"]
    path = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    return path if path.is_absolute() and path.read_bytes()[:4] == b"\x7fELF" else None


def grid_of(module):
    """Return the program that runs a module's kernels on many small geometries."""
    return Path(__file__).with_name(GRIDS[module])


def source_of(module):
    return (ROOT / KERNELS / f"{module}.pyx").read_text(encoding="utf-8")


def with_checked_indices(source):
    """Return a module's source with index checks turned on.

    The directives in the file override those given to Cython, so they are changed in the file.
    """
    header, rest = source.split("\n", 1)
    checked = header.replace("boundscheck=False", "boundscheck=True")
    checked = checked.replace("initializedcheck=False", "initializedcheck=True")
    assert checked.count("=True") == header.count("=True") + 2
    return f"{checked}\n{rest}"


def require_compiler():
    """Skip the test that needs a C compiler where there is none."""
    if shutil.which(COMPILER[0]) is None:
        pytest.skip(f"there is no C compiler {COMPILER[0]} here")


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Compile each module in a folder of its own: {"checked" or "sanitized": {module: folder}}."""
    require_compiler()
    wanted = {"checked": [] if sys.platform == "win32" else ["-O0"]}
    if sanitizer():
        undefined = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined"]
        wanted["sanitized"] = ["-O0", "-g1", "-fsanitize=address", *undefined]

    folders, compiling = {}, []
    for kind, options in wanted.items():
        folders[kind] = {module: tmp_path_factory.mktemp(f"{kind}-{module}") for module in MODULES}
        for module, folder in folders[kind].items():
            source = source_of(module)
            text = with_checked_indices(source) if kind == "checked" else source
            (folder / f"{module}.pyx").write_text(text, encoding="utf-8")
            header = shutil.copytree(ROOT / KERNELS / "c", folder / "c") / "convolution.h"
            if kind == "sanitized":
                text = SCARCE_MEMORY + VARIABLE_LIMITS + header.read_text(encoding="utf-8")
                header.write_text(text, encoding="utf-8")
            command = [sys.executable, "-c", BUILD, module, *options]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            compiling.append(subprocess.Popen(command, cwd=folder, env=environment(), **pipes))
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in compiling]
    for process, output in zip(compiling, outputs, strict=True):
        assert process.returncode == 0, output
    return folders


@pytest.fixture
def run_checked(builds):
    """Return a function that runs Python with kernels that check every index; new memory holds 7f7f..."""
    paths = os.pathsep.join(map(str, (*builds["checked"].values(), ROOT)))
    return lambda *arguments: run(ROOT, *arguments, PYTHONPATH=paths, MALLOC_PERTURB_="128")


@pytest.fixture
def run_sanitized(builds):
    """Return a function that runs Python with sanitized kernels; new memory holds NaN."""
    if "sanitized" not in builds:
        pytest.skip(f"{COMPILER[0]} has no AddressSanitizer that Python can load")
    options = {
        "LD_PRELOAD": str(sanitizer()),
        "ASAN_OPTIONS": "detect_leaks=0:malloc_fill_byte=255:max_malloc_fill_size=1000000",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": os.pathsep.join(map(str, (*builds["sanitized"].values(), ROOT))),
    }
    return lambda *arguments: run(ROOT, *arguments, **options)


def assert_grid_passed(process):
    assert_succeeded(process)
    assert process.stderr == ""
    assert int(process.stdout.removesuffix("geometries\n")) > 1000


@pytest.mark.parametrize("name", EXTENSIONS)
def test_kernels_are_built(name):
    """If there is a C compiler, every extension has been built."""
    require_compiler()
    assert built(name), NOT_BUILT.format(name)


@every_module
def test_indices_are_within_bounds(run_checked, module):
    """Every index of every kernel, as checked by Cython on the whole grid of geometries."""
    assert_grid_passed(run_checked("-W", "error", grid_of(module), module, 256))


@every_module
def test_memory_beside_arrays_is_untouched(run_sanitized, module):
    """AddressSanitizer finds no access beside an array or a workspace, on the whole grid."""
    assert_grid_passed(run_sanitized("-W", "error", grid_of(module), module, 0))


@every_module
def test_installed_kernels_pass_the_grid(module):
    """The optimized kernels agree with NumPy and leave the fences around their arrays intact."""
    if find_spec(f"cs231n.kernels.{module}") is None:
        pytest.skip("the kernels were not built here")
    name = f"cs231n.kernels.{module}"
    assert_grid_passed(run(ROOT, "-W", "error", grid_of(module), name, 256, PYTHONPATH=str(ROOT)))


COLUMNS_TOO_NARROW = """
import numpy as np
from im2col_cython import _im2col

moves = {"stride_down": 1, "stride_across": 1, "pad_down": 0, "pad_across": 0}
windows = {"height": 2, "width": 2, "rows": 2, "columns": 2} | moves
_im2col(np.ones((1, 1, 3, 3)), windows, np.ones((4, 3)))  # one column less than there are windows
"""
PLACE_BESIDE_THE_PLANE = """
import sys
import numpy as np
from im2col_cython import _max_pool_backward

place, size = map(int, sys.argv[1:])
_max_pool_backward(np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), place), np.ones((1, 1, 1, size)))
"""

WITH_SCARCE_MEMORY = """
import ctypes, sys
import numpy as np
import direct_cython as kernels

library = ctypes.CDLL(kernels.__file__)
granted, shortage, held, most_held = (
    ctypes.c_long.in_dll(library, name) for name in ("granted", "shortage", "held", "most_held")
)

def convolution(N, C, F, size):
    shapes = (N, C, size, size), (F, C, 3, 3), (F,), (N, F, size, size)
    return [np.random.standard_normal(shape) for shape in shapes]

def with_vectors(number):
    if number >= len(kernels.vector_sets()):
        sys.exit("no such vectors")
    kernels.use_vectors(kernels.vector_sets()[number])
"""
OUTPUT_TOO_SMALL = """
with_vectors(int(sys.argv[1]))
kernels.ALGORITHM = "direct"
x, w, b, out = convolution(N=1, C=2, F=2, size=16)
out = np.lib.stride_tricks.as_strided(np.empty(out.size - 1), out.shape, out.strides)
kernels.conv_forward(x, w, b, 1, 1, out)
"""
WORKSPACE_TOO_SMALL = """
vectors, width = map(int, sys.argv[1:])
with_vectors(vectors)
kernels.ALGORITHM = "Winograd"
x, w, b, dout = convolution(N=1, C=2, F=2, size=17)
granted.value, shortage.value = 5, 3 * width  # the sixth allocation: the transformed upstream gradient
kernels.conv_backward(dout, x, w, 1, 1, None)
"""
EVERY_ALLOCATION_REFUSED = """
kernels.ALGORITHM = sys.argv[2]
with_vectors(int(sys.argv[1]))
x, w, b, dout = convolution(N=2, C=2, F=3, size=5)
out, dx = np.zeros_like(dout), np.zeros_like(x)

def forward():
    kernels.conv_forward(x, w, b, 1, 1, out)
    return [out.copy()]

def backward():
    return [*kernels.conv_backward(dout, x, w, 1, 1, dx), dx.copy()]

def refused(function):
    expected, refusals = function(), 0
    while True:
        granted.value = refusals
        try:
            results = function()
        except MemoryError as error:
            assert str(error) == "too little memory for the workspace of a convolution"
            assert held.value == 0  # what was granted is given back
            refusals += 1
            continue
        assert granted.value == held.value == 0
        granted.value = -1
        for result, value in zip(results, expected, strict=True):
            assert (result == value).all()
        return refusals

print(refused(forward), refused(backward))
"""
DENORMAL_LANES = """
denormal = ctypes.c_long.in_dll(library, "denormal")
limits = [ctypes.c_long.in_dll(library, name) for name in ("band_bytes", "winograd_bytes")]
usual = [limit.value for limit in limits]
kernels.ALGORITHM = sys.argv[1]
calls = 0

def watched(function, *arguments):
    global calls
    library.met_denormal()
    function(*arguments)
    assert not library.met_denormal(), (function, arguments[0].shape, arguments[1].shape, name)
    calls += 1

def watch_all(N, C, F, size, window, stride, pad):
    x, w, b = (np.random.standard_normal(shape).astype(dtype) for shape in
               ((N, C, *size), (F, C, window, window), (F,)))
    rows, columns = ((side + 2 * pad - window) // stride + 1 for side in size)
    x = x[:, :, :(rows - 1) * stride + window - 2 * pad, :(columns - 1) * stride + window - 2 * pad].copy()
    out = np.empty((N, F, rows, columns), dtype)
    watched(kernels.conv_forward, x, w, b, stride, pad, out)
    watched(kernels.conv_backward, out, x, w, stride, pad, np.empty_like(x))
    if pad == 0:
        largest, argmax = np.empty((N, C, rows, columns), dtype), np.empty((N, C, rows, columns), np.intp)
        watched(kernels.max_pool_forward, x, window, window, stride, largest, argmax)

denormal.value = 1
for name in kernels.vector_sets():
    kernels.use_vectors(name)
    for dtype in (np.float32, np.float64):
        for N, C, F, *size in ((1, 2, 3, 5, 5), (3, 2, 9, 11, 10), (5, 3, 2, 12, 17), (2, 5, 6, 21, 22)):
            for window, stride, pad in ((3, 1, 1), (3, 1, 0), (1, 1, 0), (2, 2, 0), (3, 2, 1), (2, 3, 0)):
                for some in (None, 1000):
                    for limit, value in zip(limits, usual, strict=True):
                        limit.value = some or value
                    watch_all(N, C, F, size, window, stride, pad)
print(calls)
"""
ONE_DENORMAL = """
x, w, b, out = convolution(N=1, C=1, F=1, size=5)
x[0, 0, 0, 0] = 5e-324
library.met_denormal()
kernels.conv_forward(x, w, b, 1, 1, out)
print(library.met_denormal())
"""
WORKSPACE_OF_A_MINIBATCH = """
kernels.ALGORITHM = sys.argv[1]
x, w, b, out = convolution(N=64, C=8, F=8, size=32)
kernels.conv_forward(x, w, b, 1, 1, out)
kernels.conv_backward(out, x, w, 1, 1, np.empty_like(x))
print(most_held.value / x.nbytes)
"""


def test_checked_build_reports_a_bad_index(run_checked):
    """An index out of bounds does not go unnoticed in the checked build."""
    process = run_checked("-c", COLUMNS_TOO_NARROW)
    assert "Exception ignored in: 'im2col_cython.image_to_columns'" in process.stderr
    assert "IndexError: Out of bounds on buffer access (axis 1)" in process.stderr


@pytest.mark.parametrize("place, size", [(3, 3), (-1, 3), (100_000, 100_000)])
def test_sanitizer_reports_a_write_beside_an_array(run_sanitized, place, size):
    """A write just before, just behind or far behind an array does not go unnoticed."""
    process = run_sanitized("-c", PLACE_BESIDE_THE_PLANE, place, size)
    assert process.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in process.stderr
    assert "_max_pool_backward" in process.stderr


every_algorithm = pytest.mark.parametrize("algorithm", ["direct", "Winograd"])
all_vectors = pytest.mark.parametrize("vectors", range(3))


def skip_without(vectors, process):
    if process.stderr.startswith("no such vectors"):
        pytest.skip(f"this processor has fewer than {vectors + 1} sets of vectors")


@all_vectors
@pytest.mark.parametrize(
    "program, function",
    [
        pytest.param(OUTPUT_TOO_SMALL, "tile_of_double", id="direct"),
        pytest.param(WORKSPACE_TOO_SMALL, "transform_upstream_double", id="Winograd"),
    ],
)
def test_sanitizer_reports_vectors_beside_an_array(run_sanitized, vectors, program, function):
    """The sanitizer also watches code that is compiled for AVX2 and AVX-512."""
    width = 16 << vectors
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + program, vectors, width)
    skip_without(vectors, process)
    assert process.returncode != 0
    assert "ERROR: AddressSanitizer: " in process.stderr
    assert f"WRITE of size {width} " in process.stderr
    assert function in process.stderr


@all_vectors
@every_algorithm
def test_refused_allocations_raise_memory_error(run_sanitized, vectors, algorithm):
    """Whichever allocation is refused: MemoryError, everything is freed, and the next call succeeds."""
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + EVERY_ALLOCATION_REFUSED, vectors, algorithm)
    skip_without(vectors, process)
    assert_succeeded(process)
    forward, backward = map(int, process.stdout.split())
    assert 3 < forward < backward


on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 processors have this flag")


@on_x86
@every_algorithm
def test_old_memory_is_never_computed_on(run_sanitized, algorithm):
    """Old memory may hold denormal numbers, which many processors compute far more slowly."""
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + DENORMAL_LANES, algorithm)
    assert_succeeded(process)
    assert int(process.stdout) > 200


@on_x86
def test_denormal_flag_is_raised(run_sanitized):
    """A computation on a denormal number raises the flag that the test above relies on."""
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + ONE_DENORMAL)
    assert_succeeded(process)
    assert process.stdout == "1\n"


@every_algorithm
def test_workspace_is_small(run_sanitized, algorithm):
    """The workspace of the direct kernels is a fraction of the minibatch, unlike its columns."""
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + WORKSPACE_OF_A_MINIBATCH, algorithm)
    assert_succeeded(process)
    part_of_images = float(process.stdout)  # the columns of all images would take nine times their memory
    assert 0.01 < part_of_images < 0.5


def copy_package(folder):
    """Copy setup.py and all it needs to this folder, without anything that was built."""
    (folder / KERNELS).mkdir(parents=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for room in (Path("cs231n"), KERNELS):
        for path in (ROOT / room).glob("*.py*"):
            if path.suffix in (".py", ".pyx"):
                shutil.copy(path, folder / room)
    shutil.copytree(ROOT / KERNELS / "c", folder / KERNELS / "c")
    return folder


@pytest.fixture(scope="module")
def without_compiler(tmp_path_factory):
    """Build a copy of the package without a compiler; return the folder and the finished process."""
    folder = copy_package(tmp_path_factory.mktemp("without") / "compiler")
    missing = str(folder / "no-such-compiler")
    process = run(folder, "setup.py", "build_ext", "--inplace", CC=missing)
    assert f"{missing} " in process.stdout, "another compiler was used"
    return folder, process


def assert_banners(process, reasons, remedy="Install GCC or Clang"):
    """The build succeeded and printed on stderr, between lines of stars, what is missing and what to do."""
    assert_succeeded(process)
    banners = process.stderr.split("*" * 78)[1::2]
    assert len(banners) == len(reasons)
    for banner, reason in zip(sorted(banners), sorted(reasons), strict=True):
        assert f"could not be built: {reason}" in banner
        assert "as long" in banner
        assert remedy in banner
        assert REMEDY in banner


@not_on_windows
def test_build_without_a_compiler(without_compiler):
    """The build succeeds and prints a banner for each extension: the cause, the cost and the remedy."""
    folder, process = without_compiler
    assert_banners(process, [f"cs231n.kernels.{name}: CompileError: " for name in EXTENSIONS])
    assert "no-such-compiler" in process.stderr
    assert not list(folder.rglob("*.so"))


@not_on_windows
def test_first_use_without_compiled_kernels(without_compiler):
    """The fast layers use NumPy and print that once, with the reason and the remedy."""
    folder, _ = without_compiler
    process = run_copy(folder, FIRST_USE + "assert used() == used() == 'numpy_kernels'\n")
    assert_succeeded(process)
    assert process.stdout.count("The fast layers use NumPy") == process.stdout.count(REMEDY) == 1
    assert "ModuleNotFoundError: No module named 'cs231n.kernels.direct_cython'" in process.stdout


def test_build_without_cython(tmp_path):
    """The build succeeds, compiles nothing, and prints which packages to install."""
    folder = copy_package(tmp_path / "copy")
    (tmp_path / "Cython").mkdir()
    (tmp_path / "Cython" / "__init__.py").write_text("raise ImportError('Cython is not here')")
    process = run(folder, "setup.py", "build_ext", "--inplace", PYTHONPATH=str(tmp_path))
    remedy = "python -m pip install --upgrade cython scipy setuptools"
    assert_banners(process, ["all: ImportError: Cython is not here"], remedy)
    assert not list(folder.glob("cs231n/kernels/*.c"))


def test_build_without_setuptools(tmp_path):
    """setup.py cannot do anything, and prints which packages to install."""
    folder = copy_package(tmp_path / "copy")
    (tmp_path / "setuptools").mkdir()
    (tmp_path / "setuptools" / "__init__.py").write_text("raise ImportError('setuptools is not here')")
    process = run(folder, "setup.py", "build_ext", "--inplace", PYTHONPATH=str(tmp_path))
    assert process.returncode == 1
    assert process.stderr == (
        "setup.py needs setuptools (setuptools is not here). "
        "Install it: python -m pip install cython setuptools\n"
    )


@pytest.mark.parametrize("missing", ["Cython", "setuptools"])
def test_message_names_missing_packages(nothing_in_use, monkeypatch, capsys, missing):
    """The packages that a build needs are named only if one of them is missing."""
    monkeypatch.setitem(sys.modules, "cs231n.kernels.direct_cython", None)  # its import fails
    load_kernels()
    assert "pip install" not in capsys.readouterr().out
    monkeypatch.setattr(kernels, "find_spec", lambda name: None if name == missing else find_spec(name))
    load_kernels()
    assert f"    python -m pip install cython setuptools\n    {REMEDY}\n" in capsys.readouterr().out


@not_on_windows
def test_build_without_vector_types(tmp_path):
    """Such a compiler builds everything but the direct kernels; the fast layers then use im2col."""
    require_compiler()
    folder = copy_package(tmp_path / "copy")
    header = folder / KERNELS / "c" / "convolution.h"
    header.write_text("#undef __GNUC__\n" + header.read_text(encoding="utf-8"), encoding="utf-8")
    compiler = tmp_path / "compiler"  # the usual one without optimization, which is quicker
    compiler.write_text(f'#!/bin/sh\nexec {" ".join(COMPILER)} "$@" -O0\n')
    compiler.chmod(0o755)
    process = run(folder, "setup.py", "build_ext", "--inplace", CC=str(compiler))
    assert_banners(process, ["cs231n.kernels.direct_cython: CompileError: "])
    assert "the direct kernels are written with the vector types of GCC and Clang" in process.stderr
    process = run_copy(folder, FIRST_USE + "assert used() == used() == 'im2col_cython'\n")
    assert_succeeded(process)
    assert process.stdout.count(f"The fast layers use {WITH_IM2COL}") == 1
    assert process.stdout.count(REMEDY) == 1
    assert "ModuleNotFoundError: No module named 'cs231n.kernels.direct_cython'" in process.stdout


@not_on_windows
@pytest.mark.parametrize("name", EXTENSIONS)
def test_build_options_are_portable(without_compiler, name):
    """No option ties the kernels to this processor or to OpenMP, or permits inexact arithmetic."""
    _, process = without_compiler
    (command,) = (line for line in process.stdout.splitlines() if f"{name}.c " in line)
    ours = command.split(" -o ")[1]  # the options before it are those of Python's own build
    for option in ("-march", "-mtune", "openmp", "fast-math"):
        assert option not in ours


@pytest.mark.skipif(shutil.which("ldd") is None, reason="there is no ldd here")
@every_module
def test_kernels_do_not_link_openmp(builds, module):
    """OpenMP would bring threads of its own."""
    built = compiled_file(builds["checked"][module], module)
    listed = subprocess.run(["ldd", built], capture_output=True, text=True, check=True).stdout
    assert "libc." in listed
    assert "omp" not in listed


@pytest.mark.skipif(platform.machine() != "x86_64", reason="this processor has one set of vectors")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="there is no objdump here")
@pytest.mark.parametrize("module", ["direct_cython", "matmul_cython", "norms_cython"])
def test_instruction_sets_stay_in_their_functions(builds, module):
    """AVX2 and AVX-512 instructions occur only in functions named after these sets."""
    built = compiled_file(builds["checked"][module], module)
    command = ["objdump", "--disassemble", "--no-show-raw-insn", built]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    instructions = {}
    for code in re.split(r"(?m)^[0-9a-f]+ <", listing)[1:]:
        name, body = code.split(">:", 1)
        instructions[name] = body
    avx = {name for name, body in instructions.items() if re.search(r":\tv\w+ ", body)}
    avx512 = {name for name in avx if "%zmm" in instructions[name]}
    assert len(avx512) > 3 and len(avx - avx512) > 3  # not of no function at all
    assert all("_avx512" in name for name in avx512)
    assert all("_avx2" in name or "_avx512" in name for name in avx)


LATER = """
import os, shutil

def build(name):
    shutil.copy(BUILT[name], PLACE[name])

def rebuild(name):
    times = os.stat(PLACE[name])
    os.remove(PLACE[name])
    build(name)
    os.utime(PLACE[name], ns=(times.st_atime_ns, times.st_mtime_ns + 1000))

assert used() == "numpy_kernels"
"""


def run_later(folder, builds, code):
    """Run code after a first use without kernels; in it, build(module) copies compiled kernels into place."""
    built = {module: str(compiled_file(path, module)) for module, path in builds["checked"].items()}
    place = {module: str(folder / KERNELS / Path(path).name) for module, path in built.items()}
    names = f"BUILT = {built!r}\nPLACE = {place!r}\n"
    process = run_copy(copy_package(folder), FIRST_USE + names + LATER + code)
    assert_succeeded(process)
    return process.stdout


def test_kernels_built_later_are_picked_up(tmp_path, builds):
    """load_kernels() finds kernels that were built after the first use; no restart is needed."""
    printed = run_later(
        tmp_path / "copy",
        builds,
        """
folder = os.path.dirname(PLACE["im2col_cython"])
times = os.stat(folder)
build("im2col_cython")
os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))  # as with a clock too coarse to show the change
assert used() == "numpy_kernels"
load_kernels()
assert used() == "im2col_cython"
build("direct_cython")
os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))
assert used() == "im2col_cython"
for name, module in (("direct", "direct_cython"), ("NumPy", "numpy_kernels"), ("im2col", "im2col_cython")):
    load_kernels(name)
    assert used() == module
load_kernels()
assert used() == "direct_cython"
""",
    )
    first, second, *_ = printed.split("The fast layers use ")[1:]
    assert first.startswith(f"{WITH_NUMPY}\nThe compiled direct kernels")
    assert second.startswith(f"{WITH_IM2COL}\nThe compiled direct kernels")
    for missing in (first, second):
        assert "ModuleNotFoundError: No module named 'cs231n.kernels.direct_cython'" in missing
        assert REMEDY in missing
    assert printed.splitlines()[-4:] == [
        "The fast layers use the compiled kernels.",
        "The fast layers use NumPy, as asked.",
        "The fast layers use compiled im2col, as asked.",
        "The fast layers use the compiled kernels.",
    ]


def test_missing_kernels_are_named(tmp_path, builds):
    """The message names the kernels that were requested, not the fastest."""
    printed = run_later(
        tmp_path / "copy",
        builds,
        """
load_kernels("im2col")
assert used() == "numpy_kernels"
""",
    )
    _, asked = printed.split("The fast layers use ")[1:]
    assert asked.startswith(f"{WITH_NUMPY}\nThe compiled im2col kernels")
    assert "ModuleNotFoundError: No module named 'cs231n.kernels.im2col_cython'" in asked


@not_on_windows
@pytest.mark.parametrize("module", CHOSEN)
def test_rebuilt_kernels_ask_for_a_restart(tmp_path, builds, module):
    """Loaded kernels that have been rebuilt raise RuntimeError; the old ones still work."""
    printed = run_later(
        tmp_path / "copy",
        builds,
        f"""
build("im2col_cython")
build("direct_cython")
load_kernels("im2col")
load_kernels()
rebuild({module!r})
for _ in range(2):
    try:
        load_kernels({"direct" if module == "direct_cython" else "im2col"!r})
    except RuntimeError as error:
        print(error)
assert used() == "direct_cython"  # the old ones, which still work
""",
    )
    asked = f"cs231n.kernels.{module} was rebuilt after this process had loaded it"
    assert printed.count(asked) == 2


@not_on_windows
def test_deleted_kernels_stay_in_use(tmp_path, builds):
    """Loaded kernels still work after their file was deleted."""
    run_later(
        tmp_path / "copy",
        builds,
        """
build("im2col_cython")
build("direct_cython")
load_kernels()
os.remove(PLACE["direct_cython"])
load_kernels()
assert used() == "direct_cython"
""",
    )


def test_unreadable_kernels_are_passed_over(tmp_path, builds):
    """A file that cannot be loaded leaves the next kernels in use until it is replaced."""
    printed = run_later(
        tmp_path / "copy",
        builds,
        """
for name, module in (("im2col_cython", "numpy_kernels"), ("direct_cython", "im2col_cython")):
    with open(PLACE[name], "wb") as file:
        file.write(bytes(range(256)) * 40)
    load_kernels()
    assert used() == module
    os.remove(PLACE[name])
    build(name)
    load_kernels()
    assert used() == name
""",
    )
    missing, *unreadable, found = printed.split("The fast layers use ")[1:]
    assert "ModuleNotFoundError" in missing
    beginnings = ("NumPy", "compiled im2col", "compiled im2col")
    reasons = ("ModuleNotFoundError: ", "ModuleNotFoundError: ", "ImportError: ")
    for text, beginning, reason in zip(unreadable, beginnings, reasons, strict=True):
        assert text.startswith(beginning) and reason in text and REMEDY in text
    assert found == "the compiled kernels.\n"


def test_direct_kernels_need_im2col_kernels(tmp_path, builds):
    """The direct kernels cannot be loaded before the im2col kernels, whose pooling they use, are built."""
    printed = run_later(
        tmp_path / "copy",
        builds,
        """
build("direct_cython")
load_kernels()
assert used() == "numpy_kernels"
build("im2col_cython")
load_kernels()
assert used() == "direct_cython"
""",
    )
    _, needed, found = printed.split("The fast layers use ")[1:]
    assert needed.startswith("NumPy") and "No module named 'cs231n.kernels.im2col_cython'" in needed
    assert found == "the compiled kernels.\n"


@pytest.fixture
def nothing_in_use(monkeypatch):
    """No kernels are in use, as in a process that has not used the fast layers yet."""
    monkeypatch.setattr(kernels, "_in_use", None)


def test_first_use_prints_the_kernels_once(nothing_in_use, capsys):
    """The first use prints which kernels are used; the second prints nothing."""
    first = kernels_for(np.dtype(np.float32))
    printed = capsys.readouterr().out
    assert printed.startswith("The fast layers use ")
    assert ("NumPy" in printed) == (first is numpy_kernels)
    assert kernels_for(np.dtype(np.float64)) is first
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["", "numpy", "Direct", "cs231n.kernels.direct_cython", None, True])
def test_unknown_kernels_are_refused(nothing_in_use, capsys, name):
    """An unknown name is a ValueError and leaves the kernels in use unchanged."""
    load_kernels("NumPy")
    with pytest.raises(ValueError) as raised:
        load_kernels(name)
    assert str(raised.value) == f"name must be one of 'direct', 'im2col', 'NumPy'; got {name!r}"
    assert kernels_for(np.dtype(np.float32)) is numpy_kernels
    assert capsys.readouterr().out == "The fast layers use NumPy, as asked.\n"


def test_numpy_can_be_chosen(nothing_in_use, capsys):
    """load_kernels("NumPy") is honoured although compiled kernels exist."""
    load_kernels("NumPy")
    assert capsys.readouterr().out == "The fast layers use NumPy, as asked.\n"
    assert {kernels_for(np.dtype(dtype)) for dtype in DTYPES} == {numpy_kernels}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "dtype", [np.dtype("f2"), np.dtype("f4").newbyteorder(), np.dtype("f8").newbyteorder()]
)
def test_other_dtypes_use_numpy(nothing_in_use, dtype):
    """The compiled kernels have float32 and float64 in native byte order only."""
    load_kernels()
    assert kernels_for(dtype) is numpy_kernels
