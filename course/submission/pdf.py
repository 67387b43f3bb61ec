"""Make the PDF of a submission: all notebooks in order, with figures and formulas.

Pandoc and Typst, both installed by pip, make it. If they are missing, an installed browser does, or TeX; if
there is neither, one page of HTML replaces the PDF. Every way starts from the same document, see
`course.submission.document`, and every program runs with a time limit.
"""

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.rubric import TASK
from course.submission import document
from course.submission.document import Element
from course.submission.notebook import Cell, Notebook, Output
from course.submission.source import tags_of
from cs231n.files import written_whole

SECONDS = 60  # the time limit of one program
HERE = Path(__file__).parent
INSTALL = 'pip install ".[submission]"'
READ_OPTIONS = ("-f", "ipynb+raw_tex+markdown_in_html_blocks", "-t", "json", "--sandbox")
TYPST = "import sys, typst; typst.compile(sys.argv[1], output=sys.argv[2], root=sys.argv[3])"
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
MATHJAX = "cdnjs.cloudflare.com"  # nbconvert's pages load from here what typesets their formulas
WRAP_LINES = "<style>pre { white-space: pre-wrap !important; overflow-wrap: anywhere }</style>"
TEX_READS_ONLY_HERE = {"openin_any": "p", "openout_any": "p", "shell_escape": "f"}


class UnavailableError(Exception):
    """One way to make the PDF does not work here; the text says why."""


@dataclass(frozen=True)
class Document:
    """What one way made.

    - content: of the file
    - ending: "pdf" or "html"
    - how: how it was made, in words
    """

    content: bytes
    ending: str
    how: str


@dataclass(frozen=True)
class PdfResult:
    """What became of the PDF.

    - path: of the file that was written, None if no way works here
    - how: how it was made, in words; "" if it was not
    - skipped: why each way that was tried before does not work here
    """

    path: Path | None
    how: str
    skipped: list[str]


@dataclass(frozen=True)
class NotebookPdf:
    """The PDF of one notebook, and what it lacks, in words; "" if it lacks nothing."""

    path: Path
    shortcoming: str


def make_pdf(notebooks: Mapping[str, Notebook], folder: str | Path) -> PdfResult:
    """Write a2.pdf, or else a2.html, into a folder, in the first way that works.

    Cells that ask for an exercise are left out: a reader wants what the learner wrote.

    - notebooks: {file name: notebook}, in order
    """
    notebooks = {name: _without_tasks(notebook) for name, notebook in notebooks.items()}
    skipped: list[str] = []
    for way in WAYS:
        try:
            with tempfile.TemporaryDirectory() as work:
                made = way(notebooks, Path(work).resolve())
        except UnavailableError as error:
            skipped.append(str(error))
            continue
        path = Path(folder, f"a2.{made.ending}")
        with written_whole(path) as file:
            file.write(made.content)
        for other in {"pdf", "html"} - {made.ending}:
            path.with_suffix(f".{other}").unlink(missing_ok=True)  # it shows an earlier version
        return PdfResult(path, made.how, skipped)
    return PdfResult(None, "", skipped)


def _without_tasks(notebook: Notebook) -> Notebook:
    return Notebook([cell for cell in notebook.cells if TASK not in tags_of(cell)])


def by_typst(notebooks: Mapping[str, Notebook], work: Path) -> Document:
    """Typeset every notebook separately, so that one failure does not affect the others, and join them."""
    for package in ("typst", "pypdf"):
        if not importlib.util.find_spec(package):
            raise UnavailableError(f"Typst needs the package {package}, which is not installed ({INSTALL})")
    pandoc = _pandoc()
    pdfs = {
        Path(name).stem: _typeset_somehow(pandoc, notebook, name, work)
        for name, notebook in notebooks.items()
    }
    content = _joined({name: pdf.path for name, pdf in pdfs.items()})
    shortcomings = [pdf.shortcoming for pdf in pdfs.values() if pdf.shortcoming]
    pages = _page_count(content)
    how = f"{pages} page{'' if pages == 1 else 's'}, by Pandoc and Typst"
    return Document(content, "pdf", "; ".join([how, *shortcomings]))


