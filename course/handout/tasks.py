"""Ask for the work: cells in the learners' notebooks that say what to write, where, and how to check it.

What is written by hand is in tasks.md, a section for each exercise. Points, files, signatures and docstrings
come from the rubric and the code.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.handout.blanking import parse_with_nbformat, written
from course.rubric import EXERCISES, NOTEBOOKS, TASK, Exercise, Kind
from course.submission.source import cells_of, find_function, python_of, tags_of

TEXTS = Path(__file__).with_name("tasks.md")
HINTS = 3
PLACE = f"{TASK}:"  # a cell with the tag task:ID is where exercise ID is asked for
TESTS = re.compile(r"^Tests: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Task:
    """What is written by hand about an exercise.

    - text: what to write
    - tests: the arguments with which pytest selects its tests; "" if it has none
    - hints: pairs of title and text, to be read one after the other
    """

    text: str
    tests: str
    hints: tuple[tuple[str, str], ...]


def read_tasks(text: str, exercises: Sequence[Exercise] = EXERCISES) -> dict[str, Task]:
    """Return the task of every exercise, by id, from the text of tasks.md."""
    sections = _sections(text, "## ")
    if set(sections) != {exercise.id for exercise in exercises}:
        different = sorted(set(sections) ^ {exercise.id for exercise in exercises})
        raise ValueError(f"tasks.md must have a section for every exercise and no other; see {different}")
    return {id: _task(id, section) for id, section in sections.items()}


def _task(id: str, section: str) -> Task:
    hints = tuple(_sections(section, "### ").items())
    if len(hints) != HINTS or not all(hint for _, hint in hints):
        raise ValueError(f"tasks.md must have {HINTS} hints for every exercise; {id} has {len(hints)}")
    text = section.split("\n### ")[0]
    tests = TESTS.search(text)
    return Task(TESTS.sub("", text).strip(), tests[1] if tests else "", hints)


def _sections(text: str, mark: str) -> dict[str, str]:
    """Return the text below each heading that begins with this mark, up to the next that is not lower."""
    parts = re.split(rf"^(#{{1,{len(mark) - 1}}} .*)$", text, flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {head.removeprefix(mark): body.strip() for head, body in pairs if head.startswith(mark)}


def with_tasks(files: Mapping[str, str], tasks: Mapping[str, Task]) -> dict[str, str]:
    """Return the learners' files, with cells in the notebooks that ask for the exercises."""
    asked = dict(files)
    for question, name in enumerate(NOTEBOOKS, start=1):
        exercises = [exercise for exercise in EXERCISES if exercise.question == question]
        notebook = parse_with_nbformat(files[name])
        for exercise in exercises:
            text = task_text(exercise, tasks[exercise.id], files)
            _insert(notebook, _place(notebook, exercise), exercise.id, text)
        _insert(notebook, 1, f"q{question}", overview(exercises))
        for cell in notebook.cells:
            _drop_places(cell)
        asked[name] = written(notebook)
    return asked


def _place(notebook: Any, exercise: Exercise) -> int:
    """Return the index of the cell above which an exercise is asked for.

    That is the cell with the tag task:ID; else its own cell; else the first whose code names its function or
    class.
    """
    own = cells_of(notebook, exercise)
    marked = [cell for cell in notebook.cells if f"{PLACE}{exercise.id}" in tags_of(cell)]
    names = {name.split(".")[0] for name in exercise.names}
    naming = (cell for cell in notebook.cells if cell.cell_type == "code" and names & _names_in(cell))
    place = next(iter([*marked, *own]), None) or next(naming, None)
    if place is None:
        raise ValueError(
            f"the notebook of Q{exercise.question} must have a cell that checks {exercise.id}: one naming "
            f"its function, or one with the tag {PLACE}{exercise.id}"
        )
    return next(index for index, cell in enumerate(notebook.cells) if cell is place)


def _names_in(cell: Any) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(python_of(cell))) if isinstance(node, ast.Name)}


