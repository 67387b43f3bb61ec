"""Turn notebooks into documents: lists of Pandoc's blocks that cannot read a file or fetch anything.

Learners' Markdown comes here as Pandoc has read it. Raw HTML and TeX become text or formulas. Attributes are
removed (Typst runs some of them as code), and so is every image that is not in the notebook itself. The rest
is harmless, whichever program makes a PDF of it.
"""

import base64
import binascii
import html
import io
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from course.submission.notebook import Cell, Notebook, Output

Element = dict[str, Any]  # a block or inline of Pandoc: {"t": its type, "c": its content}
Replace = Callable[[Any, int], list[Any]]  # a method of `Cleaner`

WIDTH = 110  # characters of a line; longer lines are wrapped
MAX_LINES = 60  # of one output; a longer output shows its first and last lines only
LAST_LINES = 15
LONGEST_WORD = 40  # letters; a longer word may be broken, as the columns of a table are narrow
PIXELS_PER_INCH = 110
PAGE_WIDTH, PAGE_HEIGHT = 6.9, 8  # the inches that a picture may take
MAX_DEPTH = 30  # of nested quotes and lists
TABLE_WIDTH = 90  # letters in a line; the columns of a wider table share the width of the page
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
FORMULA = re.compile(
    r"\s*(\\begin\{(align|aligned|equation|gather|multline|eqnarray)(\*?)\}.*\\end\{\2\3\})\s*", re.S
)
PICTURES = {"image/png": "png", "image/jpeg": "jpg"}
PLAIN: list[Any] = ["", [], []]  # Pandoc's attributes: identifier, classes, and pairs of names and values
LANGUAGES = {"python", "sh", "bash"}
BREAK_HERE = "\u200b"


class Pictures:
    """The pictures of a notebook, which are written into a folder one by one."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.count = 0

    def add(self, kind: str, data: str) -> Element | None:
        """Write a picture given in base64; return Pandoc's element for it, or None if it cannot be shown."""
        try:
            content = base64.b64decode("".join(data.split()), validate=True)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Pillow warns of pictures that are huge once unpacked
                with Image.open(io.BytesIO(content), formats=["PNG", "JPEG"]) as picture:
                    picture.load()
                    inches = _width(*picture.size)
        except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError, ValueError, Warning):
            return None
        except Image.DecompressionBombError:
            return None
        self.count += 1
        path = self.folder / f"{self.name}-{self.count}.{PICTURES[kind]}"
        path.write_bytes(content)
        return {"t": "Image", "c": [["", [], [["width", f"{inches:.2f}in"]]], [], [path.name, ""]]}


def blocks(notebook: Notebook, texts: Iterable[list[Element]], pictures: Pictures) -> list[Element]:
    """Return the blocks of all cells of a notebook, in order.

    - texts: for every Markdown cell, the blocks that Pandoc reads in it
    """
    texts = iter(texts)
    found: list[Element] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found += _text(cell, next(texts), pictures)
        elif cell.cell_type == "code" and (cell.source.strip() or cell.outputs):
            found += _code(cell, pictures)
    return found


