"""Exercises taken out of source code and notebooks, as learners are given them.

Pure functions of text, which run nothing of what they read. Files are given as {path: text}, with the
paths of the rubric. What is not part of an exercise stays as it is, byte for byte.
"""

import ast
import io
import json
import re
import tokenize

import nbformat

from course.rubric import EXERCISES, UNANSWERED
from course.submission.source import FUNCTION, cells_of, find_function, python_of

LINE_LENGTH = 110
HEADING = re.compile(r"^#+ ", re.MULTILINE)


def blank(files, exercises):
    """The files with these exercises blanked: their functions raise, their answers are unanswered.

    Only the bodies go. The private helpers of a solution stay, and so do the outputs of all other cells
    of a notebook: blanking a single exercise changes nothing else.
    """
    files = dict(files)
    for path, belonging in _by_file(files, exercises).items():
        blank_file = _blank_notebook if path.endswith(".ipynb") else _blank_source
        files[path] = blank_file(files[path], belonging)
    return files


def hand_out(files, exercises=EXERCISES):
    """The files as learners are given them: blanked, without helpers of the solutions and without outputs."""
    files = blank(files, exercises)
    for path, belonging in _by_file(files, exercises).items():
        helpers = [helper for exercise in belonging for helper in exercise.helpers]
        files[path] = remove_definitions(files[path], dict.fromkeys(helpers))
    return {path: _strip_outputs(text) if path.endswith(".ipynb") else text for path, text in files.items()}


def _by_file(files, exercises):
    """The exercises of each of the files, in the rubric's order."""
    found = {}
    for exercise in exercises:
        if exercise.file in files:
            found.setdefault(exercise.file, []).append(exercise)
    return found


def _blank_source(source, exercises):
    """A module with the functions of its exercises blanked.

    Where several exercises name the same function, it says that the first of them is not done.
    """
    for exercise in reversed(exercises):
        for name in exercise.names:
            source = blank_function(source, name, exercise.not_done)
    return source


def blank_function(source, name, message, python=None):
    """Source code in which `name`, "function" or "Class.method", does nothing but raise `message`.

    Decorators, signature and docstring stay. Comments in the body go, also those below its last statement.

    - python: the same lines without what only IPython understands, if there is any
    """
    python = source if python is None else python
    function = find_function(ast.parse(python), name)
    if function is None:
        raise ValueError(f"name must be a function of the source code; got {name!r}, which is not in it")
    head = _end_of_head(python, function)
    if any(statement.lineno <= head for statement in _statements(function)):
        raise ValueError(f"{name} must have its body on lines of its own, below signature and docstring")
    lines = source.split("\n")
    first_line = lines[function.body[0].lineno - 1]
    indent = first_line[: len(first_line) - len(first_line.lstrip())]
    ending = "\r" if lines[head - 1].endswith("\r") else ""
    raising = [line + ending for line in _raise(message, indent)]
    return "\n".join([*lines[:head], *raising, *lines[_end_of_block(lines, function) :]])


def _statements(function):
    """The statements of a function's body, its docstring left out."""
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def _end_of_head(source, function):
    """The number of the last line of a function's docstring, or of its signature where it has none."""
    if ast.get_docstring(function) is not None:
        return function.body[0].end_lineno
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    ends = (token.start[0] for token in tokens if token.type == tokenize.NEWLINE)
    return next(line for line in ends if line >= function.lineno)


def _end_of_block(lines, node):
    """The number of the last line of a definition, with the comments that are indented below it."""
    end = node.end_lineno
    for number, line in enumerate(lines[end:], start=end + 1):
        code = line.lstrip()
        if code and (code[0] != "#" or len(line) - len(code) <= node.col_offset):
            break
        if code:
            end = number
    return end


def _raise(message, indent=""):
    """The lines of a statement that raises NotImplementedError, broken as the formatter would."""
    text = json.dumps(message, ensure_ascii=False)
    line = f"{indent}raise NotImplementedError({text})"
    if len(line) <= LINE_LENGTH:
        return [line]
    return [f"{indent}raise NotImplementedError(", f"{indent}    {text}", f"{indent})"]


