"""Read notebooks as learners hand them in, without trusting that they are notebooks.

`read_notebook` returns cells in which every field has the type it should have, so later code need not check;
or it says in one sentence what is wrong with the file. It needs only the standard library.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Output = dict[str, Any]  # as in the notebook format, with every text joined to one string

MEGABYTE = 2**20
# Ours are 1 MB (a notebook with figures) and 20 KB.
MAX_SIZES = {".ipynb": 30 * MEGABYTE, ".py": MEGABYTE}
MAX_CODE = MEGABYTE  # in all cells of a notebook
CELL_TYPES = ("code", "markdown", "raw")


class UnreadableError(Exception):
    """A file is not what it should be; the text continues a sentence that begins with the file's name."""


@dataclass
class Cell:
    """A cell of a notebook."""

    cell_type: str
    source: str
    metadata: dict[str, Any]
    execution_count: int | None = None
    outputs: list[Output] = field(default_factory=list)
    attachments: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Notebook:
    """A notebook, as a list of its cells."""

    cells: list[Cell]


def read_bytes(folder: str | Path, name: str) -> bytes:
    """Return the content of a file of the submission, which must be an ordinary file inside the folder."""
    folder, path = Path(folder).resolve(), Path(folder, name)
    if not path.exists():
        raise UnreadableError("is missing")
    if not path.resolve().is_relative_to(folder):
        raise UnreadableError("links to a file outside the folder; put the file itself there")
    if not path.is_file():
        raise UnreadableError("is not a file")
    size, limit = path.stat().st_size, MAX_SIZES[path.suffix]
    if size > limit:
        raise UnreadableError(
            f"has {size / MEGABYTE:.1f} MB; the limit is {limit // MEGABYTE} MB: remove what is not needed"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror}") from error


def read_notebook(folder: str | Path, name: str) -> Notebook:
    """Return the notebook in a file of the submission; raise UnreadableError if it is not a notebook."""
    return parse_notebook(read_bytes(folder, name))


def parse_notebook(text: str | bytes) -> Notebook:
    """Return the notebook in the content of a file; raise UnreadableError if it is not a notebook.

    >>> notebook = '{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["x =", " 1"]}]}'
    >>> parse_notebook(notebook).cells[0].source
    'x = 1'
    """
    cells = _cells_in(_parse_json(text))
    notebook = Notebook([_cell(cell, number) for number, cell in enumerate(cells, start=1)])
    if sum(len(cell.source) for cell in notebook.cells if cell.cell_type == "code") > MAX_CODE:
        raise UnreadableError(
            f"has more than {MAX_CODE // MEGABYTE} MB of code: remove what does not belong to the assignment"
        )
    return notebook


def _parse_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: neither JSON nor Unicode, or a giant number
        raise UnreadableError(f"is damaged; it is not JSON: {_first_line(error)}") from error


def _cells_in(document: Any) -> list[Any]:
    """Return the cells of a notebook as they are in the file."""
    if not isinstance(document, dict) or "nbformat" not in document:
        raise UnreadableError("is not a notebook: it has no nbformat")
    if document["nbformat"] != 4:
        found = str(document["nbformat"])[:20]
        raise UnreadableError(f"has notebook format {found}, not 4; open it in Jupyter and save it again")
    cells = document.get("cells")
    if not isinstance(cells, list):
        raise UnreadableError("is damaged: it has no list of cells")
    return cells


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__


def _cell(cell: Any, number: int) -> Cell:
    if not isinstance(cell, dict) or cell.get("cell_type") not in CELL_TYPES:
        raise UnreadableError(f"is damaged: cell {number} is neither code nor text")
    source = _joined(cell.get("source"))
    if source is None:
        raise UnreadableError(f"is damaged: cell {number} has no source")
    attachments = _field(cell, number, "attachments", dict, {})
    return Cell(
        cell_type=cell["cell_type"],
        source=source,
        metadata=_field(cell, number, "metadata", dict, {}),
        execution_count=_field(cell, number, "execution_count", (int, type(None)), None),
        outputs=[_output(output, number) for output in _field(cell, number, "outputs", list, [])],
        attachments={name: data for name, data in attachments.items() if isinstance(data, dict)},
    )


def _field(cell: dict[str, Any], number: int, key: str, types: type | tuple[type, ...], default: Any) -> Any:
    """Return a field of a cell, or a default if it is missing; raise UnreadableError for a wrong type."""
    value = cell.get(key, default)
    if not isinstance(value, types):
        raise UnreadableError(f"is damaged: {key} of cell {number} is a {type(value).__name__}")
    return value


def _output(output: Any, number: int) -> Output:
    """Return an output with the fields of its kind as texts; fields of any other form are dropped."""
    if not isinstance(output, dict):
        raise UnreadableError(f"is damaged: an output of cell {number} is a {type(output).__name__}")
    kind = output.get("output_type")
    clean = {"output_type": kind if isinstance(kind, str) else "unknown"}
    if kind == "stream":
        return clean | {"name": str(output.get("name", "")), "text": _joined(output.get("text")) or ""}
    if kind == "error":
        names = {key: _joined(output.get(key)) or "" for key in ("ename", "evalue")}
        return clean | names | {"traceback": _traceback(output.get("traceback"))}
    return clean | {"data": _data(output.get("data"))}


def _traceback(lines: Any) -> list[str]:
    if not isinstance(lines, list):
        return []
    return [_without_half_characters(line) for line in lines if isinstance(line, str)]


def _data(data: Any) -> dict[str, str]:
    """Return the forms of an output, such as image/png, that are texts."""
    if not isinstance(data, dict):
        return {}
    texts = {key: _joined(value) for key, value in data.items()}
    return {key: text for key, text in texts.items() if text is not None}


def _joined(text: Any) -> str | None:
    """Return a text of the notebook format, a string or a list of strings, as one string; else None."""
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        text = "".join(text)
    return _without_half_characters(text) if isinstance(text, str) else None


def _without_half_characters(text: str) -> str:
    """Return a text with "?" in place of lone surrogates, which JSON may contain."""
    return text.encode("utf-8", "replace").decode("utf-8")
