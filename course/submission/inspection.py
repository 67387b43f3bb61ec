"""Find what a grader would object to in a folder: files, cells, answers and exercises.

Nothing here runs what it reads, or writes anything. `collect_submission.sh` shows the learner the findings
before it is too late; the grader uses the same functions.
"""

import ast
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from course.rubric import EXERCISES, FILES, NOTEBOOKS, UNANSWERED, Exercise, Kind
from course.submission.notebook import Cell, Notebook, UnreadableError, read_bytes, read_notebook
from course.submission.source import cells_of, find_function, is_blank, python_of

REQUIRED, WARNING = "required", "warning"
DONE, NOT_DONE, MISSING = "done", "not done", "missing"
NAMED_CELLS = 3  # that a finding names before it only counts the rest
PLACEHOLDER = UNANSWERED.removeprefix("**Answer.**").strip()
CLAIM = re.compile(r"PASS +(?P<name>[^:]*accuracy[^:]*): (?P<value>\d+(?:\.\d+)?(?:e-\d+)?) \(at least ")
LONGEST_CLAIM = 200  # characters
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Finding:
    """Something in a file that a grader would object to.

    - severity: `REQUIRED` if the file cannot be graded because of it, else `WARNING`
    - text: what it is; continues a sentence that begins with the file's name
    """

    severity: str
    file: str
    text: str

    def __str__(self) -> str:
        return f"{self.file} {self.text}"


@dataclass(frozen=True)
class Inspection:
    """What was found in a folder.

    - findings: in the order of the files
    - statuses: `DONE`, `NOT_DONE` or `MISSING`, by the exercise's id
    - notebooks: those that can be read, by name
    """

    findings: tuple[Finding, ...]
    statuses: dict[str, str]
    notebooks: dict[str, Notebook]

    @property
    def is_complete(self) -> bool:
        """Whether every file is there and can be read."""
        return not any(finding.severity == REQUIRED for finding in self.findings)


@dataclass(frozen=True)
class Progress:
    """How far a question is: its exercises, those that are done, and the points of both."""

    question: int
    done: int
    exercises: int
    points_done: int
    points: int


@dataclass(frozen=True)
class NumberedCell:
    """A code cell that is not empty, and its place among the code cells of its notebook."""

    number: int
    cell: Cell

    @property
    def label(self) -> str:
        return f"code cell {self.number} ({_shown(self.cell.source.strip().splitlines()[0], 40)})"


def inspect(folder: str | Path) -> Inspection:
    """Inspect all files of a submission."""
    findings: list[Finding] = []
    statuses: dict[str, str] = {}
    notebooks: dict[str, Notebook] = {}
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
            findings += _exercise_findings(exercises, found)
        statuses |= found
    return Inspection(tuple(findings), statuses, notebooks)


def parse(source: str | bytes) -> ast.Module:
    """Return the syntax tree of Python source; raise UnreadableError if it is not Python.

    The error names the line of the mistake without quoting it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a "\d" in a learner's string, for one
            return ast.parse(source)
    except SyntaxError as error:
        place = f"line {error.lineno}: " if error.lineno else ""
        raise UnreadableError(f"is not Python: {place}{_shown(error.msg, 80)}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnreadableError(f"is not Python: {_shown(str(error), 80) or type(error).__name__}") from error


def source_statuses(tree: ast.Module, exercises: list[Exercise]) -> dict[str, str]:
    """Return the status, by id, of exercises whose functions are in one syntax tree."""
    return {exercise.id: _status_of_functions(tree, exercise) for exercise in exercises}


def notebook_statuses(notebook: Notebook, exercises: list[Exercise]) -> dict[str, str]:
    """Return the status, by id, of a notebook's exercises; their functions may be in any cell."""
    tree = definitions(notebook)
    statuses = {}
    for exercise in exercises:
        if exercise.kind is Kind.ANSWER:
            statuses[exercise.id] = _status_of_answer(answer_text(notebook, exercise))
        elif exercise.kind is Kind.FUNCTIONS:
            statuses[exercise.id] = _status_of_functions(tree, exercise)
        else:
            statuses[exercise.id] = _status_of_cells(notebook, exercise)
    return statuses


def definitions(notebook: Notebook) -> ast.Module:
    """Return one syntax tree of all code cells, in order, without those that are not Python."""
    body: list[ast.stmt] = []
    for cell in _code_cells(notebook):
        tree = _tree_or_none(cell)
        body += tree.body if tree else []
    return ast.Module(body, [])


def answer_text(notebook: Notebook, exercise: Exercise) -> str | None:
    """Return a learner's answer to a question: "" if there is none, None if the cell for it was deleted."""
    cells = cells_of(notebook, exercise)
    if not cells:
        return None
    texts = [re.sub(r"^\s*\*\*Answer[.:]?\*\*[.:]?", "", cell.source) for cell in cells]
    return "\n\n".join(text.replace(PLACEHOLDER, "").strip() for text in texts).strip()


