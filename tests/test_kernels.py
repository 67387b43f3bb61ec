"""The compiled kernels: what they touch in memory, how they are built, and how they are found or missed."""

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
GRID = Path(__file__).with_name("kernel_grid.py")
MODULES = [name.removeprefix("cs231n.kernels.") for name in COMPILED.values()]
KERNELS = Path("cs231n") / "kernels"
EXTENSIONS = sorted(path.stem for path in (ROOT / KERNELS).glob("*_cython.pyx"))
REMEDY = "python setup.py build_ext --inplace"
WITH_NUMPY = "NumPy; a convolution takes two to four times as long as compiled, pooling ten."
WITH_IM2COL = "compiled im2col; a convolution takes about twice as long."
COMPILER = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cl").split()

every_module = pytest.mark.parametrize("module", MODULES)
not_on_windows = pytest.mark.skipif(
    sys.platform == "win32", reason="another compiler, and files in use cannot go"
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

/* After so many allocations one is refused or, with a shortage, gets so many bytes less than it asked for. */
long granted = -1, shortage = 0;
long denormal = 0; /* whether new memory holds denormal numbers, of either type */
long held = 0, most_held = 0; /* bytes */

static void *allocate(size_t size)
{
    if (granted-- == 0) {
        if (!shortage) return NULL;
        size -= shortage;
    }
    /* The kernels put a workspace at the next line of the cache. That leaves nothing behind it here, and only
       the pointer they keep may be touched before it: the sanitizer sees what goes beyond by one byte. */
    enum { LINE_OF_CACHE = 64 };
    void *pointer;
    if (posix_memalign(&pointer, LINE_OF_CACHE, size)) return NULL;
    for (size_t i = 0; denormal && i < size / sizeof(int); i++) ((int *)pointer)[i] = 1;
    __asan_poison_memory_region(pointer, LINE_OF_CACHE - sizeof pointer);
    held += malloc_usable_size(pointer);
    most_held = held > most_held ? held : most_held;
    return pointer;
}

static void release(void *pointer)
{
    held -= malloc_usable_size(pointer);
    free(pointer);
}

/* Whether an operation has met a denormal number since the last call: a flag of x86 processors. */
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
    """Ours, with these settings; a user's own options for the compiler are left out."""
    theirs = {"CFLAGS", "CPPFLAGS", "PYTHONPATH"}
    ours = {name: value for name, value in os.environ.items() if name not in theirs}
    return {**ours, "OPENBLAS_NUM_THREADS": "1", **more}


def run(folder, *arguments, **more):
    """What Python, started in this folder, did with these arguments."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def run_copy(folder, code):
    """What this code did with a copy of the package; -S, as ours, where installed, would fill in for it."""
    paths = os.pathsep.join([str(folder), *sys.path])
    return run(folder, "-S", "-W", "error", "-c", code, PYTHONPATH=paths)


def assert_succeeded(process):
    assert process.returncode == 0, process.stdout + process.stderr


def compiled_file(folder, module):
    (path,) = folder.glob(module + sysconfig.get_config_var("EXT_SUFFIX"))
    return path


def sanitizer():
    """The sanitizer's library, which has to be in the process before Python; None where there is none."""
    if sys.platform != "linux":
        return None
    asked = [*COMPILER, "-print-file-name=libasan.so"]
    path = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    return path if path.is_absolute() and path.read_bytes()[:4] == b"\x7fELF" else None


def source_of(module):
    return (ROOT / KERNELS / f"{module}.pyx").read_text(encoding="utf-8")


def checking(source):
    """A module that checks its indices."""
    header, rest = source.split("\n", 1)
    # directives in the file prevail over those given to Cython, so they are changed there
    checking = header.replace("boundscheck=False", "boundscheck=True")
    checking = checking.replace("initializedcheck=False", "initializedcheck=True")
    assert checking.count("=True") == header.count("=True") + 2
    return f"{checking}\n{rest}"


def adjustable(header):
    """The direct kernels with limits that can be set, and an allocator that can be told to fail."""
    variables = []

    def take_out(limit):
        name, value = limit.groups()
        variables.append(f"long {name.lower()} = {value};\n#define {name} {name.lower()}\n")
        return ""

    rest = re.sub(r"\b(BAND_BYTES|WINOGRAD_BYTES) = ([^,/\n]*[^,/\s]),?", take_out, header)
    assert len(variables) == 2
    return SCARCE_MEMORY + "".join(variables) + rest


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Folders in which each module is compiled for itself: {"checked" or "sanitized": {module: folder}}."""
    if shutil.which(COMPILER[0]) is None:
        pytest.skip(f"there is no C compiler {COMPILER[0]} here")
    wanted = {"checked": [] if sys.platform == "win32" else ["-O0"]}
    if sanitizer():
        undefined = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined"]
        wanted["sanitized"] = ["-O0", "-g1", "-fsanitize=address", *undefined]

    folders, compiling = {}, []
    for kind, options in wanted.items():
        folders[kind] = {module: tmp_path_factory.mktemp(f"{kind}-{module}") for module in MODULES}
        for module, folder in folders[kind].items():
            source = source_of(module)
            text = checking(source) if kind == "checked" else source
            (folder / f"{module}.pyx").write_text(text, encoding="utf-8")
            header = shutil.copytree(ROOT / KERNELS / "c", folder / "c") / "convolution.h"
            if kind == "sanitized":
                header.write_text(adjustable(header.read_text(encoding="utf-8")), encoding="utf-8")
            command = [sys.executable, "-c", BUILD, module, *options]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            compiling.append(subprocess.Popen(command, cwd=folder, env=environment(), **pipes))
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in compiling]
    for process, output in zip(compiling, outputs, strict=True):
        assert process.returncode == 0, output
    return folders


@pytest.fixture
def run_checked(builds):
    """Run Python with the kernels that check every index; new memory holds 7f7f..., not zeros."""
    paths = os.pathsep.join(map(str, (*builds["checked"].values(), ROOT)))
    return lambda *arguments: run(ROOT, *arguments, PYTHONPATH=paths, MALLOC_PERTURB_="128")


@pytest.fixture
def run_sanitized(builds):
    """Run Python with the kernels that watch their memory; new memory holds NaN."""
    if "sanitized" not in builds:
        pytest.skip(f"{COMPILER[0]} has no AddressSanitizer that could be loaded into Python")
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
def test_the_kernels_are_built_where_there_is_a_compiler(name):
    if shutil.which(COMPILER[0]) is None:
        pytest.skip(f"there is no C compiler {COMPILER[0]} here")
    assert built(name), NOT_BUILT.format(name)


@every_module
def test_every_index_of_every_kernel_is_within_bounds(run_checked, module):
    assert_grid_passed(run_checked("-W", "error", GRID, module, 256))


@every_module
def test_no_kernel_touches_memory_beside_its_arrays(run_sanitized, module):
    assert_grid_passed(run_sanitized("-W", "error", GRID, module, 0))


@every_module
def test_the_kernels_that_were_built_here_pass_the_same_grid(module):
    if find_spec(f"cs231n.kernels.{module}") is None:
        pytest.skip("the kernels were not built here")
    assert_grid_passed(run(ROOT, "-W", "error", GRID, f"cs231n.kernels.{module}", 256, PYTHONPATH=str(ROOT)))


COLUMNS_TOO_NARROW = """
import numpy as np
from im2col_cython import _im2col

windows = {"height": 2, "width": 2, "stride": 1, "pad": 0, "rows": 2, "columns": 2}
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
kernels.WINOGRAD_FROM = 10**9
x, w, b, out = convolution(N=1, C=2, F=2, size=16)
out = np.lib.stride_tricks.as_strided(np.empty(out.size - 1), out.shape, out.strides)
kernels.conv_forward(x, w, b, 1, 1, out)
"""
WORKSPACE_TOO_SMALL = """
vectors, width = map(int, sys.argv[1:])
with_vectors(vectors)
kernels.WINOGRAD_FROM = 1
x, w, b, dout = convolution(N=1, C=2, F=2, size=17)
granted.value, shortage.value = 5, 3 * width  # the sixth allocation: the transformed upstream gradient
kernels.conv_backward(dout, x, w, 1, 1, None)
"""
EVERY_ALLOCATION_REFUSED = """
vectors, kernels.WINOGRAD_FROM = map(int, sys.argv[1:])
with_vectors(vectors)
x, w, b, dout = convolution(N=2, C=2, F=3, size=5)
out, dx = np.zeros_like(dout), np.zeros_like(x)

def forward():
    kernels.conv_forward(x, w, b, 1, 1, out)
    return [out.copy()]

def backward():
    return [*kernels.conv_backward(dout, x, w, 1, 1, dx), dx.copy()]

def pool():
    maxima, argmax = np.empty((2, 2, 3, 3)), np.empty((2, 2, 3, 3), np.intp)
    kernels.max_pool_forward(x, 3, 3, 1, maxima, argmax)
    return maxima, argmax

def refused(function):
    expected, refusals = function(), 0
    while True:
        granted.value = refusals
        try:
            results = function()
        except MemoryError as error:
            assert str(error).startswith("too little memory for the workspace of a ")
            assert held.value == 0  # what was granted is given back
            refusals += 1
            continue
        assert granted.value == held.value == 0
        granted.value = -1
        for result, value in zip(results, expected, strict=True):
            assert (result == value).all()
        return refusals

print(refused(forward), refused(backward), refused(pool))
"""
DENORMAL_LANES = """
denormal = ctypes.c_long.in_dll(library, "denormal")
limits = [ctypes.c_long.in_dll(library, name) for name in ("band_bytes", "winograd_bytes")]
usual = [limit.value for limit in limits]
kernels.WINOGRAD_FROM = int(sys.argv[1])
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
kernels.WINOGRAD_FROM = int(sys.argv[1])
x, w, b, out = convolution(N=64, C=8, F=8, size=32)
kernels.conv_forward(x, w, b, 1, 1, out)
kernels.conv_backward(out, x, w, 1, 1, np.empty_like(x))
print(most_held.value / x.nbytes)
"""


def test_the_checked_build_does_report_an_index_out_of_bounds(run_checked):
    process = run_checked("-c", COLUMNS_TOO_NARROW)
    assert "Exception ignored in: 'im2col_cython.image_to_columns'" in process.stderr
    assert "IndexError: Out of bounds on buffer access (axis 1)" in process.stderr


@pytest.mark.parametrize("place, size", [(3, 3), (-1, 3), (100_000, 100_000)])
def test_the_sanitizer_does_see_a_write_beside_an_array(run_sanitized, place, size):
    process = run_sanitized("-c", PLACE_BESIDE_THE_PLANE, place, size)
    assert process.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in process.stderr
    assert "_max_pool_backward" in process.stderr


every_algorithm = pytest.mark.parametrize("winograd_from", [10**9, 1], ids=["direct", "Winograd"])
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
def test_the_sanitizer_does_see_vectors_beside_an_array(run_sanitized, vectors, program, function):
    """Code that is compiled for other processors than the common one is watched, too."""
    width = 16 << vectors
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + program, vectors, width)
    skip_without(vectors, process)
    assert process.returncode != 0
    assert "ERROR: AddressSanitizer: " in process.stderr
    assert f"WRITE of size {width} " in process.stderr
    assert function in process.stderr


@all_vectors
@every_algorithm
def test_every_allocation_that_is_refused_is_a_memory_error(run_sanitized, vectors, winograd_from):
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + EVERY_ALLOCATION_REFUSED, vectors, winograd_from)
    skip_without(vectors, process)
    assert_succeeded(process)
    forward, backward, pool = map(int, process.stdout.split())
    assert 3 < forward < backward
    assert pool > 3


on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the flag is one of x86 processors")


@on_x86
@every_algorithm
def test_no_kernel_computes_on_what_memory_held_before(run_sanitized, winograd_from):
    """It might be denormal numbers, which take a processor many times as long."""
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + DENORMAL_LANES, winograd_from)
    assert_succeeded(process)
    assert int(process.stdout) > 200


@on_x86
def test_the_flag_does_tell_of_a_computation_on_a_denormal_number(run_sanitized):
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + ONE_DENORMAL)
    assert_succeeded(process)
    assert process.stdout == "1\n"


@every_algorithm
def test_a_minibatch_needs_little_workspace_of_the_direct_kernels(run_sanitized, winograd_from):
    process = run_sanitized("-c", WITH_SCARCE_MEMORY + WORKSPACE_OF_A_MINIBATCH, winograd_from)
    assert_succeeded(process)
    part_of_images = float(process.stdout)  # their columns would take nine times as much as they do
    assert 0.01 < part_of_images < 0.5


def copy_package(folder):
    """What setup.py needs, and what it compiles: a copy in which nothing was built."""
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
    """A copy of the package, and how its build went where there is no compiler."""
    folder = copy_package(tmp_path_factory.mktemp("without") / "compiler")
    missing = str(folder / "no-such-compiler")
    process = run(folder, "setup.py", "build_ext", "--inplace", CC=missing)
    assert f"{missing} " in process.stdout, "another compiler was asked"
    return folder, process


def assert_banners(process, reasons):
    """The build went well, and said on stderr between lines of stars what is missing and what to do."""
    assert_succeeded(process)
    banners = process.stderr.split("*" * 78)[1::2]
    assert len(banners) == len(reasons)
    for banner, reason in zip(sorted(banners), sorted(reasons), strict=True):
        assert f"could not be built: {reason}" in banner
        assert "times as long" in banner
        assert REMEDY in banner


@not_on_windows
def test_without_a_compiler_the_build_succeeds_and_says_loudly_what_is_missing(without_compiler):
    folder, process = without_compiler
    assert_banners(process, [f"cs231n.kernels.{name}: CompileError: " for name in EXTENSIONS])
    assert "no-such-compiler" in process.stderr
    assert not list(folder.rglob("*.so"))


@not_on_windows
def test_without_compiled_kernels_the_fast_layers_use_numpy_and_say_so_once(without_compiler):
    folder, _ = without_compiler
    process = run_copy(folder, FIRST_USE + "assert used() == used() == 'numpy_kernels'\n")
    assert_succeeded(process)
    assert process.stdout.count("The fast layers use NumPy") == process.stdout.count(REMEDY) == 1
    assert "ModuleNotFoundError: No module named 'cs231n.kernels.direct_cython'" in process.stdout


def test_without_cython_the_build_succeeds_and_says_loudly_what_is_missing(tmp_path):
    folder = copy_package(tmp_path / "copy")
    (tmp_path / "Cython").mkdir()
    (tmp_path / "Cython" / "__init__.py").write_text("raise ImportError('Cython is not here')")
    process = run(folder, "setup.py", "build_ext", "--inplace", PYTHONPATH=str(tmp_path))
    assert_banners(process, ["all: ImportError: Cython is not here"])
    assert not list(folder.glob("cs231n/kernels/*.c"))


@not_on_windows
def test_a_compiler_without_vector_types_builds_all_but_the_direct_kernels(tmp_path):
    folder = copy_package(tmp_path / "copy")
    header = folder / KERNELS / "c" / "convolution.h"
    header.write_text("#undef __GNUC__\n" + header.read_text(encoding="utf-8"), encoding="utf-8")
    compiler = tmp_path / "compiler"  # this one, which does not take its time
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
def test_nothing_in_the_build_ties_the_kernels_to_this_processor_or_to_openmp(without_compiler, name):
    _, process = without_compiler
    (command,) = (line for line in process.stdout.splitlines() if f"{name}.c " in line)
    ours = command.split(" -o ")[1]  # before it stands what Python itself was built with
    for option in ("-march", "-mtune", "openmp", "fast-math"):
        assert option not in ours


@pytest.mark.skipif(shutil.which("ldd") is None, reason="there is no ldd here")
@every_module
def test_the_compiled_kernels_need_no_library_of_openmp(builds, module):
    built = compiled_file(builds["checked"][module], module)
    listed = subprocess.run(["ldd", built], capture_output=True, text=True, check=True).stdout
    assert "libc." in listed
    assert "omp" not in listed


@pytest.mark.skipif(platform.machine() != "x86_64", reason="there is one set of vectors here")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="there is no objdump here")
def test_instructions_that_not_every_processor_has_are_in_the_code_that_is_named_after_them(builds):
    built = compiled_file(builds["checked"]["direct_cython"], "direct_cython")
    command = ["objdump", "--disassemble", "--no-show-raw-insn", built]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    instructions = {}
    for code in re.split(r"(?m)^[0-9a-f]+ <", listing)[1:]:
        name, body = code.split(">:", 1)
        instructions[name] = body
    avx = {name for name, body in instructions.items() if re.search(r":\tv\w+ ", body)}
    avx512 = {name for name in avx if "%zmm" in instructions[name]}
    assert len(avx512) > 10 and len(avx - avx512) > 10
    assert all("_avx512" in name for name in avx512)
    assert all("_avx2" in name or "_avx512" in name for name in avx)


LATER = """
import os, shutil

def build(name):
    shutil.copy(BUILT[name], PLACE[name])

def build_anew(name):
    times = os.stat(PLACE[name])
    os.remove(PLACE[name])
    build(name)
    os.utime(PLACE[name], ns=(times.st_atime_ns, times.st_mtime_ns + 1000))

assert used() == "numpy_kernels"
"""


def run_later(folder, builds, code):
    """Run code after a first use that found nothing: build(module) puts compiled kernels in their place."""
    built = {module: str(compiled_file(path, module)) for module, path in builds["checked"].items()}
    place = {module: str(folder / KERNELS / Path(path).name) for module, path in built.items()}
    names = f"BUILT = {built!r}\nPLACE = {place!r}\n"
    process = run_copy(copy_package(folder), FIRST_USE + names + LATER + code)
    assert_succeeded(process)
    return process.stdout


def test_kernels_that_were_built_later_are_picked_up_without_a_restart(tmp_path, builds):
    told = run_later(
        tmp_path / "copy",
        builds,
        """
folder = os.path.dirname(PLACE["im2col_cython"])
times = os.stat(folder)
build("im2col_cython")
os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))  # a clock too coarse for the change to show
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
    first, second, *_ = told.split("The fast layers use ")[1:]
    assert first.startswith(f"{WITH_NUMPY} The compiled direct kernels")
    assert second.startswith(f"{WITH_IM2COL} The compiled direct kernels")
    for missing in (first, second):
        assert "ModuleNotFoundError: No module named 'cs231n.kernels.direct_cython'" in missing
        assert REMEDY in missing
    assert told.splitlines()[-4:] == [
        "The fast layers use the compiled kernels.",
        "The fast layers use NumPy, as asked.",
        "The fast layers use compiled im2col, as asked.",
        "The fast layers use the compiled kernels.",
    ]