def by_browser(notebooks: Mapping[str, Notebook], work: Path) -> Document:
    """Make one page of HTML and print it with a browser."""
    browser = _first_installed(BROWSERS)
    if not browser:
        raise UnavailableError("no browser (Chromium, Chrome or Edge) is installed")
    page = as_html(notebooks, work)
    command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer", "--no-first-run"]
    command += [f"--user-data-dir={work / 'profile'}", "--virtual-time-budget=20000"]
    command += [f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {MATHJAX}"]
    _run([*command, f"--print-to-pdf={work / 'a2.pdf'}", (work / "a2.html").as_uri()], work)
    return Document(_result(work / "a2.pdf", browser), "pdf", f"{page.how}, printed by {Path(browser).stem}")


def by_tex(notebooks: Mapping[str, Notebook], work: Path) -> Document:
    """Typeset all notebooks in one run of XeLaTeX, which may read only the files in the work folder."""
    pandoc, xelatex = _pandoc(), shutil.which("xelatex")
    if not xelatex:
        raise UnavailableError("TeX is not installed")
    options = ["-V", "geometry:margin=1.6cm", "-V", "papersize=a4", "--pdf-engine", xelatex]
    blocks = _all_blocks(pandoc, notebooks, work)
    _write(pandoc, blocks, ["-s", *options, "-o", "a2.pdf"], work, TEX_READS_ONLY_HERE)
    return Document(_result(work / "a2.pdf", "xelatex"), "pdf", "by Pandoc and TeX")


def as_html(notebooks: Mapping[str, Notebook], work: Path) -> Document:
    """Make one page of HTML that embeds everything: by Pandoc, else by nbconvert, which Jupyter installs."""
    page = work / "a2.html"
    try:
        pandoc = _pandoc()
    except UnavailableError:
        _by_nbconvert(notebooks, work)
        how = "HTML by nbconvert (its formulas need a network connection)"
        return Document(page.read_bytes(), "html", how)
    options = ["-s", "--mathml", "--embed-resources", "--css", str(HERE / "layout.css"), "-o", page.name]
    blocks = _all_blocks(pandoc, notebooks, work)
    _write(pandoc, blocks, [*options, "--metadata", "pagetitle=Assignment 2"], work)
    return Document(_result(page, "pandoc"), "html", "HTML by Pandoc")


WAYS: tuple[Callable[[Mapping[str, Notebook], Path], Document], ...] = (by_typst, by_browser, by_tex, as_html)


def _pandoc() -> str:
    """Return the path of Pandoc: that of the package pypandoc_binary, or one that is installed."""
    package = importlib.util.find_spec("pypandoc")
    inside = str(Path(package.origin).parent / "files") if package and package.origin else ""
    found = shutil.which("pandoc", path=inside) or shutil.which("pandoc")
    if not found:
        raise UnavailableError(
            f"Pandoc needs the package pypandoc_binary, which is not installed ({INSTALL})"
        )
    return found


def _first_installed(programs: Sequence[str]) -> str | None:
    """Return the path of the first of these programs that is installed."""
    return next(filter(None, map(shutil.which, programs)), None)


def _run(
    command: Sequence[str], work: Path, text: str = "", settings: Mapping[str, str] | None = None
) -> str:
    """Run a program in the work folder and return what it prints.

    Raise UnavailableError if it fails or takes too long.
    """
    program = Path(command[0]).stem
    try:
        done = subprocess.run(
            command,
            input=text.encode(),
            capture_output=True,
            cwd=work,
            env={**os.environ, **(settings or {})},
            timeout=SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1][:200] if lines else f"exit status {error.returncode}"
        raise UnavailableError(f"{program} failed: {reason}") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{program} was stopped after {SECONDS} seconds") from error
    except OSError as error:
        raise UnavailableError(f"{program} cannot be started: {error.strerror}") from error
    return done.stdout.decode(errors="replace")


def _result(path: Path, program: str) -> bytes:
    """Return the content of a file that a program was to make."""
    if not path.is_file():
        raise UnavailableError(f"{Path(program).stem} made no {path.name}")
    return path.read_bytes()


def _read(pandoc: str, notebook: Notebook, work: Path) -> list[list[Element]]:
    """Return the blocks that Pandoc reads in every Markdown cell.

    Pandoc gets each as a cell of its own, so that what one leaves open does not swallow the next.
    """
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": cell.source}
        for cell in notebook.cells
        if cell.cell_type == "markdown"
    ]
    text = json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells})
    try:
        divisions = json.loads(_run([pandoc, *READ_OPTIONS], work, text))["blocks"]
    except RecursionError as error:
        raise UnavailableError("pandoc found a text that is nested too deeply") from error
    return [division["c"][1] for division in divisions]


def _write(
    pandoc: str,
    blocks: list[Element],
    options: Sequence[str],
    work: Path,
    settings: Mapping[str, str] | None = None,
) -> str:
    """Have Pandoc write blocks in the format that the options name; return what it prints."""
    text = json.dumps({"pandoc-api-version": _api(pandoc, work), "meta": {}, "blocks": blocks})
    return _run([pandoc, "-f", "json", *options], work, text, settings)


def _api(pandoc: str, work: Path) -> Any:
    """Return the version of Pandoc's JSON format."""
    return json.loads(_run([pandoc, "-t", "json"], work))["pandoc-api-version"]


