"""Take exercises out of source code and notebooks, as learners get them.

These are pure functions of text, which never run what they read. Files are given as {path: text}, with the
rubric's paths. Everything that is not part of an exercise stays as it is, byte for byte.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from course.rubric import EXERCISES, UNANSWERED, Exercise, Kind
from course.submission.source import Function, cells_of, class_body, find_function, python_of, tags_of

LINE_LENGTH = 110
HEADING = re.compile(r"^#+ ", re.MULTILINE)
FINISHED = "finished-repository"  # the tag of cells that learners do not get


def blank(files: Mapping[str, str], exercises: Iterable[Exercise]) -> dict[str, str]:
    """Return the files with these exercises blanked: their functions raise, their answers are unanswered.

    Only the bodies are removed. The private helpers of a solution stay, and so do the outputs of all other
    cells of a notebook: blanking a single exercise changes nothing else.
    """
    blanked = dict(files)
    for path, belonging in _by_file(files, exercises).items():
        blank_file = _blank_notebook if path.endswith(".ipynb") else _blank_source
        blanked[path] = blank_file(files[path], belonging)
    return blanked


def hand_out(files: Mapping[str, str], exercises: Sequence[Exercise] = EXERCISES) -> dict[str, str]:
    """Return the files as learners get them: blanked, without the solutions' helpers and without outputs.

    Cells with the tag `FINISHED` are left out too.
    """
    blanked = blank(files, exercises)
    for path, belonging in _by_file(files, exercises).items():
        helpers = [helper for exercise in belonging for helper in exercise.helpers]
        blanked[path] = remove_definitions(blanked[path], dict.fromkeys(helpers))
    return {
        path: _learners_notebook(text) if path.endswith(".ipynb") else text for path, text in blanked.items()
    }


def _by_file(files: Mapping[str, str], exercises: Iterable[Exercise]) -> dict[str, list[Exercise]]:
    """Return the exercises of each of the files, in the rubric's order."""
    found: dict[str, list[Exercise]] = {}
    for exercise in exercises:
        if exercise.file in files:
            found.setdefault(exercise.file, []).append(exercise)
    return found


def _blank_source(source: str, exercises: Sequence[Exercise]) -> str:
    """Return a module with the functions of its exercises blanked.

    A function that several exercises name says that the first of them is not done.
    """
    for exercise in reversed(exercises):
        for name in exercise.names:
            source = blank_function(source, name, exercise.not_done)
    return source


def blank_function(source: str, name: str, message: str, python: str | None = None) -> str:
    """Return source code in which the function only raises NotImplementedError with this message.

    Decorators, signature and docstring stay. Comments in the body are removed, also those below its last
    statement.

    - name: "function" or "Class.method"
    - python: for the source of a notebook's cell, the same lines without its magic commands

    >>> print(blank_function("def double(x):\\n    return 2 * x", "double", "write double"))
    def double(x):
        raise NotImplementedError("write double")
    """
    python = source if python is None else python
    function = find_function(ast.parse(python), name)
    if function is None:
        raise ValueError(f"name must be a function of the source code, which has no {name!r}")
    head = _end_of_head(python, function)
    if any(statement.lineno <= head for statement in _statements(function)):
        raise ValueError(
            f"{name} must have its body on lines of its own, below signature and docstring: move it there"
        )
    lines = source.split("\n")
    ending = "\r" if lines[head - 1].endswith("\r") else ""
    raising = [line + ending for line in _raise(message, _indent_of(lines[function.body[0].lineno - 1]))]
    return "\n".join([*lines[:head], *raising, *lines[_end_of_block(lines, function) :]])


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _statements(function: Function) -> list[ast.stmt]:
    """Return the statements of a function's body, without its docstring."""
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def _end_of_head(source: str, function: Function) -> int:
    """Return the number of the last line of a function's docstring, or of its signature if it has none."""
    if ast.get_docstring(function) is not None:
        return _last_line(function.body[0])
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    ends = (token.start[0] for token in tokens if token.type == tokenize.NEWLINE)
    return next(line for line in ends if line >= function.lineno)


def _last_line(node: ast.stmt) -> int:
    assert node.end_lineno is not None, "ast.parse sets it"
    return node.end_lineno


def _end_of_block(lines: Sequence[str], node: ast.stmt) -> int:
    """Return the number of the last line of a definition, with the comments that are indented below it."""
    end = _last_line(node)
    for number, line in enumerate(lines[end:], start=end + 1):
        code = line.lstrip()
        if code and (code[0] != "#" or len(_indent_of(line)) <= node.col_offset):
            break
        if code:
            end = number
    return end


def _raise(message: str, indent: str = "") -> list[str]:
    """Return the lines of a statement that raises NotImplementedError, broken as the formatter would."""
    text = json.dumps(message, ensure_ascii=False)
    line = f"{indent}raise NotImplementedError({text})"
    if len(line) <= LINE_LENGTH:
        return [line]
    return [f"{indent}raise NotImplementedError(", f"{indent}    {text}", f"{indent})"]