def with_typed_formulas(value: Any) -> Any:
    """Return blocks, or a part of them, with all formulas as they were typed."""
    if isinstance(value, list):
        return [with_typed_formulas(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value["t"] == "Math":
        return {"t": "Code", "c": [PLAIN, _breakable(value["c"][1].strip())]}
    return {key: with_typed_formulas(part) for key, part in value.items()}


def verbatim(notebook: Notebook, pictures: Pictures) -> list[Element]:
    """Return the blocks of a notebook with all Markdown as it was typed."""
    texts = [[_code_block(cell.source)] for cell in notebook.cells if cell.cell_type == "markdown"]
    return blocks(notebook, texts, pictures)


def _text(cell: Cell, parsed: list[Element], pictures: Pictures) -> list[Element]:
    """Return the blocks of a Markdown cell, with the Markdown as typed if it is nested too deeply."""
    try:
        return Cleaner(cell.attachments, pictures).clean_all(parsed, 0)
    except RecursionError:
        return [_code_block(cell.source)]


def _code(cell: Cell, pictures: Pictures) -> list[Element]:
    code = [*_label(cell.execution_count), _code_block(cell.source, "python")]
    found = code if cell.source.strip() else []
    for output in merged(cell.outputs):
        found += _output(output, pictures)
    return found


def merged(outputs: Iterable[Output]) -> list[Output]:
    """Join successive outputs on the same stream into one: a progress bar may come in many pieces."""
    merged: list[Output] = []
    for output in outputs:
        last: Output = merged[-1] if merged else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            merged[-1] = last | {"text": last["text"] + output["text"]}
        else:
            merged.append(output)
    return merged


def _output(output: Output, pictures: Pictures) -> list[Element]:
    if output["output_type"] == "stream":
        text = output["text"]
    elif output["output_type"] == "error":
        text = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
    else:
        picture = _picture_in(output["data"], pictures)
        if picture:
            return [_paragraph(picture)]
        text = output["data"].get("text/plain", "")
    text = shortened(text)
    return [_code_block(text, "text")] if text else []


def _picture_in(data: dict[str, Any], pictures: Pictures) -> Element | None:
    """Return the first picture that can be shown among the forms of an output or attachment, else None."""
    for kind in PICTURES:
        picture = pictures.add(kind, data[kind]) if isinstance(data.get(kind), str) else None
        if picture:
            return picture
    return None


def shortened(text: str) -> str:
    """Return the part of a cell's printed text that is shown."""
    return trimmed(settled(text))


def settled(text: str) -> str:
    """Return text as a terminal would show it: a progress bar in its last state, and without colours.

    >>> settled("50%\\r100%\\ndone")
    '100%\\ndone'
    """
    lines = [_last_state(line) for line in ANSI.sub("", text).replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).strip("\n")


def _last_state(line: str) -> str:
    states = [state for state in line.split("\r") if state.strip()]
    return states[-1].rstrip() if states else ""


def trimmed(text: str) -> str:
    """Return at most MAX_LINES lines of a text: its beginning and its end if it is longer."""
    lines = wrapped(text).split("\n")
    if len(lines) <= MAX_LINES:
        return "\n".join(lines)
    first = MAX_LINES - LAST_LINES
    note = f"[... {len(lines) - MAX_LINES} more lines in the notebook ...]"
    return "\n".join([*lines[:first], note, *lines[-LAST_LINES:]])


def wrapped(text: str) -> str:
    """Return text in lines of at most WIDTH characters, without control characters."""
    lines = CONTROL.sub("", text.expandtabs(4)).split("\n")
    return "\n".join(line[i : i + WIDTH] for line in lines for i in range(0, max(len(line), 1), WIDTH))


class Cleaner:
    """Removes everything but text, formulas and the cell's own pictures from a cell, as Pandoc has read it.

    The method `_header` replaces Pandoc's elements of the type Header, and so on; it gets their content.
    """

    def __init__(self, attachments: dict[str, dict[str, Any]], pictures: Pictures) -> None:
        self.attachments = attachments
        self.pictures = pictures

    def clean(self, value: Any, depth: int = 0) -> Any:
        """Return elements, or the content of one, without anything that must not stay."""
        if isinstance(value, list):
            if _is_attributes(value):
                return PLAIN
            return self.clean_all(value, depth)
        return value

    def clean_all(self, elements: list[Any], depth: int) -> list[Any]:
        """Return a list of Pandoc's elements without anything that must not stay."""
        return [new for item in elements for new in self._replaced(item, depth)]

    def _replaced(self, item: Any, depth: int) -> list[Any]:
        if not isinstance(item, dict) or "t" not in item:
            return [self.clean(item, depth)]
        if depth > MAX_DEPTH:
            raise RecursionError
        replace: Replace | None = getattr(self, f"_{item['t'].lower()}", None)
        if replace:
            return replace(item["c"], depth + 1)
        return [{**item, "c": self.clean(item["c"], depth + 1)}] if "c" in item else [item]

    def _rawblock(self, content: Any, depth: int) -> list[Element]:
        kind, text = content
        inlines = self._rawinline(content, depth)
        if kind == "html":  # a block holds whole elements; keep the text between the tags
            text = html.unescape(re.sub(r"<!--.*?-->|<[^>]*>", " ", text, flags=re.S))
            inlines = [_string(text)] if text.strip() else []
        return [_paragraph(*inlines)] if inlines else []

    def _rawinline(self, content: Any, depth: int) -> list[Element]:
        kind, text = content
        if kind == "html":
            return [{"t": "LineBreak"}] if re.fullmatch(r"<br\s*/?>", text) else []
        formula = FORMULA.fullmatch(text)
        if formula:
            return [{"t": "Math", "c": [{"t": "DisplayMath"}, formula[1]]}]
        return [_string(text)]

    def _image(self, content: Any, depth: int) -> list[Element]:
        picture = self._picture(content[2][0])
        return [picture] if picture else [_string(f"[picture left out: {content[2][0][:200]}]")]

    def _picture(self, address: str) -> Element | None:
        """Return a picture that is in the notebook itself, attached or in base64; None for others."""
        embedded = re.fullmatch(r"data:(image/\w+);base64,(.*)", address, re.S)
        if embedded:
            return _picture_in({embedded[1]: embedded[2]}, self.pictures)
        return _picture_in(self.attachments.get(address.split(":", 1)[-1], {}), self.pictures)

    def _figure(self, content: Any, depth: int) -> list[Element]:
        return self.clean_all(content[2], depth)

    def _div(self, content: Any, depth: int) -> list[Element]:
        return self.clean_all(content[1], depth)

    def _span(self, content: Any, depth: int) -> list[Element]:
        return self.clean_all(content[1], depth)

    def _cite(self, content: Any, depth: int) -> list[Element]:
        return self.clean_all(content[1], depth)

    def _link(self, content: Any, depth: int) -> list[Element]:
        inlines = self.clean_all(content[1], depth)
        address, _title = content[2]
        if not re.match("https?://|mailto:", address):
            return inlines
        return [{"t": "Link", "c": [PLAIN, inlines, [address, ""]]}]

    def _header(self, content: Any, depth: int) -> list[Element]:
        return [{"t": "Header", "c": [content[0], PLAIN, self.clean(content[2], depth)]}]

    def _str(self, content: Any, depth: int) -> list[Element]:
        return [_string(content)]

    def _math(self, content: Any, depth: int) -> list[Element]:
        return [{"t": "Math", "c": [content[0], CONTROL.sub("", content[1])]}]

    def _code(self, content: Any, depth: int) -> list[Element]:
        return [{"t": "Code", "c": [PLAIN, _breakable(CONTROL.sub("", content[1]))]}]

    def _codeblock(self, content: Any, depth: int) -> list[Element]:
        classes = content[0][1]
        return [_code_block(content[1], *(classes[:1] if set(classes) <= LANGUAGES else ()))]

    def _table(self, content: Any, depth: int) -> list[Element]:
        attributes, caption, columns, head, bodies, foot = (self.clean(part, depth) for part in content)
        columns = _fitted(columns, _table_rows(head, bodies, foot))
        return [{"t": "Table", "c": [attributes, caption, columns, head, bodies, foot]}]


def _is_attributes(value: list[Any]) -> bool:
    """Tell whether a list has the form of Pandoc's attributes."""
    return (
        len(value) == 3
        and isinstance(value[0], str)
        and isinstance(value[1], list)
        and isinstance(value[2], list)
        and all(isinstance(part, str) for part in value[1])
        and all(isinstance(pair, list) and len(pair) == 2 for pair in value[2])
    )


def _fitted(columns: list[Any], rows: list[Any]) -> list[Any]:
    """Return the columns of a table: as wide as their content if that fits, else in proportion to it."""
    longest = [1] * len(columns)
    for row in rows:
        for i, cell in enumerate(row[1][: len(columns)]):
            longest[i] = max(longest[i], _length(cell[4]))
    if sum(longest) <= TABLE_WIDTH:
        return [[alignment, {"t": "ColWidthDefault"}] for alignment, _ in columns]
    shares = [min(max(length, 8), TABLE_WIDTH) for length in longest]
    return [
        [alignment, {"t": "ColWidth", "c": share / sum(shares)}]
        for (alignment, _), share in zip(columns, shares, strict=True)
    ]


def _table_rows(head: list[Any], bodies: list[Any], foot: list[Any]) -> list[Any]:
    """Return all rows of a table: of its head, of its bodies and of its foot."""
    body_rows = [row for body in bodies for rows in body[2:] for row in rows]
    return [*head[1], *body_rows, *foot[1]]


def _length(value: Any) -> int:
    """Count the letters in Pandoc's elements."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_length(item) for item in value)
    if not isinstance(value, dict):
        return 0
    return _length(value["c"]) if "c" in value else int(value["t"] in ("Space", "SoftBreak"))


def _label(count: int | None) -> list[Element]:
    """Return the number of a code cell, small above it, in every format of which a PDF can be made."""
    number = " " if count is None else count
    forms = {
        "typst": f"#cell-label[In \\[{number}\\]]",
        "html": f'<p class="number">In [{number}]</p>',
        "latex": rf"\par\noindent{{\scriptsize\texttt{{In [{number}]}}}}\nopagebreak",
    }
    return [{"t": "RawBlock", "c": [form, text]} for form, text in forms.items()]


def _paragraph(*inlines: Element) -> Element:
    return {"t": "Para", "c": list(inlines)}


def _string(text: str) -> Element:
    return {"t": "Str", "c": _breakable(CONTROL.sub("", text))}


def _breakable(text: str) -> str:
    """Return text in which a line may end inside any word that is too long for a line."""
    return re.sub(rf"\S{{{LONGEST_WORD}}}(?=\S)", rf"\g<0>{BREAK_HERE}", text)


def _width(width: int, height: int) -> float:
    """Return the inches of width at which a picture of these pixels is shown; it must fit on a page."""
    return min(width / PIXELS_PER_INCH, PAGE_WIDTH, PAGE_HEIGHT * width / height)


def _code_block(text: str, *classes: str) -> Element:
    return {"t": "CodeBlock", "c": [["", list(classes), []], wrapped(text)]}
