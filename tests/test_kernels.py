"""The compiled kernels: what they touch in memory, how they are built, and how they are found or missed."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import DTYPES

import cs231n
from cs231n import im2col, kernels
from cs231n.kernels import COMPILED, kernels_for, load_kernels

pytestmark = pytest.mark.q4

ROOT = Path(cs231n.__file__).parents[1]
GRID = Path(__file__).with_name("kernel_grid.py")
REMEDY = "python setup.py build_ext --inplace"
COMPILER = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cl").split()

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
FIRST_USE = """
import numpy as np
from cs231n.fast_layers import conv_backward_fast, conv_forward_fast
from cs231n.kernels import kernels_for, load_kernels
from cs231n.layers import conv_forward_naive

x, w, b = np.random.rand(2, 3, 4, 5), np.random.rand(2, 3, 3, 3), np.random.rand(2)
conv_param = {"stride": 1, "pad": 1}

def compute():
    out, cache = conv_forward_fast(x, w, b, conv_param)
    conv_backward_fast(out, cache)
    np.testing.assert_allclose(out, conv_forward_naive(x, w, b, conv_param)[0], rtol=1e-12)
    return kernels_for(x.dtype).__name__

assert compute() == "cs231n.im2col"
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
        timeout=100,
    )


def run_copy(folder, code):
    """What this code did with a copy of the package; -S, as ours, where installed, would fill in for it."""
    paths = os.pathsep.join([str(folder), *sys.path])
    return run(folder, "-S", "-W", "error", "-c", code, PYTHONPATH=paths)


def assert_succeeded(process):
    assert process.returncode == 0, process.stdout + process.stderr


def compiled_file(folder):
    (path,) = folder.glob("im2col_cython*" + sysconfig.get_config_var("EXT_SUFFIX"))
    return path