def remove_definitions(source: str, names: Iterable[str]) -> str:
    """Return source code without these functions, classes, "Class.method"s and constants.

    The comment lines directly above each are removed too, and the blank lines that would be too many.
    """
    for name in names:
        node = find_definition(ast.parse(source), name)
        if node is None:
            raise ValueError(f"names must be defined in the source code, which does not define {name!r}")
        source = _without(source.split("\n"), node)
    ast.parse(source)  # fails if, for example, a class has lost all of its methods
    return source


def find_definition(tree: ast.Module, name: str) -> ast.stmt | None:
    """Return the function, class or constant `name`, or "Class.method", in a module, else None."""
    *classes, last = name.split(".")
    return next((node for node in class_body(tree, classes) if last in _names_of(node)), None)


def _names_of(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines: a function's, a class's, or those of plain assignments."""
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []


def _without(lines: Sequence[str], node: ast.stmt) -> str:
    """Return the text of these lines without a definition; the larger of the gaps around it remains."""
    first, end = _start_with_comments(lines, node), _end_of_block(lines, node)
    above, gap_above = _split_gap(lines[:first])
    below_reversed, gap_below = _split_gap(lines[end:][::-1])
    below = below_reversed[::-1]
    gap = max(gap_above, gap_below, key=len) if below else [""]
    return "\n".join([*above, *gap, *below])


def _start_with_comments(lines: Sequence[str], node: ast.stmt) -> int:
    """Return the index of the first line of a definition: of its decorators, or of the comments above it."""
    decorators = getattr(node, "decorator_list", ())
    first: int = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    margin = lines[first][: node.col_offset]
    while first > 0 and lines[first - 1].startswith(f"{margin}#"):
        first -= 1
    return first


def _split_gap(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split lines into those up to the last that is not blank, and the blank lines after it."""
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return list(lines[:end]), list(lines[end:])


def parse_with_nbformat(text: str) -> Any:
    """Return the notebook in a text, as nbformat reads it."""
    import nbformat  # takes seconds to import, and who grades only takes out the exercises of modules

    return nbformat.reads(text, as_version=4)


def written(notebook: Any) -> str:
    """Return the text of a notebook, as nbformat writes it."""
    import nbformat

    return f"{nbformat.writes(notebook)}\n"


def _blank_notebook(text: str, exercises: Sequence[Exercise]) -> str:
    notebook = parse_with_nbformat(text)
    for exercise in exercises:
        _blank_cells(notebook, exercise)
    return written(notebook)


def _blank_cells(notebook: Any, exercise: Exercise) -> None:
    """Blank the cells of an exercise in place: its answers, and its functions or whole code cells."""
    cells: list[Any] = cells_of(notebook, exercise)
    if not cells:
        raise ValueError(f"{exercise.file} must have a cell with the tag of the exercise {exercise.id!r}")
    code_cells = [cell for cell in cells if cell.cell_type == "code"]
    for cell in cells:
        if cell.cell_type == "markdown":
            _blank_answer(cell, exercise)
    for name in exercise.names:
        cell = _cell_that_defines(name, code_cells)
        _rewrite(cell, blank_function(cell.source, name, exercise.not_done, python_of(cell)))
    if exercise.kind is Kind.WHOLE_CELLS and code_cells:
        _blank_whole_cells(notebook, code_cells, exercise)


def _blank_answer(cell: Any, exercise: Exercise) -> None:
    if HEADING.search(cell.source):
        raise ValueError(
            f"{exercise.file}: a cell with an answer must have no heading, because all of it is blanked, but "
            f"the cell of {exercise.id} has one: move what is not the answer to a cell of its own"
        )
    cell.source = UNANSWERED


def _cell_that_defines(name: str, cells: Iterable[Any]) -> Any:
    for cell in cells:
        if find_function(ast.parse(python_of(cell)), name):
            return cell
    raise ValueError(
        f"{name} must be defined in a cell with the tag of its exercise; no such cell defines it"
    )


def _rewrite(cell: Any, source: str) -> None:
    cell.source = source
    cell.outputs = []
    cell.execution_count = None


def _blank_whole_cells(notebook: Any, cells: list[Any], exercise: Exercise) -> None:
    """Put one cell in place of all, which says which names the rest of the notebook uses."""
    others = [cell for cell in notebook.cells if cell.cell_type == "code" and cell not in cells]
    used = {node.id for cell in others for node in ast.walk(_tree_of(cell)) if isinstance(node, ast.Name)}
    defined = [name for cell in cells for node in _tree_of(cell).body for name in _names_of(node)]
    needed = ", ".join(name for name in dict.fromkeys(defined) if name in used)
    lines = [f"# Yours to write. The cells below need: {needed}", *_raise(exercise.not_done)]
    _rewrite(cells[0], "\n".join(lines))
    notebook.cells = [cell for cell in notebook.cells if cell not in cells[1:]]


def _tree_of(cell: Any) -> ast.Module:
    return ast.parse(python_of(cell))


def _learners_notebook(text: str) -> str:
    """Return the notebook without outputs and without the cells that need what learners do not get."""
    notebook = parse_with_nbformat(text)
    notebook.cells = [cell for cell in notebook.cells if FINISHED not in tags_of(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _rewrite(cell, cell.source)
    return written(notebook)
