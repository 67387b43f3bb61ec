"""Make the learners' version of this repository: a folder, and the same as a zip beside it.

    python -m course.handout FOLDER

Everything comes from the finished repository, so nothing is written twice. The exercises are blanked; the
solution's helpers, the notebooks' outputs and everything for instructors are left out. Before anything is
written, every text is searched for remains of a solution.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from course.handout.blanking import hand_out, remove_definitions
from course.handout.search import find_solutions
from course.handout.tasks import TEXTS, read_tasks, with_tasks
from course.rubric import EXERCISES, NOTEBOOKS, Exercise
from course.submission.archive import write_files

ROOT = Path(__file__).resolve().parents[2]
README = Path(__file__).with_name("learners_readme.md")

# The files that learners get. Every pattern must match a file.
COPIED = (
    "cs231n/**/*.py",
    "cs231n/**/*.pyx",
    "cs231n/py.typed",
    "cs231n/kernels/c/*.h",
    "course/__init__.py",
    "course/rubric.py",
    "course/submission/*.py",
    "course/submission/*.css",
    "course/submission/*.typ",
    *NOTEBOOKS,
    "collect_submission.sh",
    "run_notebooks.py",
    "setup.py",
    "pyproject.toml",
    "Makefile",
    "LICENSE",
    ".gitattributes",
    ".gitignore",
    "tests/agreement.py",
    "tests/conftest.py",
    "tests/geometry.py",
    "tests/test_layers.py",
    "tests/test_losses.py",
    "tests/test_fc_net.py",
    "tests/test_optim.py",
    "tests/test_normalization.py",
    "tests/test_dropout.py",
    "tests/test_convolution.py",
    "tests/test_spatial_normalization.py",
    "tests/test_cnn.py",
    "tests/test_pytorch_training.py",
)

# Files in which exercises are written out once more: layers and update rules, in place or in C. And the deep
# ConvNet: it is the network of the challenge, and its loss is those of the other networks in other words.
LEFT_OUT = (
    "cs231n/classifiers/deep_cnn.py",
    "cs231n/compiled_layers.py",
    "cs231n/fast_optim.py",
    "cs231n/kernels/norms_cython.pyx",
    "cs231n/kernels/optim_cython.pyx",
    "cs231n/kernels/c/batch_norm.h",
    "cs231n/kernels/c/elementwise.h",
    "cs231n/kernels/c/group_norm.h",
    "cs231n/kernels/c/norm_of_features.h",
    "cs231n/kernels/c/norms.h",
    "cs231n/kernels/c/norms_templates.h",
    "cs231n/kernels/c/optim.h",
    "cs231n/kernels/c/softmax.h",
    "cs231n/kernels/c/sums.h",
    "cs231n/kernels/c/update_rules.h",
)

# Tests that write an exercise out in NumPy to compare with, and their helpers. The other tests check the same
# against PyTorch, numeric gradients and values computed on paper. Also a test of the trainer that needs two
# processes.
WITHHELD = {
    "tests/test_fc_net.py": (
        "test_weights_are_drawn_in_order_from_the_global_generator",
        "test_two_layer_net_draws_its_weights_in_order_from_the_global_generator",
    ),
    "tests/test_normalization.py": ("test_a_chain_runs_its_layers_in_order",),
    "tests/test_dropout.py": ("test_the_mask_of_a_seed_is_that_of_random_state",),
    "tests/test_convolution.py": ("test_convolution_with_stride_1_is_scipys_correlation",),
    "tests/test_spatial_normalization.py": (
        "as_rows",
        "test_spatial_batchnorm_is_batchnorm_with_pixels_for_examples",
        "test_one_group_is_layernorm_over_the_whole_image",
        "test_a_group_for_every_channel_normalizes_each_by_itself",
    ),
    "tests/test_cnn.py": ("test_weights_are_drawn_in_order_from_the_global_generator",),
    "tests/test_pytorch_training.py": (
        "train_a_while",
        "train_in_group",
        "plain_net",
        "convnet_with_fixed_statistics",
        "MODELS",
        "two_processes",
        "test_two_processes_take_the_steps_of_one_with_the_joined_minibatch",
    ),
}

INSTRUCTORS_TARGETS = ("bench",)  # of the Makefile
INSTRUCTORS_TOOLS = ("clang-format", "mypy")  # of `make lint`
INSTRUCTORS_FOLDERS = ("handout/", "grading/")  # of the package `course`
INSTRUCTORS_TABLES = re.compile(r"^\[+tool\.mypy\b", re.MULTILINE)  # of pyproject.toml
INSTRUCTORS_WORDS = re.compile(r"grading|benchmark", re.IGNORECASE)


def make_handout(folder: str | Path, root: Path = ROOT) -> Path:
    """Write the learners' version of the repository `root` to a folder and a zip; return the zip's path.

    The folder must be new or empty, and the zip new. Equal repositories give equal zips.
    """
    folder = Path(folder).resolve()
    archive = folder.with_name(f"{folder.name}.zip")
    _require_new(folder, archive)
    files = collect(root)
    _write_folder(folder, files)
    contents = {f"{folder.name}/{path}": text.encode() for path, text in files.items()}
    write_files(archive, contents, programs=[name for name in contents if _is_program(name)])
    return archive


def _require_new(folder: Path, archive: Path) -> None:
    """Raise ValueError unless the folder is new or empty and the zip is new."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"FOLDER must be new or empty; {folder} is neither: remove it or choose another")
    if archive.exists():
        raise ValueError(
            f"FOLDER.zip must not exist yet, but {archive} does: remove it or choose another FOLDER"
        )