def test_kernels_that_were_asked_for_and_are_missing_are_named(tmp_path, builds):
    told = run_later(
        tmp_path / "copy",
        builds,
        """
load_kernels("im2col")
assert used() == "numpy_kernels"
""",
    )
    _, asked = told.split("The fast layers use ")[1:]
    assert asked.startswith(f"{WITH_NUMPY} The compiled im2col kernels")
    assert "ModuleNotFoundError: No module named 'cs231n.kernels.im2col_cython'" in asked


@not_on_windows
@every_module
def test_kernels_that_were_built_anew_ask_for_a_restart(tmp_path, builds, module):
    told = run_later(
        tmp_path / "copy",
        builds,
        f"""
build("im2col_cython")
build("direct_cython")
load_kernels("im2col")
load_kernels()
build_anew({module!r})
for _ in range(2):
    try:
        load_kernels({"direct" if module == "direct_cython" else "im2col"!r})
    except RuntimeError as error:
        print(error)
assert used() == "direct_cython"  # the old ones, which still work
""",
    )
    asked = f"cs231n.kernels.{module} was built anew after this process had loaded it: restart Python"
    assert told.count(asked) == 2


@not_on_windows
def test_kernels_whose_file_was_removed_stay_in_use(tmp_path, builds):
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


def test_a_file_that_cannot_be_loaded_leaves_the_next_kernels_in_use_until_it_is_replaced(tmp_path, builds):
    told = run_later(
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
    missing, *unreadable, found = told.split("The fast layers use ")[1:]
    assert "ModuleNotFoundError" in missing
    beginnings = ("NumPy", "compiled im2col", "compiled im2col")
    reasons = ("ModuleNotFoundError: ", "ModuleNotFoundError: ", "ImportError: ")
    for told_then, beginning, reason in zip(unreadable, beginnings, reasons, strict=True):
        assert told_then.startswith(beginning) and reason in told_then and REMEDY in told_then
    assert found == "the compiled kernels.\n"


def test_direct_kernels_are_used_once_what_they_need_was_built_too(tmp_path, builds):
    told = run_later(
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
    _, needed, found = told.split("The fast layers use ")[1:]
    assert needed.startswith("NumPy") and "No module named 'cs231n.kernels.im2col_cython'" in needed
    assert found == "the compiled kernels.\n"


@pytest.fixture
def nothing_in_use(monkeypatch):
    """As in a process that has not used the fast layers yet."""
    monkeypatch.setattr(kernels, "_in_use", {"kernels": None})


def test_the_first_use_says_which_kernels_are_used_and_the_second_is_silent(nothing_in_use, capsys):
    first = kernels_for(np.dtype(np.float32))
    told = capsys.readouterr().out
    assert told.startswith("The fast layers use ")
    assert ("NumPy" in told) == (first is numpy_kernels)
    assert kernels_for(np.dtype(np.float64)) is first
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["", "numpy", "Direct", "cs231n.kernels.direct_cython", None, True])
def test_unknown_kernels_are_refused_and_those_in_use_stay(nothing_in_use, capsys, name):
    load_kernels("NumPy")
    with pytest.raises(ValueError) as raised:
        load_kernels(name)
    assert str(raised.value) == f"name must be one of 'direct', 'im2col', 'NumPy'; got {name!r}"
    assert kernels_for(np.dtype(np.float32)) is numpy_kernels
    assert capsys.readouterr().out == "The fast layers use NumPy, as asked.\n"


def test_numpy_is_used_where_it_is_asked_for(nothing_in_use, capsys):
    load_kernels("NumPy")
    assert capsys.readouterr().out == "The fast layers use NumPy, as asked.\n"
    assert {kernels_for(np.dtype(dtype)) for dtype in DTYPES} == {numpy_kernels}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "dtype", [np.dtype("f2"), np.dtype("f4").newbyteorder(), np.dtype("f8").newbyteorder()]
)
def test_other_dtypes_than_float32_and_float64_always_get_numpy(nothing_in_use, dtype):
    load_kernels()
    assert kernels_for(dtype) is numpy_kernels
