"""Notebooks as documents: lists of Pandoc's blocks, in which nothing is left that could reach out.

Learners' Markdown comes here as Pandoc has read it. Raw HTML and TeX become text or formulas, attributes go
(some of them are code to Typst), and so does every image that is not in the notebook itself. What remains
can neither read a file nor fetch anything, whichever program makes a PDF of it.
"""

import base64
import binascii
import html
import io
import re
import warnings

from PIL import Image, UnidentifiedImageError

WIDTH = 110  # characters of a line; longer ones go on below
MAX_LINES = 60  # of one output; of a longer one the first and last lines are shown
LAST_LINES = 15
LONGEST_WORD = 40  # letters that may stand together where lines are as narrow as in a table
PIXELS_PER_INCH = 110
PAGE_WIDTH, PAGE_HEIGHT = 6.9, 8  # inches, that a picture may take
MAX_DEPTH = 30  # of quotes and lists in one another
TABLE_WIDTH = 90  # letters of a table's line, from which on its columns share the page
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
FORMULA = re.compile(
    r"\s*(\\begin\{(align|aligned|equation|gather|multline|eqnarray)(\*?)\}.*\\end\{\2\3\})\s*", re.S
)
PICTURES = {"image/png": "png", "image/jpeg": "jpg"}
PLAIN = ["", [], []]  # Pandoc's attributes: identifier, classes, and pairs of names and values
LANGUAGES = {"python", "sh", "bash"}
BREAK_HERE = "\u200b"


class Pictures:
    """The pictures of a notebook, which are written into a folder as they are met."""

    def __init__(self, folder, name):
        self.folder, self.name, self.count = folder, name, 0

    def add(self, kind, data):
        """Write a picture given in base64 and return Pandoc's element for it; None if it cannot be shown."""
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


def blocks(notebook, texts, pictures):
    """All of a notebook in order.

    - texts: for every cell with Markdown in it, the blocks that Pandoc reads in it
    - pictures: the `Pictures` of this notebook
    """
    texts, found = iter(texts), []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found += _text(cell, next(texts), pictures)
        elif cell.cell_type == "code" and (cell.source.strip() or cell.outputs):
            found += _code(cell, pictures)
    return found