def _write_folder(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
        target.chmod(0o755 if _is_program(path) else 0o644)


def _is_program(path: str) -> bool:
    return path.endswith(".sh")


def collect(root: Path = ROOT) -> dict[str, str]:
    """Return the handout as {path: text}, sorted; raise ValueError if it contains any of a solution."""
    originals = read_all(root)
    files = with_tasks(hand_out(originals), read_tasks(TEXTS.read_text(encoding="utf-8")))
    for path, names in WITHHELD.items():
        files[path] = remove_definitions(files[path], names)
    files["pyproject.toml"] = learners_pyproject(files["pyproject.toml"])
    files["Makefile"] = learners_makefile(files["Makefile"])
    files["README.md"] = learners_readme(README.read_text(encoding="utf-8"))
    leaks = find_solutions(files, originals)
    if leaks:
        lines = "\n".join(leaks)
        raise ValueError(
            "the handout must contain no solution, but these lines (file: exercise: text) come from one. "
            f"Reword them, or leave them out in course/handout/make.py:\n{lines}"
        )
    return dict(sorted(files.items()))


def read_all(root: Path) -> dict[str, str]:
    """Return the text of every file that learners get, by path, before anything is changed in it."""
    texts = {}
    for pattern in COPIED:
        found = sorted(path for path in Path(root).glob(pattern) if path.is_file())
        if not found:
            raise ValueError(
                f"every pattern of COPIED must match a file in {root}; {pattern!r} matches none: "
                "correct it in course/handout/make.py"
            )
        for path in found:
            texts[path.relative_to(root).as_posix()] = path.read_bytes().decode("utf-8")
    for left_out in LEFT_OUT:
        del texts[left_out]
    return texts


def learners_pyproject(text: str) -> str:
    """Return our pyproject.toml without what only the grader needs.

    It lets imports be unused where the code that uses them is still to be written, and code use the layers
    that a star import brings.
    """
    name = "pyproject.toml"
    text = _replace(text, r"^(?:#.*\n)*grading = \[\n(?: .*\n)*\]\n", "", name)
    text = _replace(text, r'^test = \[\n    "cs231n\[grading\]"', 'test = [\n    "cs231n[submission]"', name)
    for tool in INSTRUCTORS_TOOLS:
        text = _replace(text, rf'^    "{tool}[=>].*\n', "", name)
    text = _replace(text, r"^course = \[[^]]*\]\n", _learners_data, name)
    modules = dict.fromkeys(exercise.file for exercise in EXERCISES if not exercise.in_notebook)
    ignored = "".join(f'"{path}" = ["F401", "F405"]\n' for path in (*modules, "tests/*"))
    text = _replace(text, r'^("\*\.ipynb" = .*\n)', rf"\1{ignored}", name)
    text = _without_tables(text)
    return _without_instructors(text, name)


def _learners_data(declaration: re.Match[str]) -> str:
    """Return the list of the files that are installed with `course`, as far as learners get them."""
    patterns = re.findall(r'"([^"]+)"', declaration[0])
    learners = [pattern for pattern in patterns if not pattern.startswith(INSTRUCTORS_FOLDERS)]
    return f"course = {json.dumps(learners)}\n"


def _without_tables(text: str) -> str:
    """Return our pyproject.toml, whose tables stand between blank lines, without the instructors' tables."""
    tables = text.rstrip("\n").split("\n\n")
    return "\n\n".join(table for table in tables if not INSTRUCTORS_TABLES.search(table)) + "\n"


def learners_makefile(text: str) -> str:
    """Return our Makefile without the targets and tools that are for instructors."""
    for target in INSTRUCTORS_TARGETS:
        text = _replace(text, rf"^# make {target} .*\n", "", "Makefile")
        text = _replace(text, rf"^(\.PHONY:.*) {target}\b", r"\1", "Makefile")
        text = _replace(text, rf"^{target}:.*\n(?:\t.*\n)+\n", "", "Makefile")
    for tool in INSTRUCTORS_TOOLS:
        text = _replace(text, rf"^\t\$\(BIN\)/{tool}\b.*\n", "", "Makefile")
    text = _replace(
        text, "check the style and the types of the code", "check the style of the code", "Makefile"
    )
    return _without_instructors(text, "Makefile")


def learners_readme(template: str) -> str:
    """Return the learners' README, with a table of the rubric's exercises."""
    rows = [f"| Q{exercise.question} | {_task(exercise)} | {exercise.points} |" for exercise in EXERCISES]
    total = sum(exercise.points for exercise in EXERCISES)
    table = ["| question | what to write | points |", "|---|---|---|", *rows, f"| | all | {total} |"]
    return _replace(template, "^EXERCISES$", "\n".join(table), README.name)


def _task(exercise: Exercise) -> str:
    """Return what to write and where, as a cell of the table."""
    names = " and ".join(f"`{name}`" for name in exercise.names) or exercise.title
    part = f", {exercise.part}" if exercise.part else ""
    return f"{names}{part} in `{exercise.file}`"


def _replace(text: str, pattern: str, replacement: str | Callable[[re.Match[str]], str], name: str) -> str:
    """Replace the only match of a pattern in our file `name`; raise ValueError if there is not exactly one.

    So a change of that file does not go unnoticed here.
    """
    changed, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(
            f"{name} must match {pattern!r} once, so that the learners' version can be made from it; "
            f"it matches {count} times: update course/handout/make.py"
        )
    return changed


def _without_instructors(text: str, name: str) -> str:
    """Return the learners' text of our file `name`; raise ValueError if it mentions what they do not get."""
    found = [line for line in text.splitlines() if INSTRUCTORS_WORDS.search(line)]
    if found:
        raise ValueError(
            f"{name} must not mention grading or benchmarks to learners, but has the line {found[0]!r}: "
            "have course/handout/make.py remove it"
        )
    return text