def remove_definitions(source, names):
    """Source code without these functions, classes, "Class.method"s and constants.

    With each go the comment lines directly above it, and the blank lines that would be too many.
    """
    for name in names:
        node = find_definition(ast.parse(source), name)
        if node is None:
            raise ValueError(f"names must be defined in the source code; got {name!r}, which is not")
        source = _without(source.split("\n"), node)
    ast.parse(source)  # a class that has lost all it had, for one, is no longer Python
    return source


def find_definition(tree, name):
    """The function, class or constant `name`, or "Class.method", in a syntax tree; else None."""
    *classes, last = name.split(".")
    body = tree.body
    for wanted in classes:
        found = [node for node in body if isinstance(node, ast.ClassDef) and node.name == wanted]
        body = found[-1].body if found else []
    return next((node for node in body if last in _names_of(node)), None)


def _names_of(node):
    """The names that a statement defines: a function's, a class's, or those of plain assignments."""
    if isinstance(node, (*FUNCTION, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []


def _without(lines, node):
    """The text of these lines without a definition; between its neighbours the larger of two gaps remains."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))]) - 1
    margin = lines[first][: node.col_offset]
    while first > 0 and lines[first - 1].startswith(f"{margin}#"):
        first -= 1
    above, below = lines[:first], lines[_end_of_block(lines, node) :]
    gap_above, gap_below = [], []
    while above and not above[-1].strip():
        gap_above.append(above.pop())
    while below and not below[0].strip():
        gap_below.append(below.pop(0))
    gap = max(gap_above, gap_below, key=len) if below else [""]
    return "\n".join([*above, *gap, *below])


def _blank_notebook(text, exercises):
    notebook = nbformat.reads(text, as_version=4)
    for exercise in exercises:
        _blank_cells(notebook, exercise)
    return f"{nbformat.writes(notebook)}\n"


def _blank_cells(notebook, exercise):
    """Blank the cells of an exercise in place: answers and functions, or whole cells if it names none."""
    cells = cells_of(notebook, exercise)
    if not cells:
        raise ValueError(f"{exercise.file} must have a cell with the tag of the exercise {exercise.id!r}")
    code_cells = [cell for cell in cells if cell.cell_type == "code"]
    for cell in cells:
        if cell.cell_type == "markdown":
            _blank_answer(cell, exercise)
    for name in exercise.names:
        cell = _cell_that_defines(name, code_cells)
        _rewrite(cell, blank_function(cell.source, name, exercise.not_done, python_of(cell)))
    if code_cells and not exercise.names:
        _blank_whole_cells(notebook, code_cells, exercise)


def _blank_answer(cell, exercise):
    if HEADING.search(cell.source):
        raise ValueError(
            f"{exercise.file}: a cell with an answer must hold no heading, since all of it goes; that of "
            f"{exercise.id} does: move what is not the answer to a cell of its own"
        )
    cell.source = UNANSWERED


def _cell_that_defines(name, cells):
    for cell in cells:
        if find_function(ast.parse(python_of(cell)), name):
            return cell
    raise ValueError(f"{name} must be defined in a cell with the tag of its exercise; no such cell has it")


def _rewrite(cell, source):
    cell.source, cell.outputs, cell.execution_count = source, [], None


def _blank_whole_cells(notebook, cells, exercise):
    """One cell in place of all, which says what the rest of the notebook expects to find."""
    others = [cell for cell in notebook.cells if cell.cell_type == "code" and cell not in cells]
    used = {node.id for cell in others for node in ast.walk(_tree_of(cell)) if isinstance(node, ast.Name)}
    defined = [name for cell in cells for node in _tree_of(cell).body for name in _names_of(node)]
    needed = ", ".join(name for name in dict.fromkeys(defined) if name in used)
    lines = [f"# Yours to write. What the cells below need of it: {needed}", *_raise(exercise.not_done)]
    _rewrite(cells[0], "\n".join(lines))
    notebook.cells = [cell for cell in notebook.cells if cell not in cells[1:]]


def _tree_of(cell):
    return ast.parse(python_of(cell))


def _strip_outputs(text):
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _rewrite(cell, cell.source)
    return f"{nbformat.writes(notebook)}\n"
