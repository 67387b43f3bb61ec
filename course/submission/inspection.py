"""What a grader would find in a folder: files, cells, answers and exercises that are not as they should be.

Nothing here runs what it reads or writes anything. `collect_submission.sh` tells the learner what is found
before it is too late; the grader uses the same functions.
"""

import ast
import math
import re
import warnings
from dataclasses import dataclass

from course.rubric import EXERCISES, FILES, NOTEBOOKS, UNANSWERED
from course.submission.notebook import UnreadableError, read_bytes, read_notebook
from course.submission.source import cells_of, find_function, is_blank, python_of
from cs231n.passes import Bound, read_passes

REQUIRED, WARNING = "required", "warning"
DONE, NOT_DONE, MISSING = "done", "not done", "missing"
NAMED_CELLS = 3  # cells that a finding names, before it only counts the rest
PLACEHOLDER = UNANSWERED.removeprefix("**Answer.**").strip()
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Finding:
    """Something in a file that a grader would not like; without what is `REQUIRED` it cannot be graded."""

    severity: str
    file: str
    text: str

    def __str__(self):
        return f"{self.file} {self.text}"


@dataclass(frozen=True)
class Inspection:
    """What was found in a folder.

    - findings: a tuple of `Finding`, in the order of the files
    - statuses: by the exercise's id, `DONE`, `NOT_DONE` or `MISSING`
    - notebooks: by their names, those that can be read
    """

    findings: tuple
    statuses: dict
    notebooks: dict

    @property
    def is_complete(self):
        """Whether every file is there and can be read."""
        return not any(finding.severity == REQUIRED for finding in self.findings)


def inspect(folder):
    """Look at all files of a submission."""
    findings, statuses, notebooks = [], {}, {}
    for name in FILES:
        exercises = [exercise for exercise in EXERCISES if exercise.file == name]
        try:
            if name in NOTEBOOKS:
                notebooks[name] = read_notebook(folder, name)
                findings += notebook_findings(notebooks[name], name)
                found = notebook_statuses(notebooks[name], exercises)
            else:
                found = source_statuses(parse(read_bytes(folder, name)), exercises)
        except UnreadableError as error:
            findings.append(Finding(REQUIRED, name, str(error)))
            found = {exercise.id: MISSING for exercise in exercises}
        else:
            findings += [_undone(exercise, found[exercise.id]) for exercise in exercises]
        statuses |= found
    return Inspection(tuple(finding for finding in findings if finding), statuses, notebooks)


def parse(source):
    """The syntax tree of Python source; UnreadableError names the line of a mistake, without quoting it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a "\d" in a learner's string is not worth a word here
            return ast.parse(source)
    except SyntaxError as error:
        place = f"line {error.lineno}: " if error.lineno else ""
        raise UnreadableError(f"is not Python: {place}{_shown(error.msg, 80)}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnreadableError(f"is not Python: {_shown(str(error), 80) or type(error).__name__}") from error


def source_statuses(tree, exercises):
    """The status of exercises, by id, whose functions stand in one syntax tree."""
    return {exercise.id: _status_of_functions(tree, exercise) for exercise in exercises}


def notebook_statuses(notebook, exercises):
    """The status of a notebook's exercises, by id: of answers, functions in any cell, and whole cells."""
    tree = definitions(notebook)
    statuses = {}
    for exercise in exercises:
        if exercise.is_answer:
            statuses[exercise.id] = _status_of_answer(answer_text(notebook, exercise))
        elif exercise.names:
            statuses[exercise.id] = _status_of_functions(tree, exercise)
        else:
            statuses[exercise.id] = _status_of_cells(notebook, exercise)
    return statuses


def definitions(notebook):
    """One syntax tree of all code cells, in order, without those that are not Python."""
    body = []
    for cell in _code_cells(notebook):
        tree = _tree_or_none(cell)
        body += tree.body if tree else []
    return ast.Module(body, [])


def answer_text(notebook, exercise):
    """What was written in answer to a question: "" if nothing was, None if the cell for it has vanished."""
    cells = cells_of(notebook, exercise)
    if not cells:
        return None
    texts = [re.sub(r"^\s*\*\*Answer[.:]?\*\*[.:]?", "", cell.source) for cell in cells]
    return "\n\n".join(text.replace(PLACEHOLDER, "").strip() for text in texts).strip()


