"""Make the learners' version of this repository: a folder, and the same as a zip beside it.

    python -m grading.handout FOLDER

Everything comes from the finished repository, so that nothing is written twice: exercises are blanked, the
solution's helpers, the outputs of the notebooks and all that is for instructors are left out. Before anything
is written, every text is searched for what is left of a solution.
"""

import argparse
import ast
import re
import sys
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import nbformat

from grading.blanking import find_definition, hand_out, remove_definitions
from submission.archive import write_files
from submission.rubric import EXERCISES, NOTEBOOKS
from submission.source import FUNCTION, cells_of, find_function, python_of, tags_of

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = Path(__file__).resolve().parent / "templates"

# What learners are given. Each of these has to match something.
COPIED = (
    "cs231n/**/*.py",
    "cs231n/**/*.pyx",
    "submission/*.py",
    "submission/*.css",
    "submission/*.typ",
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

# Tests, and what only they use, that write an exercise out in NumPy to compare with; the others test the same
# against PyTorch, numeric gradients and values on paper. And of the trainer what needs several processes.
WITHHELD = {
    "tests/test_fc_net.py": (
        "test_weights_are_drawn_in_order_from_the_global_generator",
        "test_two_layer_net_draws_its_weights_in_order_from_the_global_generator",
    ),
    "tests/test_optim.py": (
        "plain_sgd",
        "plain_sgd_momentum",
        "plain_rmsprop",
        "plain_adam",
        "PLAIN",
        "test_rule_agrees_with_its_formula",
    ),
    "tests/test_normalization.py": (
        "test_hidden_layer_normalizes_between_affine_and_relu",
        "test_hidden_layer_without_normalization_has_no_gradients_for_gamma_and_beta",
    ),
    "tests/test_dropout.py": (
        "test_the_mask_of_a_seed_is_that_of_random_state",
        "test_hidden_layer_drops_after_relu",
    ),
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
DISTINCTIVE = 40  # characters, from which on a single statement tells whose it is


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
    files["README.md"] = learners_readme((TEMPLATES / "README.md").read_text(encoding="utf-8"))
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
    return _replace(template, "^EXERCISES$", "\n".join(table), "templates/README.md")


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


def find_solutions(files, originals):
    """Where the files have something of a solution: lines of path, exercise and what was found.

    Looked for are any two statements of a solution that follow each other, any single one of `DISTINCTIVE`
    characters, and any such sentence of an answer; layout, comments and quotes do not matter. Allowed is only
    what the code that learners are given has in common with a solution: see `_given`.
    """
    given = "\n".join(_without_comments(text) for text in _given(originals))
    haystacks = {path: _squeezed_twice(path, text) for path, text in files.items()}
    leaks = {}
    for exercise in EXERCISES:
        for piece in _pieces(exercise, originals[exercise.file]):
            if piece not in given:
                found = [path for path, text in haystacks.items() if piece in text]
                leaks |= dict.fromkeys(f"{path}: {exercise.id}: {piece}" for path in found)
    return list(leaks)


def _given(originals):
    """The code that belongs to no exercise: modules and cells without any, and the functions beside them."""
    names = {name for exercise in EXERCISES for name in (*exercise.names, *exercise.helpers)}
    holding = {exercise.file for exercise in EXERCISES}
    for path, text in originals.items():
        if path.endswith(".ipynb"):
            cells = _read(text).cells
            yield from (cell.source for cell in cells if cell.cell_type == "code" and not tags_of(cell))
        elif path in holding:
            functions = [node for node in _parse(text).body if isinstance(node, FUNCTION)]
            yield from (_text_of(text, node) for node in functions if node.name not in names)
        elif path.startswith("cs231n/"):
            yield text


def _squeezed_twice(path, text):
    """The text of a file, squeezed, without its comments, and once more with them, in case they are code."""
    if path.endswith(".ipynb"):
        text = "\n".join(cell.source for cell in _read(text).cells)
    return f"{_without_comments(text)}\n{_squeeze(text.replace('#', ''))}"


def _without_comments(text):
    return _squeeze(re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE))


def _squeeze(text):
    """Text without what a formatter may change: white space, kinds of quotes, trailing commas."""
    text = re.sub(r"[\s`]", "", text).replace("'", '"')
    return re.sub(r",([)\]}])", r"\1", text)


def _pieces(exercise, text):
    """The pieces of an exercise's solution to look for, squeezed."""
    for statements in _solutions(exercise, text):
        for first, second in pairwise(statements):
            yield first + second
        yield from (statement for statement in statements if len(statement) >= DISTINCTIVE)


def _solutions(exercise, text):
    """The statements of each function, helper and cell of a solution, and the sentences of its answers."""
    if not exercise.in_notebook:
        yield from _solutions_in_source(exercise, text)
        return
    for cell in cells_of(_read(text), exercise):
        if cell.cell_type == "markdown":
            yield from ([_squeeze(sentence)] for sentence in re.split(r"(?<=[.:;?])[*\s]+|\n", cell.source))
        elif exercise.names:
            yield from _solutions_in_source(exercise, python_of(cell))
        else:
            source = python_of(cell)
            yield [line for node in ast.parse(source).body for line in _statements(source, node)]


def _solutions_in_source(exercise, source):
    tree = _parse(source)
    for function in filter(None, (find_function(tree, name) for name in exercise.names)):
        yield [line for node in function.body for line in _statements(source, node)]
    for helper in filter(None, (find_definition(tree, name) for name in exercise.helpers)):
        yield list(_statements(source, helper))


def _statements(source, node):
    """A statement, squeezed, without its comments; of one with a body its head, then those of the body."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring, which learners are given
    inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler)]
    yield _without_comments(_text_of(source, node, inner[0] if inner else None))
    for child in inner:
        yield from _statements(source, child)


def _text_of(source, node, before=None):
    """The source code of a syntax tree's node, or of its beginning, `before` a node within it."""
    last, end = (before.lineno, before.col_offset) if before else (node.end_lineno, node.end_col_offset)
    lines = _lines(source)[node.lineno - 1 : last]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][node.col_offset :]
    return b"\n".join(lines).decode()


@lru_cache(maxsize=16)
def _lines(source):
    """The lines as bytes, in which syntax trees count columns."""
    return source.encode().split(b"\n")


@lru_cache(maxsize=16)
def _parse(source):
    return ast.parse(source)


@lru_cache(maxsize=16)
def _read(text):
    return nbformat.reads(text, as_version=4)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m grading.handout", description="Make the learners' version of this repository."
    )
    parser.add_argument("folder", metavar="FOLDER", help="new or empty; FOLDER.zip is written beside it")
    folder = parser.parse_args(arguments).folder
    try:
        archive = make_handout(folder)
    except ValueError as error:
        sys.exit(f"No handout was made: {error}")
    points = sum(exercise.points for exercise in EXERCISES)
    print(f"{len(EXERCISES)} exercises, {points} points: {folder} and {archive.name} beside it")


if __name__ == "__main__":
    main()
