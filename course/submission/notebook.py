"""Notebooks as learners hand them in: not trusted to be notebooks until they have been read here.

`read_notebook` gives cells of which every field has the type it should have, so that whoever looks at them
later does not have to ask; or it says in one sentence what is wrong with the file. Only the standard library
is needed for that.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

MEGABYTE = 2**20
MAX_SIZES = {
    ".ipynb": 30 * MEGABYTE,
    ".py": MEGABYTE,
}  # those of the assignment: 1 MB with figures, and 20 KB
MAX_CODE = MEGABYTE  # in all cells of a notebook
CELL_TYPES = ("code", "markdown", "raw")


class UnreadableError(Exception):
    """A file cannot be what it should be; the text says why, in words for the learner."""


@dataclass
class Cell:
    """A cell of a notebook; `outputs` are dictionaries as in the file, their texts joined to strings."""

    cell_type: str
    source: str
    metadata: dict
    execution_count: int | None = None
    outputs: list = field(default_factory=list)
    attachments: dict = field(default_factory=dict)


@dataclass
class Notebook:
    """A notebook: its cells."""

    cells: list


def read_bytes(folder, name):
    """What is in a file of the submission, which must be an ordinary file within the folder."""
    folder, path = Path(folder).resolve(), Path(folder, name)
    if not path.exists():
        raise UnreadableError("is missing")
    if not path.resolve().is_relative_to(folder):
        raise UnreadableError("leads to a file outside of the folder; put the file itself there")
    if not path.is_file():
        raise UnreadableError("is not a file")
    size, most = path.stat().st_size, MAX_SIZES[path.suffix]
    if size > most:
        raise UnreadableError(
            f"has {size / MEGABYTE:.1f} MB, and {most // MEGABYTE} is the most; take out what is not needed"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror}") from error


def read_notebook(folder, name):
    """The notebook in a file of the submission; UnreadableError tells why it is none."""
    return parse_notebook(read_bytes(folder, name))


def parse_notebook(text):
    """The notebook in the text, or the bytes, of a file; UnreadableError tells why it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: neither JSON nor Unicode, or a giant number
        raise UnreadableError(f"is damaged, since it is not JSON: {_first_line(error)}") from error
    if not isinstance(document, dict) or "nbformat" not in document:
        raise UnreadableError("is not a notebook, since it does not tell its nbformat")
    if document["nbformat"] != 4:
        found = str(document["nbformat"])[:20]
        raise UnreadableError(f"has notebook format {found}, not 4; open it in Jupyter and save it again")
    cells = document.get("cells")
    if not isinstance(cells, list):
        raise UnreadableError("is damaged, since it has no list of cells")
    notebook = Notebook([_cell(cell, number) for number, cell in enumerate(cells, start=1)])
    if sum(len(cell.source) for cell in notebook.cells if cell.cell_type == "code") > MAX_CODE:
        raise UnreadableError(f"has more than {MAX_CODE // MEGABYTE} MB of code, which nobody writes by hand")
    return notebook


def _first_line(error):
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__


def _cell(cell, number):
    def part(owner, key, kinds, default):
        value = owner.get(key, default)
        if not isinstance(value, kinds):
            raise UnreadableError(f"is damaged: {key} of cell {number} is a {type(value).__name__}")
        return value

    if not isinstance(cell, dict) or cell.get("cell_type") not in CELL_TYPES:
        raise UnreadableError(f"is damaged: cell {number} is neither code nor text")
    source = _joined(cell.get("source"))
    if source is None:
        raise UnreadableError(f"is damaged: cell {number} has no source")
    return Cell(
        cell["cell_type"],
        source,
        part(cell, "metadata", dict, {}),
        part(cell, "execution_count", (int, type(None)), None),
        [_output(output, number) for output in part(cell, "outputs", list, [])],
        {name: data for name, data in part(cell, "attachments", dict, {}).items() if isinstance(data, dict)},
    )


def _output(output, number):
    """An output with the fields of its kind as texts; what has another form is left out."""
    if not isinstance(output, dict):
        raise UnreadableError(f"is damaged: an output of cell {number} is a {type(output).__name__}")
    kind = output.get("output_type")
    clean = {"output_type": kind if isinstance(kind, str) else "unknown"}
    if kind == "stream":
        return clean | {"name": str(output.get("name", "")), "text": _joined(output.get("text")) or ""}
    if kind == "error":
        lines = output.get("traceback")
        texts = [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
        names = {key: _joined(output.get(key)) or "" for key in ("ename", "evalue")}
        return clean | names | {"traceback": [_joined(text) for text in texts]}
    data = output.get("data")
    texts = {key: _joined(value) for key, value in data.items()} if isinstance(data, dict) else {}
    return clean | {"data": {key: text for key, text in texts.items() if text is not None}}


def _joined(text):
    """A text of the file format, a string or a list of strings, as one string; else None."""
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        text = "".join(text)
    if not isinstance(text, str):
        return None
    return text.encode("utf-8", "replace").decode("utf-8")  # JSON may hold halves of characters
