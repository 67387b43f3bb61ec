"""Find exercises in source code, and tell whether they are still to be written.

Nothing here runs what it reads.
"""

import ast
import re
import warnings
from collections.abc import Iterable

from course.rubric import TAG, Exercise
from course.submission.notebook import Cell, Notebook

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
MAGIC = re.compile(r"^[ \t]*[%!].*$", re.MULTILINE)


def find_function(tree: ast.Module, name: str) -> Function | None:
    """Return the definition of `name`, "function" or "Class.method", in a module; None if there is none.

    If a name is defined twice, the later definition counts, as in Python.

    >>> source = "class A:\\n    def f(self):\\n        return 1\\n"
    >>> find_function(ast.parse(source), "A.f").lineno
    2
    """
    *classes, function = name.split(".")
    body = class_body(tree, classes)
    found = [node for node in body if isinstance(node, FUNCTION) and node.name == function]
    return found[-1] if found else None


def class_body(tree: ast.Module, classes: Iterable[str]) -> list[ast.stmt]:
    """Return the statements of a module, or of a class in it: the last of the nested `classes`."""
    body = tree.body
    for name in classes:
        found = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
        body = found[-1].body if found else []
    return body


def is_blank(code: Function | ast.Module) -> bool:
    """Tell whether a function, or a cell, does nothing but raise NotImplementedError, as it is handed out."""
    body = code.body[1:] if ast.get_docstring(code, clean=False) is not None else code.body
    if not body or all(isinstance(statement, ast.Pass) for statement in body):
        return True
    first = body[0]
    if not isinstance(first, ast.Raise) or first.exc is None:
        return False
    raised = first.exc.func if isinstance(first.exc, ast.Call) else first.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def python_of(cell: Cell) -> str:
    """Return the source of a code cell with an empty line in place of every magic command.

    A cell that is valid Python has no magic commands, even if one of its lines begins with the operator %.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(cell.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return MAGIC.sub("", cell.source)
    return cell.source


def cells_of(notebook: Notebook, exercise: Exercise) -> list[Cell]:
    """Return the cells of a notebook that belong to an exercise.

    The notebook may also be one of nbformat, which has the same fields.
    """
    return [cell for cell in notebook.cells if f"{TAG}{exercise.id}" in tags_of(cell)]


def tags_of(cell: Cell) -> list[str]:
    """Return the tags of a cell, without those that the notebook format does not allow."""
    tags = cell.metadata.get("tags", ())
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list | tuple) else []
