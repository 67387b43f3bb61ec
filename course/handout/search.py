"""Search texts for remains of a solution before they are handed out."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

from course.handout.blanking import FINISHED, find_definition, parse_with_nbformat
from course.rubric import EXERCISES, TAG, Exercise, Kind
from course.submission.source import Function, cells_of, find_function, python_of, tags_of

DISTINCTIVE = 40  # characters: a statement this long is taken to come from the solution that has it


def find_solutions(files: Mapping[str, str], originals: Mapping[str, str]) -> list[str]:
    """Return every remainder of a solution in the files, as "path: exercise: what was found".

    The search is for any two successive statements of a solution, for any single one of at least
    `DISTINCTIVE` characters, and for any such sentence of an answer; layout, comments and quotes do not
    matter. Code that learners get anyway is not reported, see `_given`.

    - files: what is to be handed out
    - originals: the same files, and others, with all solutions
    """
    given = "\n".join(_without_comments(text) for text in _given(originals))
    haystacks = {path: _squeezed_twice(path, text) for path, text in files.items()}
    leaks: list[str] = []
    for exercise in EXERCISES:
        for piece in _pieces(exercise, originals[exercise.file]):
            if piece not in given:
                found = [path for path, text in haystacks.items() if piece in text]
                leaks += [f"{path}: {exercise.id}: {piece}" for path in found]
    return list(dict.fromkeys(leaks))


def _given(originals: Mapping[str, str]) -> Iterator[str]:
    """Yield the code that belongs to no exercise: modules and cells without any, and the other functions."""
    names = {name for exercise in EXERCISES for name in (*exercise.names, *exercise.helpers)}
    with_exercises = {exercise.file for exercise in EXERCISES}
    for path, text in originals.items():
        if path.endswith(".ipynb"):
            cells = _read(text).cells
            yield from (cell.source for cell in cells if cell.cell_type == "code" and _is_given(cell))
        elif path in with_exercises:
            functions = [node for node in _parse(text).body if isinstance(node, Function)]
            yield from (_text_of(text, node) for node in functions if node.name not in names)
        elif path.startswith("cs231n/"):
            yield text


def _is_given(cell: Any) -> bool:
    return not any(tag == FINISHED or tag.startswith(TAG) for tag in tags_of(cell))


def _squeezed_twice(path: str, text: str) -> str:
    """Return the squeezed text of a file without its comments, and again with them: they may be code."""
    if path.endswith(".ipynb"):
        text = "\n".join(cell.source for cell in _read(text).cells)
    return f"{_without_comments(text)}\n{_squeeze(text.replace('#', ''))}"


def _without_comments(text: str) -> str:
    return _squeeze(re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE))


def _squeeze(text: str) -> str:
    """Return text without what a formatter may change: white space, kinds of quotes, trailing commas."""
    text = re.sub(r"[\s`]", "", text).replace("'", '"')
    return re.sub(r",([)\]}])", r"\1", text)


def _pieces(exercise: Exercise, text: str) -> Iterator[str]:
    """Yield the pieces of an exercise's solution to search for, squeezed."""
    for statements in _solutions(exercise, text):
        for first, second in pairwise(statements):
            yield first + second
        yield from (statement for statement in statements if len(statement) >= DISTINCTIVE)


def _solutions(exercise: Exercise, text: str) -> Iterator[list[str]]:
    """Yield the statements of every function, helper and cell of a solution, or an answer's sentences."""
    if not exercise.in_notebook:
        yield from _solutions_in_source(exercise, text)
        return
    for cell in cells_of(_read(text), exercise):
        if cell.cell_type == "markdown":
            yield from ([_squeeze(sentence)] for sentence in _sentences(cell.source))
        elif exercise.kind is Kind.FUNCTIONS:
            yield from _solutions_in_source(exercise, python_of(cell))
        else:
            yield _statements_of_all(python_of(cell))


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.:;?])[*\s]+|\n", text)


def _solutions_in_source(exercise: Exercise, source: str) -> Iterator[list[str]]:
    """Yield the statements of each function and helper of a solution that is defined in the source."""
    tree = _parse(source)
    for name in exercise.names:
        if function := find_function(tree, name):
            yield [line for node in function.body for line in _statements(source, node)]
    for name in exercise.helpers:
        if helper := find_definition(tree, name):
            yield list(_statements(source, helper))


def _statements_of_all(source: str) -> list[str]:
    return [line for node in ast.parse(source).body for line in _statements(source, node)]


def _statements(source: str, node: ast.stmt | ast.ExceptHandler) -> Iterator[str]:
    """Yield a statement, squeezed, without comments; if it has a body, its head and the body's statements."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring, which learners get
    inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler)]
    yield _without_comments(_text_of(source, node, inner[0] if inner else None))
    for child in inner:
        yield from _statements(source, child)


def _text_of(
    source: str, node: ast.stmt | ast.ExceptHandler, before: ast.stmt | ast.ExceptHandler | None = None
) -> str:
    """Return the source code of a syntax tree's node, or its beginning, up to the inner node `before`."""
    if before:
        last, end = before.lineno, before.col_offset
    else:
        assert node.end_lineno is not None and node.end_col_offset is not None, "ast.parse sets both"
        last, end = node.end_lineno, node.end_col_offset
    lines = _lines(source)[node.lineno - 1 : last]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][node.col_offset :]
    return b"\n".join(lines).decode()


@lru_cache(maxsize=16)
def _lines(source: str) -> list[bytes]:
    """Return the lines as bytes, which is how syntax trees count columns."""
    return source.encode().split(b"\n")


@lru_cache(maxsize=16)
def _parse(source: str) -> ast.Module:
    return ast.parse(source)


@lru_cache(maxsize=16)
def _read(text: str) -> Any:
    return parse_with_nbformat(text)