def sanitizer():
    """The sanitizer's library, which has to be in the process before Python; None where there is none."""
    if sys.platform != "linux":
        return None
    asked = [*COMPILER, "-print-file-name=libasan.so"]
    path = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    return path if path.is_absolute() and path.read_bytes()[:4] == b"\x7fELF" else None


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Folders in which im2col_cython is compiled for itself: with bounds checks, and with the sanitizer."""
    if shutil.which(COMPILER[0]) is None:
        pytest.skip(f"there is no C compiler {COMPILER[0]} here")
    source = (ROOT / "cs231n" / "im2col_cython.pyx").read_text(encoding="utf-8")
    header, rest = source.split("\n", 1)
    # directives in the file prevail over those given to Cython, so they are changed there
    checking = header.replace("boundscheck=False", "boundscheck=True")
    checking = checking.replace("initializedcheck=False", "initializedcheck=True")
    assert checking.count("=True") == header.count("=True") + 2
    wanted = {"checked": (f"{checking}\n{rest}", [] if sys.platform == "win32" else ["-O0"])}
    if sanitizer():
        wanted["sanitized"] = (source, ["-O0", "-g1", "-fsanitize=address"])

    folders, compiling = {}, []
    for name, (text, options) in wanted.items():
        folders[name] = tmp_path_factory.mktemp(name)
        (folders[name] / "im2col_cython.pyx").write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", BUILD, "im2col_cython", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        compiling.append(subprocess.Popen(command, cwd=folders[name], env=environment(), **pipes))
    outputs = [process.communicate(timeout=200)[0] for process in compiling]
    for process, output in zip(compiling, outputs, strict=True):
        assert process.returncode == 0, output
    return folders


@pytest.fixture
def run_checked(builds):
    """Run Python with the kernels that check every index; new memory holds 7f7f..., not zeros."""
    paths = os.pathsep.join(map(str, (builds["checked"], ROOT)))
    return lambda *arguments: run(ROOT, *arguments, PYTHONPATH=paths, MALLOC_PERTURB_="128")


@pytest.fixture
def run_sanitized(builds):
    """Run Python with the kernels that watch their memory; new memory holds NaN."""
    if "sanitized" not in builds:
        pytest.skip(f"{COMPILER[0]} has no AddressSanitizer that could be loaded into Python")
    options = {
        "LD_PRELOAD": str(sanitizer()),
        "ASAN_OPTIONS": "detect_leaks=0:malloc_fill_byte=255:max_malloc_fill_size=1000000",
        "PYTHONPATH": os.pathsep.join(map(str, (builds["sanitized"], ROOT))),
    }
    return lambda *arguments: run(ROOT, *arguments, **options)


def assert_grid_passed(process):
    assert_succeeded(process)
    assert process.stderr == ""
    assert int(process.stdout.removesuffix("geometries\n")) > 1000


def test_every_index_of_every_kernel_is_within_bounds(run_checked):
    assert_grid_passed(run_checked("-W", "error", GRID, "im2col_cython", 256))


def test_no_kernel_touches_memory_beside_its_arrays(run_sanitized):
    assert_grid_passed(run_sanitized("-W", "error", GRID, "im2col_cython", 0))


@pytest.mark.skipif(find_spec(COMPILED) is None, reason="the kernels were not built here")
def test_the_kernels_that_were_built_here_pass_the_same_grid():
    assert_grid_passed(run(ROOT, "-W", "error", GRID, COMPILED, 256, PYTHONPATH=str(ROOT)))


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


def copy_package(folder):
    """What setup.py needs, and what it compiles: a copy in which nothing was built."""
    (folder / "cs231n").mkdir(parents=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for path in (ROOT / "cs231n").glob("*.py*"):
        if path.suffix in (".py", ".pyx"):
            shutil.copy(path, folder / "cs231n")
    return folder


@pytest.fixture(scope="module")
def without_compiler(tmp_path_factory):
    """A copy of the package, and how its build went where there is no compiler."""
    folder = copy_package(tmp_path_factory.mktemp("without") / "compiler")
    missing = str(folder / "no-such-compiler")
    process = run(folder, "setup.py", "build_ext", "--inplace", CC=missing)
    assert f"{missing} " in process.stdout, "another compiler was asked"
    return folder, process


def assert_banner(process, reason):
    """The build went well, and said on stderr between lines of stars what is missing and what to do."""
    assert_succeeded(process)
    _, banner, _ = process.stderr.split("*" * 78)
    assert f"could not be built: {reason}" in banner
    assert "two to three times as long" in banner
    assert REMEDY in banner


@not_on_windows
def test_without_a_compiler_the_build_succeeds_and_says_loudly_what_is_missing(without_compiler):
    folder, process = without_compiler
    assert_banner(process, "CompileError: ")
    assert "no-such-compiler" in process.stderr
    assert not list(folder.rglob("*.so"))


@not_on_windows
def test_without_compiled_kernels_the_fast_layers_use_numpy_and_say_so_once(without_compiler):
    folder, _ = without_compiler
    process = run_copy(folder, FIRST_USE + "compute()\n")
    assert_succeeded(process)
    assert process.stdout.count("The fast layers use NumPy") == process.stdout.count(REMEDY) == 1
    assert "ModuleNotFoundError: No module named 'cs231n.im2col_cython'" in process.stdout


def test_without_cython_the_build_succeeds_and_says_loudly_what_is_missing(tmp_path):
    folder = copy_package(tmp_path / "copy")
    (tmp_path / "Cython").mkdir()
    (tmp_path / "Cython" / "__init__.py").write_text("raise ImportError('Cython is not here')")
    process = run(folder, "setup.py", "build_ext", "--inplace", PYTHONPATH=str(tmp_path))
    assert_banner(process, "ImportError: Cython is not here")
    assert not list(folder.glob("cs231n/*.c"))


@not_on_windows
def test_nothing_in_the_build_ties_the_kernels_to_this_processor_or_to_openmp(without_compiler):
    _, process = without_compiler
    (command,) = (line for line in process.stdout.splitlines() if "im2col_cython.c " in line)
    ours = command.split(" -o ")[1]  # before it stands what Python itself was built with
    for option in ("-march", "-mtune", "openmp", "fast-math"):
        assert option not in ours


@pytest.mark.skipif(find_spec(COMPILED) is None, reason="the kernels were not built here")
@pytest.mark.skipif(shutil.which("ldd") is None, reason="there is no ldd here")
def test_the_compiled_kernels_need_no_library_of_openmp():
    listed = subprocess.run(
        ["ldd", find_spec(COMPILED).origin], capture_output=True, text=True, check=True
    ).stdout
    assert "libc." in listed
    assert "omp" not in listed


def run_later(folder, builds, code):
    """Run code after a first use that found nothing: BUILT has compiled kernels, TARGET is their place."""
    built = compiled_file(builds["checked"])
    names = f"BUILT, TARGET = {str(built)!r}, {str(folder / 'cs231n' / built.name)!r}\n"
    process = run_copy(copy_package(folder), FIRST_USE + "import os, shutil\n" + names + code)
    assert_succeeded(process)
    return process.stdout


def test_kernels_that_were_built_later_are_picked_up_without_a_restart(tmp_path, builds):
    told = run_later(
        tmp_path / "copy",
        builds,
        """