def _insert(notebook: Any, index: int, id: str, text: str) -> None:
    from nbformat.v4 import new_markdown_cell  # takes seconds to import, as in `blanking`

    cell_id = "task-" + re.sub(r"[^\w-]+", "-", id)
    cell = new_markdown_cell(text, id=cell_id, metadata={"tags": [TASK]})
    notebook.cells.insert(index, cell)


def _drop_places(cell: Any) -> None:
    """Remove the tags task:ID from a cell."""
    tags = tags_of(cell)
    kept = [tag for tag in tags if not tag.startswith(PLACE)]
    if kept:
        cell.metadata.tags = kept
    elif tags:
        del cell.metadata["tags"]


def task_text(exercise: Exercise, task: Task, files: Mapping[str, str]) -> str:
    """Return the text of the cell that asks for an exercise.

    - files: what learners get, which has the signatures and docstrings
    """
    parts = [f"#### Exercise: {_title(exercise)} ({_points(exercise.points)})", _where(exercise), task.text]
    if not exercise.in_notebook:
        parts.append(f"```python\n{_signatures(files[exercise.file], exercise)}\n```")
    parts += [_how_to_check(exercise, task.tests), *(_folded(*hint) for hint in task.hints)]
    return "\n\n".join(parts)


def overview(exercises: Sequence[Exercise]) -> str:
    """Return the text of the cell at the top of a notebook: what it asks for, and how to work."""
    points = _points(sum(exercise.points for exercise in exercises))
    titles = ", ".join(_title(exercise) for exercise in exercises)
    return (
        f"### Your part: {len(exercises)} exercises, {points}\n\n"
        f"{titles}.\n\n"
        "Each exercise is described where it stands, with three hints. Try it first; then unfold one hint "
        "at a time. Code that is not written yet raises `NotImplementedError` and says which exercise it "
        "belongs to. Save a file after a change, and the next cell that you run uses it. A check prints "
        "`PASS`, or it stops the notebook and says what is wrong."
    )


def _title(exercise: Exercise) -> str:
    names = " and ".join(f"`{_public(name)}`" for name in exercise.names)
    part = f", {exercise.part}" if exercise.part else ""
    if exercise.kind is Kind.ANSWER:
        return f"the answer to Question {exercise.number}"
    return f"{names}{part}" if names else exercise.title


def _public(name: str) -> str:
    return name.removesuffix(".__init__")


def _points(points: int) -> str:
    return f"{points} point" if points == 1 else f"{points or 'no'} points"


def _where(exercise: Exercise) -> str:
    if exercise.kind is Kind.ANSWER:
        return "*Where*: in the next cell, in place of *Yours to write.*"
    if exercise.kind is Kind.WHOLE_CELLS:
        return "*Where*: in the next two cells."
    names = " and ".join(f"`{name}`" for name in exercise.names)
    return f"*Where*: {names} in {'the next cell' if exercise.in_notebook else f'`{exercise.file}`'}"


def _signatures(source: str, exercise: Exercise) -> str:
    """Return the source code of the exercise's functions without their bodies."""
    tree, lines = ast.parse(source), source.split("\n")
    found = []
    for name in exercise.names:
        function = find_function(tree, name)
        assert function is not None, "it was blanked"
        body = function.body[1:] if ast.get_docstring(function) is not None else function.body
        head = lines[function.lineno - 1 : body[0].lineno - 1]
        found.append("\n".join(line[function.col_offset :] for line in head).rstrip())
    return "\n\n".join(found)


def _how_to_check(exercise: Exercise, tests: str) -> str:
    if exercise.kind is Kind.ANSWER:
        return (
            "*Check*: `./collect_submission.sh --check` says whether the answer is there. A person reads it."
        )
    cells = "*Check*: run the next cells"
    command = f"python -m pytest -m q{exercise.question} {tests}"
    return f"{cells}; in a terminal, `{command}`" if tests else f"{cells}."


def _folded(title: str, text: str) -> str:
    """Return a text that unfolds; blank lines around it let Markdown and formulas work inside."""
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"