def claims(notebook):
    """Return (name, value) of the accuracies that a notebook's saved outputs claim in PASS lines."""
    texts = [
        output.get("text", "")
        for cell in _code_cells(notebook)
        for output in cell.outputs
        if output["output_type"] == "stream"
    ]
    measures = [p for text in texts for p in read_passes(text) if p.bound is Bound.AT_LEAST]
    return [(p.name, p.value) for p in measures if "accuracy" in p.name and 0 <= p.value < math.inf]


def notebook_findings(notebook, name):
    """What the cells of a notebook show: that they were not run, not in order, failed, or are not Python."""
    cells = [
        (number, cell) for number, cell in enumerate(_code_cells(notebook), start=1) if cell.source.strip()
    ]
    run = [(number, cell) for number, cell in cells if cell.execution_count is not None]
    groups = {
        "has cells that were not run: {}": [
            _label(*pair) for pair in cells if pair[1].execution_count is None
        ],
        "was not run from top to bottom (restart the kernel and run all cells): {}": _out_of_order(run),
        "has cells that failed: {}": [
            f"{_label(*pair)}, {error}" for pair in cells for error in _errors(pair[1])
        ],
        "has cells that are not Python: {}": [_label(*pair) for pair in cells if not _tree_or_none(pair[1])],
    }
    return [Finding(WARNING, name, text.format(_listed(some))) for text, some in groups.items() if some]


def _code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _tree_or_none(cell):
    if cell.source.lstrip().startswith("%%"):  # the whole cell belongs to a magic
        return ast.Module([], [])
    try:
        return parse(python_of(cell))
    except UnreadableError:
        return None


def _out_of_order(run):
    """Of the cells that were run, those whose numbers are not 1, 2, 3 and so on."""
    counted = enumerate(run, start=1)
    return [
        f"{_label(*pair)} has the number {pair[1].execution_count} instead of {count}"
        for count, pair in counted
        if pair[1].execution_count != count
    ]


def _errors(cell):
    errors = [output for output in cell.outputs if output["output_type"] == "error"]
    return [_shown(f"{error['ename']}: {error['evalue']}", 100) for error in errors]


def _label(number, cell):
    return f"code cell {number} ({_shown(cell.source.strip().splitlines()[0], 40)})"


def _shown(text, width):
    """A learner's text on one line, cut to a width, without what would drive a terminal."""
    line = CONTROL.sub(" ", text).strip()
    return line if len(line) <= width else line[: width - 3] + "..."


def _listed(texts):
    rest = len(texts) - NAMED_CELLS
    return "; ".join(texts[:NAMED_CELLS]) + (f"; and {rest} more" if rest > 0 else "")


def _status_of_functions(tree, exercise):
    functions = [find_function(tree, name) for name in exercise.names]
    if None in functions:
        return MISSING
    return NOT_DONE if any(is_blank(function) for function in functions) else DONE


def _status_of_answer(text):
    if text is None:
        return MISSING
    return DONE if text else NOT_DONE


def _status_of_cells(notebook, exercise):
    cells = [cell for cell in cells_of(notebook, exercise) if cell.cell_type == "code"]
    if not cells:
        return MISSING
    trees = [_tree_or_none(cell) for cell in cells]
    return NOT_DONE if any(tree is None or is_blank(tree) for tree in trees) else DONE


def _undone(exercise, status):
    """The finding about an exercise, None if it is done."""
    worth = (
        f"{exercise.points} point{'' if exercise.points == 1 else 's'}" if exercise.points else "no points"
    )
    about = f"(Q{exercise.question}, {worth})"
    if status == NOT_DONE:
        return Finding(WARNING, exercise.file, f"still has {exercise.title} to be written {about}")
    if status == MISSING:
        return Finding(WARNING, exercise.file, f"no longer has the place of {exercise.title} {about}")
    return None


def by_question(statuses):
    """(question, exercises done, exercises, points of those done, points) for every question, in order."""
    rows = []
    for question in sorted({exercise.question for exercise in EXERCISES}):
        exercises = [exercise for exercise in EXERCISES if exercise.question == question]
        done = [exercise for exercise in exercises if statuses[exercise.id] == DONE]
        points = [sum(exercise.points for exercise in some) for some in (done, exercises)]
        rows.append((question, len(done), len(exercises), *points))
    return rows