folder = os.path.dirname(TARGET)
times = os.stat(folder)
shutil.copy(BUILT, TARGET)
os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))  # a clock too coarse for the change to show
assert compute() == "cs231n.im2col"
load_kernels()
assert compute() == "cs231n.im2col_cython"
load_kernels(compiled=False)
assert compute() == "cs231n.im2col"
load_kernels()
assert compute() == "cs231n.im2col_cython"
""",
    )
    assert told.splitlines()[-3:] == [
        "The fast layers use the compiled kernels.",
        "The fast layers use NumPy, as asked.",
        "The fast layers use the compiled kernels.",
    ]


@not_on_windows
def test_kernels_that_were_built_anew_ask_for_a_restart(tmp_path, builds):
    told = run_later(
        tmp_path / "copy",
        builds,
        """
shutil.copy(BUILT, TARGET)
load_kernels()
times = os.stat(TARGET)
os.remove(TARGET)
shutil.copy(BUILT, TARGET)
os.utime(TARGET, ns=(times.st_atime_ns, times.st_mtime_ns + 1000))
for _ in range(2):
    try:
        load_kernels()
    except RuntimeError as error:
        print(error)
assert compute() == "cs231n.im2col_cython"  # the old ones, which still work
""",
    )
    asked = "cs231n.im2col_cython was built anew after this process had loaded it: restart Python"
    assert told.count(asked) == 2


@not_on_windows
def test_kernels_whose_file_was_removed_stay_in_use(tmp_path, builds):
    run_later(
        tmp_path / "copy",
        builds,
        """
shutil.copy(BUILT, TARGET)
load_kernels()
os.remove(TARGET)
load_kernels()
assert compute() == "cs231n.im2col_cython"
""",
    )


def test_a_file_that_cannot_be_loaded_leaves_numpy_in_use_until_it_is_replaced(tmp_path, builds):
    told = run_later(
        tmp_path / "copy",
        builds,
        """
with open(TARGET, "wb") as file:
    file.write(bytes(range(256)) * 40)
load_kernels()
assert compute() == "cs231n.im2col"
os.remove(TARGET)
shutil.copy(BUILT, TARGET)
load_kernels()
assert compute() == "cs231n.im2col_cython"
""",
    )
    missing, unreadable, found = told.split("The fast layers use ")[1:]
    assert "ModuleNotFoundError" in missing
    assert unreadable.startswith("NumPy") and "ImportError: " in unreadable and REMEDY in unreadable
    assert found == "the compiled kernels.\n"


@pytest.fixture
def nothing_in_use(monkeypatch):
    """As in a process that has not used the fast layers yet."""
    monkeypatch.setattr(kernels, "_in_use", {"kernels": None, "built": None})


def test_the_first_use_says_which_kernels_are_used_and_the_second_is_silent(nothing_in_use, capsys):
    first = kernels_for(np.dtype(np.float32))
    told = capsys.readouterr().out
    assert told.startswith("The fast layers use ")
    assert ("the compiled kernels" in told) == (first is not im2col)
    assert kernels_for(np.dtype(np.float64)) is first
    assert capsys.readouterr().out == ""


def test_numpy_is_used_where_it_is_asked_for(nothing_in_use, capsys):
    load_kernels(compiled=False)
    assert capsys.readouterr().out == "The fast layers use NumPy, as asked.\n"
    assert {kernels_for(np.dtype(dtype)) for dtype in DTYPES} == {im2col}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "dtype", [np.dtype("f2"), np.dtype("f4").newbyteorder(), np.dtype("f8").newbyteorder()]
)
def test_other_dtypes_than_float32_and_float64_always_get_numpy(nothing_in_use, dtype):
    load_kernels()
    assert kernels_for(dtype) is im2col