def claims(notebook: Notebook) -> list[tuple[str, float]]:
    """Return the accuracies in a notebook's saved outputs: (name, value) of every PASS line about one."""
    texts = [
        output.get("text", "")
        for cell in _code_cells(notebook)
        for output in cell.outputs
        if output["output_type"] == "stream"
    ]
    lines = [line for text in texts for line in text.splitlines() if len(line) <= LONGEST_CLAIM]
    return [(found["name"], float(found["value"])) for found in map(CLAIM.match, lines) if found]


def notebook_findings(notebook: Notebook, name: str) -> list[Finding]:
    """Return findings about a notebook's code cells: not run, run out of order, failed, or not Python."""
    cells = [
        NumberedCell(number, cell)
        for number, cell in enumerate(_code_cells(notebook), start=1)
        if cell.source.strip()
    ]
    groups = {
        "has cells that were not run": [each.label for each in cells if each.cell.execution_count is None],
        "was not run from top to bottom (restart the kernel and run all cells)": _out_of_order(cells),
        "has cells that failed": [f"{each.label}, {error}" for each in cells for error in _errors(each.cell)],
        "has cells that are not Python": [each.label for each in cells if not _tree_or_none(each.cell)],
    }
    return [Finding(WARNING, name, f"{text}: {_listed(some)}") for text, some in groups.items() if some]


def _code_cells(notebook: Notebook) -> list[Cell]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _tree_or_none(cell: Cell) -> ast.Module | None:
    if cell.source.lstrip().startswith("%%"):  # the whole cell belongs to a magic command
        return ast.Module([], [])
    try:
        return parse(python_of(cell))
    except UnreadableError:
        return None


def _out_of_order(cells: list[NumberedCell]) -> list[str]:
    """Describe the cells, of those that were run, whose execution counts are not 1, 2, 3 and so on."""
    run = [each for each in cells if each.cell.execution_count is not None]
    return [
        f"{each.label} has the number {each.cell.execution_count} instead of {count}"
        for count, each in enumerate(run, start=1)
        if each.cell.execution_count != count
    ]


def _errors(cell: Cell) -> list[str]:
    errors = [output for output in cell.outputs if output["output_type"] == "error"]
    return [_shown(f"{error['ename']}: {error['evalue']}", 100) for error in errors]


def _shown(text: str, width: int) -> str:
    """Return a learner's text on one line, cut to a width, without characters that control a terminal."""
    line = CONTROL.sub(" ", text).strip()
    return line if len(line) <= width else line[: width - 3] + "..."


def _listed(texts: list[str]) -> str:
    rest = len(texts) - NAMED_CELLS
    return "; ".join(texts[:NAMED_CELLS]) + (f"; and {rest} more" if rest > 0 else "")


def _status_of_functions(tree: ast.Module, exercise: Exercise) -> str:
    functions = [find_function(tree, name) for name in exercise.names]
    if any(function is None for function in functions):
        return MISSING
    return NOT_DONE if any(function and is_blank(function) for function in functions) else DONE


def _status_of_answer(text: str | None) -> str:
    if text is None:
        return MISSING
    return DONE if text else NOT_DONE


def _status_of_cells(notebook: Notebook, exercise: Exercise) -> str:
    cells = [cell for cell in cells_of(notebook, exercise) if cell.cell_type == "code"]
    if not cells:
        return MISSING
    trees = [_tree_or_none(cell) for cell in cells]
    return NOT_DONE if any(tree is None or is_blank(tree) for tree in trees) else DONE


def _exercise_findings(exercises: list[Exercise], statuses: dict[str, str]) -> list[Finding]:
    """Return a finding about every exercise that is not done."""
    return [
        Finding(WARNING, exercise.file, _undone(exercise, statuses[exercise.id]))
        for exercise in exercises
        if statuses[exercise.id] != DONE
    ]


def _undone(exercise: Exercise, status: str) -> str:
    """Say what an exercise lacks, and what it is worth."""
    about = f"(Q{exercise.question}, {_worth(exercise.points)})"
    if status == NOT_DONE:
        return f"is not finished: write {exercise.title} {about}"
    if exercise.kind is Kind.FUNCTIONS:
        return f"no longer defines {exercise.title} {about}"
    return f"no longer has the cell for {exercise.title} {about}"


def _worth(points: int) -> str:
    if points == 0:
        return "no points"
    return "1 point" if points == 1 else f"{points} points"


def by_question(statuses: dict[str, str]) -> list[Progress]:
    """Return the progress on every question, in order, from the statuses of an inspection."""
    return [_progress(question, statuses) for question in sorted({each.question for each in EXERCISES})]


def _progress(question: int, statuses: dict[str, str]) -> Progress:
    exercises = [exercise for exercise in EXERCISES if exercise.question == question]
    done = [exercise for exercise in exercises if statuses[exercise.id] == DONE]
    return Progress(
        question=question,
        done=len(done),
        exercises=len(exercises),
        points_done=sum(exercise.points for exercise in done),
        points=sum(exercise.points for exercise in exercises),
    )
