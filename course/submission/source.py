"""Exercises in source code: where a function stands, and whether it is still to be written.

Nothing here runs what it reads.
"""

import ast
import re
import warnings

from course.rubric import TAG

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
MAGIC = re.compile(r"^[ \t]*[%!].*$", re.MULTILINE)


def find_function(tree, name):
    """The definition of `name`, "function" or "Class.method", in a module's syntax tree; else None.

    Where a name is defined twice the later one counts, as in Python.
    """
    *classes, function = name.split(".")
    body = tree.body
    for wanted in classes:
        found = [node for node in body if isinstance(node, ast.ClassDef) and node.name == wanted]
        body = found[-1].body if found else []
    found = [node for node in body if isinstance(node, FUNCTION) and node.name == function]
    return found[-1] if found else None


def is_blank(function):
    """Whether a function does nothing but raise NotImplementedError, which is how it is handed out."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not body or all(isinstance(statement, ast.Pass) for statement in body):
        return True
    first = body[0]
    if not isinstance(first, ast.Raise) or first.exc is None:
        return False
    raised = first.exc.func if isinstance(first.exc, ast.Call) else first.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def python_of(cell):
    """The source of a notebook's code cell without its magics, whose lines become empty.

    What is Python as it stands has none, though a line of it may begin with the operator %.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(cell.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return MAGIC.sub("", cell.source)
    return cell.source


def cells_of(notebook, exercise):
    """The cells of a notebook that belong to an exercise."""
    return [cell for cell in notebook.cells if f"{TAG}{exercise.id}" in tags_of(cell)]


def tags_of(cell):
    """The tags of a cell; none where they are not what the format asks for."""
    tags = cell.metadata.get("tags", ())
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list | tuple) else []