def _all_blocks(pandoc: str, notebooks: Mapping[str, Notebook], work: Path) -> list[Element]:
    """Return the blocks of all notebooks, each below its name."""
    found: list[Element] = []
    for name, notebook in notebooks.items():
        found.append({"t": "RawBlock", "c": ["html", f'<h1 class="file">{name}</h1>']})
        found += _blocks(pandoc, notebook, document.Pictures(work, Path(name).stem), work)
    return found


def _blocks(pandoc: str, notebook: Notebook, pictures: document.Pictures, work: Path) -> list[Element]:
    """Return the blocks of a notebook, with its Markdown as typed if Pandoc cannot read it."""
    try:
        return document.blocks(notebook, _read(pandoc, notebook, work), pictures)
    except UnavailableError:
        return document.verbatim(notebook, pictures)


def _typeset_somehow(pandoc: str, notebook: Notebook, name: str, work: Path) -> NotebookPdf:
    """Typeset a notebook: fully, or with formulas as typed, or with all of its text as typed."""
    pictures = document.Pictures(work, Path(name).stem)
    blocks = _blocks(pandoc, notebook, pictures, work)
    with contextlib.suppress(UnavailableError):
        return NotebookPdf(_typeset(pandoc, blocks, name, work), "")
    with contextlib.suppress(UnavailableError):
        pdf = _typeset(pandoc, document.with_typed_formulas(blocks), name, work)
        return NotebookPdf(pdf, f"{name} shows formulas as typed, because Typst cannot typeset one of them")
    pdf = _typeset(pandoc, document.verbatim(notebook, pictures), name, work)
    return NotebookPdf(pdf, f"{name} shows text as typed, because Typst cannot typeset all of it")


def _typeset(pandoc: str, blocks: list[Element], name: str, work: Path) -> Path:
    """Have Typst make the PDF of one notebook in a process of its own; return its path.

    Typst can see only the work folder, so nothing else can be read into the PDF.
    """
    source, pdf = work / f"{name}.typ", work / f"{name}.pdf"
    body = _write(pandoc, blocks, ["-t", "typst"], work)
    layout = (HERE / "layout.typ").read_text(encoding="utf-8")
    source.write_text(f"#let notebook = {json.dumps(name)}\n{layout}\n{body}", encoding="utf-8")
    _run([sys.executable, "-c", TYPST, str(source), str(pdf), str(work)], work)
    return pdf


def _joined(pdfs: Mapping[str, Path]) -> bytes:
    """Return one PDF of several; its outline names each of them."""
    pypdf = importlib.import_module("pypdf")
    with contextlib.closing(pypdf.PdfWriter()) as writer:
        for name, path in pdfs.items():
            writer.append(path, outline_item=name)
        stream = io.BytesIO()
        writer.write(stream)
        return stream.getvalue()


def _page_count(content: bytes) -> int:
    pypdf = importlib.import_module("pypdf")
    return len(pypdf.PdfReader(io.BytesIO(content)).pages)


def _by_nbconvert(notebooks: Mapping[str, Notebook], work: Path) -> None:
    """Have nbconvert write a2.html, without the notebooks' own HTML and without pictures from elsewhere."""
    if not importlib.util.find_spec("nbconvert"):
        raise UnavailableError(f"neither Pandoc nor nbconvert is installed, to make HTML ({INSTALL})")
    cells = [_disarmed(cell) for notebook in notebooks.values() for cell in notebook.cells]
    merged = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}
    (work / "a2.ipynb").write_text(json.dumps(merged), encoding="utf-8")
    _run([sys.executable, "-m", "nbconvert", "--to", "html", "a2.ipynb"], work)
    page = work / "a2.html"
    text = _result(page, "nbconvert").decode(errors="replace")
    text = re.sub(r'(<img\b[^>]*?\bsrc=")(?!data:)[^"]*', r"\1", text)
    page.write_text(text.replace("</head>", f"{WRAP_LINES}</head>", 1), encoding="utf-8")


def _disarmed(cell: Cell) -> dict[str, Any]:
    """Return a cell for nbconvert in which no HTML tag works; its outputs show only texts and pictures."""
    common = {"cell_type": cell.cell_type, "source": cell.source, "metadata": {}}
    if cell.cell_type != "code":
        source = re.sub(r"<(?=[a-zA-Z/!?])", f"<{document.BREAK_HERE}", cell.source)
        return common | {"source": source.replace("attachment:", "attached:")}  # would stop nbconvert
    outputs = [_shown(output) for output in document.merged(cell.outputs)]
    return common | {"execution_count": cell.execution_count, "outputs": outputs}


def _shown(output: Output) -> Output:
    """Return an output for nbconvert."""
    if output["output_type"] == "stream":
        return output | {"text": document.shortened(output["text"]) + "\n"}
    if output["output_type"] == "error":
        return output
    kinds = (*document.PICTURES, "text/plain")
    shown = {kind: output["data"][kind] for kind in kinds if kind in output["data"]}
    return {"output_type": "display_data", "data": shown, "metadata": {}}
