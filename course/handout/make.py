"""Make the learners' version of this repository: a folder, and the same as a zip beside it.

    python -m course.handout FOLDER

Everything comes from the finished repository, so that nothing is written twice: exercises are blanked, the
solution's helpers, the outputs of the notebooks and all that is for instructors are left out. Before anything
is written, every text is searched for what is left of a solution.
"""

import re
from pathlib import Path

from course.handout.blanking import hand_out, remove_definitions
from course.handout.search import find_solutions
from course.rubric import EXERCISES, NOTEBOOKS
from course.submission.archive import write_files

ROOT = Path(__file__).resolve().parents[2]
README = Path(__file__).with_name("learners_readme.md")

# What learners are given. Each of these has to match something.
COPIED = (
    "cs231n/**/*.py",
    "cs231n/**/*.pyx",
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
    ".gitignore",
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

# Exercises that are written out once more, in place or in C: the update rules.
LEFT_OUT = (
    "cs231n/fast_optim.py",
    "cs231n/kernels/optim_cython.pyx",
    "cs231n/kernels/c/optim.h",
    "cs231n/kernels/c/adam.h",
)

# Tests, and what only they use, that write an exercise out in NumPy to compare with; the others test the same
# against PyTorch, numeric gradients and values on paper. And of the trainer what needs several processes.
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
        "train_in_group",
        "plain_net",
        "convnet_with_fixed_statistics",
        "test_two_processes_take_the_steps_of_one_with_the_joined_minibatch",
    ),
}

INSTRUCTORS_TARGETS = ("bench",)  # of the Makefile
INSTRUCTORS_WORDS = re.compile(r"grading|benchmark", re.IGNORECASE)


def make_handout(folder, root=ROOT):
    """Write the learners' version of the repository `root` to a folder and to a zip, whose path is returned.

    The folder must be new or empty, and the zip new. Equal repositories give equal zips.
    """
    folder = Path(folder).resolve()
    archive = folder.with_name(f"{folder.name}.zip")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"FOLDER must be new or empty; {folder} is neither: remove it or name another")
    if archive.exists():
        raise ValueError(f"FOLDER.zip is written too and must not exist yet; remove {archive}")
    files = collect(root)
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
        target.chmod(0o755 if _is_program(path) else 0o644)
    contents = {f"{folder.name}/{path}": text.encode() for path, text in files.items()}
    write_files(archive, contents, programs=[name for name in contents if _is_program(name)])
    return archive


def _is_program(path):
    return path.endswith(".sh")


def collect(root=ROOT):
    """The handout as {path: text}, sorted; ValueError if there is anything of a solution in it."""
    originals = read_all(root)
    files = hand_out(originals)
    for path, names in WITHHELD.items():
        files[path] = remove_definitions(files[path], names)
    files["pyproject.toml"] = learners_pyproject(files["pyproject.toml"])
    files["Makefile"] = learners_makefile(files["Makefile"])
    files["README.md"] = learners_readme(README.read_text(encoding="utf-8"))
    leaks = find_solutions(files, originals)
    if leaks:
        raise ValueError("a handout must hold no solution; these lines are of one:\n" + "\n".join(leaks))
    return dict(sorted(files.items()))


def read_all(root):
    """The texts, by path, of all that is copied."""
    texts = {}
    for pattern in COPIED:
        found = sorted(path for path in Path(root).glob(pattern) if path.is_file())
        if not found:
            raise ValueError(f"COPIED must name files of {root}; nothing there matches {pattern}")
        for path in found:
            texts[path.relative_to(root).as_posix()] = path.read_bytes().decode("utf-8")
    for path in LEFT_OUT:
        del texts[path]
    return texts


def learners_pyproject(text):
    """Our pyproject.toml without the grader's requirements; imports may wait for what is to be written."""
    text = _replace(text, r"^(?:#.*\n)*grading = \[\n(?: .*\n)*\]\n", "", "pyproject.toml")
    text = _replace(text, r'^test = \["cs231n\[grading\]"', 'test = ["cs231n[submission]"', "pyproject.toml")
    modules = dict.fromkeys(exercise.file for exercise in EXERCISES if not exercise.in_notebook)
    waiting = "".join(f'"{path}" = ["F401"]\n' for path in (*modules, "tests/*"))
    text = _replace(text, r'^("\*\.ipynb" = .*\n)', rf"\1{waiting}", "pyproject.toml")
    return _without_instructors(text, "pyproject.toml")


def learners_makefile(text):
    """Our Makefile without the targets that are for instructors."""
    for target in INSTRUCTORS_TARGETS:
        text = _replace(text, rf"^# make {target} .*\n", "", "Makefile")
        text = _replace(text, rf"^(\.PHONY:.*) {target}\b", r"\1", "Makefile")
        text = _replace(text, rf"^{target}:.*\n(?:\t.*\n)+\n", "", "Makefile")
    return _without_instructors(text, "Makefile")


def learners_readme(template):
    """The learners' README, with the table of the exercises as the rubric has them."""
    rows = [f"| Q{exercise.question} | {_task(exercise)} | {exercise.points} |" for exercise in EXERCISES]
    total = sum(exercise.points for exercise in EXERCISES)
    table = ["| question | what to write | points |", "|---|---|---|", *rows, f"| | all | {total} |"]
    return _replace(template, "^EXERCISES$", "\n".join(table), README.name)


def _task(exercise):
    """What to write and where; some exercises are about one part of a function: "loss, normalized"."""
    names = " and ".join(f"`{name}`" for name in exercise.names) or exercise.title
    _, comma, part = exercise.id.partition(", ")
    return f"{names}{comma}{part} in `{exercise.file}`"


def _replace(text, pattern, replacement, name):
    """Replace what has to be there exactly once, so that a file that has changed since is noticed."""
    changed, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(
            f"{name} must match {pattern!r} once for the handout to be made of it, and does {count} "
            "times: bring grading/handout.py up to date with it"
        )
    return changed


def _without_instructors(text, name):
    found = [line for line in text.splitlines() if INSTRUCTORS_WORDS.search(line)]
    if found:
        raise ValueError(
            f"{name} must not name to learners what they are not given, and has {found[0]!r}: have "
            "grading/handout.py take it out"
        )
    return text
