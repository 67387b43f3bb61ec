"""Searching texts for what is left of a solution, before they are handed out."""

import ast
import re
from functools import lru_cache
from itertools import pairwise

import nbformat

from course.handout.blanking import find_definition
from course.rubric import EXERCISES
from course.submission.source import FUNCTION, cells_of, find_function, python_of, tags_of

DISTINCTIVE = 40  # characters, from which on a single statement tells whose it is


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