def with_typed_formulas(value):
    """Blocks, or a part of some, with formulas as they were typed, where one of them cannot be typeset."""
    if isinstance(value, list):
        return [with_typed_formulas(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value["t"] == "Math":
        return {"t": "Code", "c": [PLAIN, _breakable(value["c"][1].strip())]}
    return {key: with_typed_formulas(part) for key, part in value.items()}


def verbatim(notebook, pictures):
    """A notebook's blocks with all Markdown as it was typed, where its quotes and lists are a maze."""
    texts = [[_code_block(cell.source)] for cell in notebook.cells if cell.cell_type == "markdown"]
    return blocks(notebook, texts, pictures)


def _text(cell, parsed, pictures):
    try:
        return Cleaner(cell.attachments, pictures).clean(parsed)
    except RecursionError:
        return [_code_block(cell.source)]


def _code(cell, pictures):
    code = [*_label(cell.execution_count), _code_block(cell.source, "python")]
    found = code if cell.source.strip() else []
    for output in merged(cell.outputs):
        found += _output(output, pictures)
    return found


def merged(outputs):
    """Outputs, those that follow each other on one stream as one: a progress bar may come in many pieces."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            merged[-1] = last | {"text": last["text"] + output["text"]}
        else:
            merged.append(output)
    return merged


def _output(output, pictures):
    if output["output_type"] == "stream":
        text = output["text"]
    elif output["output_type"] == "error":
        text = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
    else:
        for kind in PICTURES:
            picture = pictures.add(kind, output["data"][kind]) if kind in output["data"] else None
            if picture:
                return [_paragraph(picture)]
        text = output["data"].get("text/plain", "")
    text = shortened(text)
    return [_code_block(text, "text")] if text else []


def shortened(text):
    """What is shown of a text that a cell printed."""
    return trimmed(settled(text))


def settled(text):
    """Text as a terminal would have left it: of a progress bar the last state, and no colours."""
    lines = [_last_state(line) for line in ANSI.sub("", text).replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).strip("\n")


def _last_state(line):
    states = [state for state in line.split("\r") if state.strip()]
    return states[-1].rstrip() if states else ""


def trimmed(text):
    """Text of at most MAX_LINES lines, in place of a longer one its beginning and its end."""
    lines = wrapped(text).split("\n")
    if len(lines) <= MAX_LINES:
        return "\n".join(lines)
    first = MAX_LINES - LAST_LINES
    note = f"[... {len(lines) - MAX_LINES} more lines, which are in the notebook ...]"
    return "\n".join([*lines[:first], note, *lines[-LAST_LINES:]])


def wrapped(text):
    """Text without control characters in lines of at most WIDTH characters."""
    lines = CONTROL.sub("", text.expandtabs(4)).split("\n")
    return "\n".join(line[i : i + WIDTH] for line in lines for i in range(0, max(len(line), 1), WIDTH))


class Cleaner:
    """Takes out of a cell's text, as Pandoc has read it, what is not text, formula or picture of the cell."""

    def __init__(self, attachments, pictures):
        self.attachments, self.pictures = attachments, pictures

    def clean(self, value, depth=0):
        """A list of Pandoc's elements, or what is in one of them, without what cannot stay."""
        if isinstance(value, list):
            if _is_attributes(value):
                return PLAIN
            return [new for item in value for new in self._replaced(item, depth)]
        return value

    def _replaced(self, item, depth):
        if not isinstance(item, dict) or "t" not in item:
            return [self.clean(item, depth)]
        if depth > MAX_DEPTH:
            raise RecursionError
        replace = getattr(self, f"_{item['t'].lower()}", None)
        if replace:
            return replace(item["c"], depth + 1)
        return [{**item, "c": self.clean(item["c"], depth + 1)}] if "c" in item else [item]

    def _rawblock(self, content, depth):
        kind, text = content
        inlines = self._rawinline(content, depth)
        if kind == "html":  # a whole element stands in a block: its text is what somebody wrote
            text = html.unescape(re.sub(r"<!--.*?-->|<[^>]*>", " ", text, flags=re.S))
            inlines = [_string(text)] if text.strip() else []
        return [_paragraph(*inlines)] if inlines else []

    def _rawinline(self, content, depth):
        kind, text = content
        if kind == "html":
            return [{"t": "LineBreak"}] if re.fullmatch(r"<br\s*/?>", text) else []
        formula = FORMULA.fullmatch(text)
        if formula:
            return [{"t": "Math", "c": [{"t": "DisplayMath"}, formula[1]]}]
        return [_string(text)]

    def _image(self, content, depth):
        picture = self._picture(content[2][0])
        return [picture] if picture else [_string(f"[picture left out: {content[2][0][:200]}]")]

    def _picture(self, address):
        """A picture that is in the notebook itself, attached or spelled out; None for others."""
        embedded = re.fullmatch(r"data:(image/\w+);base64,(.*)", address, re.S)
        data = {embedded[1]: embedded[2]} if embedded else self.attachments.get(address.split(":", 1)[-1], {})
        for kind in PICTURES:
            if isinstance(data.get(kind), str):
                return self.pictures.add(kind, data[kind])
        return None

    def _figure(self, content, depth):
        return self.clean(content[2], depth)

    def _div(self, content, depth):
        return self.clean(content[1], depth)

    def _span(self, content, depth):
        return self.clean(content[1], depth)

    def _cite(self, content, depth):
        return self.clean(content[1], depth)

    def _link(self, content, depth):
        inlines, (address, _) = self.clean(content[1], depth), content[2]
        if not re.match("https?://|mailto:", address):
            return inlines
        return [{"t": "Link", "c": [PLAIN, inlines, [address, ""]]}]

    def _header(self, content, depth):
        return [{"t": "Header", "c": [content[0], PLAIN, self.clean(content[2], depth)]}]

    def _str(self, content, depth):
        return [_string(content)]

    def _math(self, content, depth):
        return [{"t": "Math", "c": [content[0], CONTROL.sub("", content[1])]}]

    def _code(self, content, depth):
        return [{"t": "Code", "c": [PLAIN, _breakable(CONTROL.sub("", content[1]))]}]

    def _codeblock(self, content, depth):
        classes = content[0][1]
        return [_code_block(content[1], *(classes[:1] if set(classes) <= LANGUAGES else ()))]

    def _table(self, content, depth):
        attributes, caption, columns, *rows = (self.clean(part, depth) for part in content)
        return [{"t": "Table", "c": [attributes, caption, _fitted(columns, rows), *rows]}]


def _is_attributes(value):
    return (
        len(value) == 3
        and isinstance(value[0], str)
        and isinstance(value[1], list)
        and isinstance(value[2], list)
        and all(isinstance(part, str) for part in value[1])
        and all(isinstance(pair, list) and len(pair) == 2 for pair in value[2])
    )


def _fitted(columns, rows):
    """The columns of a table: as wide as what is in them where that fits, else in proportion to it."""
    longest = [1] * len(columns)
    for row in _table_rows(rows):
        for i, cell in enumerate(row[1][: len(columns)]):
            longest[i] = max(longest[i], _length(cell[4]))
    if sum(longest) <= TABLE_WIDTH:
        return [[alignment, {"t": "ColWidthDefault"}] for alignment, _ in columns]
    shares = [min(max(length, 8), TABLE_WIDTH) for length in longest]
    return [
        [alignment, {"t": "ColWidth", "c": share / sum(shares)}]
        for (alignment, _), share in zip(columns, shares, strict=True)
    ]


def _table_rows(parts):
    """All rows of a table: of its head, of its bodies and of its foot."""
    head, bodies, foot = parts
    return [*head[1], *(row for body in bodies for some in body[2:] for row in some), *foot[1]]


def _length(value):
    """How many letters there are in some of Pandoc's elements."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_length(item) for item in value)
    if not isinstance(value, dict):
        return 0
    return _length(value["c"]) if "c" in value else int(value["t"] in ("Space", "SoftBreak"))


def _label(count):
    """The number of a code cell, small above it, for every program that makes pages."""
    number = " " if count is None else count
    forms = {
        "typst": f"#cell-label[In \\[{number}\\]]",
        "html": f'<p class="number">In [{number}]</p>',
        "latex": rf"\par\noindent{{\scriptsize\texttt{{In [{number}]}}}}\nopagebreak",
    }
    return [{"t": "RawBlock", "c": [form, text]} for form, text in forms.items()]


def _paragraph(*inlines):
    return {"t": "Para", "c": list(inlines)}


def _string(text):
    return {"t": "Str", "c": _breakable(CONTROL.sub("", text))}


def _breakable(text):
    """Text in which a line may end within a word that is longer than any should be."""
    return re.sub(rf"\S{{{LONGEST_WORD}}}(?=\S)", rf"\g<0>{BREAK_HERE}", text)


def _width(width, height):
    """How many inches wide a picture of so many pixels is shown, so that it fits on a page."""
    return min(width / PIXELS_PER_INCH, PAGE_WIDTH, PAGE_HEIGHT * width / height)


def _code_block(text, *classes):
    return {"t": "CodeBlock", "c": [["", list(classes), []], wrapped(text)]}
