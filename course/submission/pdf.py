"""The PDF of a submission: all notebooks in order, with figures and formulas.

Pandoc and Typst, both installed by pip, make it. Where they are not there, an installed browser does, or TeX;
and where there is neither, one file of HTML takes the PDF's place. Every way starts from the same document,
see `course.submission.document`, and every program runs with a limit of time.
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
from pathlib import Path

from course.submission import document
from cs231n.files import written_whole

SECONDS = 60  # that a program may take
HERE = Path(__file__).parent
INSTALL = 'pip install ".[submission]"'
READ = ("-f", "ipynb+raw_tex+markdown_in_html_blocks", "-t", "json", "--sandbox")
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
MATHJAX = "cdnjs.cloudflare.com"  # where nbconvert's pages get the program that typesets formulas
LINES_DO_NOT_RUN_OFF = "<style>pre { white-space: pre-wrap !important; overflow-wrap: anywhere }</style>"
TEX_READS_ONLY_HERE = {"openin_any": "p", "openout_any": "p", "shell_escape": "f"}


class CannotError(Exception):
    """A way to the PDF that is barred here; the text says why."""


def make_pdf(notebooks, folder):
    """Write a2.pdf, or else a2.html, into a folder, by the first way that works.

    - notebooks: {file name: notebook}, in order
    - returns: the path, None where no way works, and what is to be told: how it was made, or why not
    """
    told = []
    for way, ending in WAYS:
        try:
            with tempfile.TemporaryDirectory() as work:
                content, how = way(notebooks, Path(work).resolve())
        except CannotError as error:
            told.append(str(error))
            continue
        path = Path(folder, f"a2.{ending}")
        with written_whole(path) as file:
            file.write(content)
        for other in {"pdf", "html"} - {ending}:
            path.with_suffix(f".{other}").unlink(missing_ok=True)  # of an earlier version of the notebooks
        return path, [*told, how]
    return None, told


def by_typst(notebooks, work):
    """Every notebook by itself, so that one that cannot be typeset costs no other, and then joined."""
    for package in ("typst", "pypdf"):
        if not importlib.util.find_spec(package):
            raise CannotError(f"Typst: the package {package} is not installed ({INSTALL})")
    pandoc, pdfs, told = _pandoc(), {}, []
    for name, notebook in notebooks.items():
        pdfs[Path(name).stem], shortcoming = _typeset_somehow(pandoc, notebook, name, work)
        told += [f"; {shortcoming}"] if shortcoming else []
    content, pages = _joined(pdfs)
    return content, f"{pages} pages, by Pandoc and Typst{''.join(told)}"


def by_browser(notebooks, work):
    """One page of HTML, printed."""
    browser = _found("a browser (Chromium, Chrome or Edge)", *BROWSERS)
    _, how = as_html(notebooks, work)
    command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer", "--no-first-run"]
    command += [f"--user-data-dir={work / 'profile'}", "--virtual-time-budget=20000"]
    command += [f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {MATHJAX}"]
    _run([*command, f"--print-to-pdf={work / 'a2.pdf'}", (work / "a2.html").as_uri()], work)
    return _result(work / "a2.pdf", browser), f"{how}, printed by {Path(browser).stem}"


def by_tex(notebooks, work):
    """All notebooks in one run of XeLaTeX, which may read no files but those in the work folder."""
    pandoc, xelatex = _pandoc(), _found("TeX", "xelatex")
    options = ["-V", "geometry:margin=1.6cm", "-V", "papersize=a4", "--pdf-engine", xelatex]
    blocks = _all_blocks(pandoc, notebooks, work)
    _write(pandoc, blocks, ["-s", *options, "-o", "a2.pdf"], work, TEX_READS_ONLY_HERE)
    return _result(work / "a2.pdf", "xelatex"), "by Pandoc and TeX"


def as_html(notebooks, work):
    """One page of HTML that holds everything: by Pandoc, else by nbconvert, which comes with Jupyter."""
    page = work / "a2.html"
    try:
        pandoc = _pandoc()
    except CannotError:
        _by_nbconvert(notebooks, work)
        return page.read_bytes(), "HTML by nbconvert (its formulas appear where there is a network)"
    options = ["-s", "--mathml", "--embed-resources", "--css", str(HERE / "layout.css"), "-o", page.name]
    blocks = _all_blocks(pandoc, notebooks, work)
    _write(pandoc, blocks, [*options, "--metadata", "pagetitle=Assignment 2"], work)
    return _result(page, "pandoc"), "HTML by Pandoc"


WAYS = ((by_typst, "pdf"), (by_browser, "pdf"), (by_tex, "pdf"), (as_html, "html"))


def _pandoc():
    """The program: the one in the package of pypandoc_binary, or one that is installed."""
    package = importlib.util.find_spec("pypandoc")
    within = str(Path(package.origin).parent / "files") if package else ""
    found = shutil.which("pandoc", path=within) or shutil.which("pandoc")
    if not found:
        raise CannotError(f"Pandoc: the package pypandoc_binary is not installed ({INSTALL})")
    return found


def _found(what, *programs):
    found = next(filter(None, map(shutil.which, programs)), None)
    if not found:
        raise CannotError(f"{what} is not installed")
    return found


def _run(command, work, text="", settings=None):
    """Run a program in the work folder and return what it prints; CannotError if it fails or is too slow."""
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
        raise CannotError(f"{program} failed: {lines[-1][:200] if lines else error.returncode}") from error
    except subprocess.TimeoutExpired as error:
        raise CannotError(f"{program} was stopped after {SECONDS} seconds") from error
    except OSError as error:
        raise CannotError(f"{program} cannot be started: {error.strerror}") from error
    return done.stdout.decode(errors="replace")


def _result(path, program):
    if not path.is_file():
        raise CannotError(f"{Path(program).stem} made no {path.name}")
    return path.read_bytes()


def _read(pandoc, notebook, work):
    """What Pandoc reads in the Markdown of every cell that has some: a list of lists of blocks.

    Each cell is read by itself, so that what one leaves open does not swallow the next.
    """
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": cell.source}
        for cell in notebook.cells
        if cell.cell_type == "markdown"
    ]
    text = json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells})
    try:
        divisions = json.loads(_run([pandoc, *READ], work, text))["blocks"]
    except RecursionError as error:
        raise CannotError("pandoc reads a text that is nested too deeply") from error
    return [division["c"][1] for division in divisions]


def _write(pandoc, blocks, options, work, settings=None):
    """Have Pandoc write blocks in some format; return what it prints."""
    text = json.dumps({"pandoc-api-version": _api(pandoc, work), "meta": {}, "blocks": blocks})
    return _run([pandoc, "-f", "json", *options], work, text, settings)


def _api(pandoc, work):
    return json.loads(_run([pandoc, "-t", "json"], work))["pandoc-api-version"]


def _all_blocks(pandoc, notebooks, work):
    """The blocks of all notebooks, each below its name."""
    found = []
    for name, notebook in notebooks.items():
        found.append({"t": "RawBlock", "c": ["html", f'<h1 class="file">{name}</h1>']})
        found += _blocks(pandoc, notebook, document.Pictures(work, Path(name).stem), work)
    return found


def _blocks(pandoc, notebook, pictures, work):
    """The blocks of a notebook, those of its text as it was typed where Pandoc cannot read it."""
    try:
        return document.blocks(notebook, _read(pandoc, notebook, work), pictures)
    except CannotError:
        return document.verbatim(notebook, pictures)


def _typeset_somehow(pandoc, notebook, name, work):
    """The path of a notebook's PDF and what it lacks, "" where it lacks nothing."""
    pictures = document.Pictures(work, Path(name).stem)
    blocks = _blocks(pandoc, notebook, pictures, work)
    try:
        return _typeset(pandoc, blocks, name, work), ""
    except CannotError:
        with contextlib.suppress(CannotError):
            pdf = _typeset(pandoc, document.with_typed_formulas(blocks), name, work)
            return pdf, f"formulas of {name} as they were typed, since Typst cannot set one of them"
    pdf = _typeset(pandoc, document.verbatim(notebook, pictures), name, work)
    return pdf, f"text of {name} as it was typed, since Typst cannot set all of it"


def _typeset(pandoc, blocks, name, work):
    """The path of the PDF of one notebook, which Typst makes in a process of its own.

    To Typst the work folder is all there is, so that nothing else can be read into the PDF.
    """
    source, pdf = work / f"{name}.typ", work / f"{name}.pdf"
    body = _write(pandoc, blocks, ["-t", "typst"], work)
    layout = (HERE / "layout.typ").read_text(encoding="utf-8")
    source.write_text(f"#let notebook = {json.dumps(name)}\n{layout}\n{body}", encoding="utf-8")
    _run([sys.executable, "-c", TYPST, str(source), str(pdf), str(work)], work)
    return pdf


def _joined(pdfs):
    """One PDF of several, as bytes, and how many pages it has; its outline names each of them."""
    pypdf = importlib.import_module("pypdf")
    with contextlib.closing(pypdf.PdfWriter()) as writer:
        for name, path in pdfs.items():
            writer.append(path, outline_item=name)
        stream = io.BytesIO()
        writer.write(stream)
        return stream.getvalue(), len(writer.pages)


def _by_nbconvert(notebooks, work):
    """Have nbconvert write a2.html, without any HTML of the notebooks' own and pictures from elsewhere."""
    if not importlib.util.find_spec("nbconvert"):
        raise CannotError(f"HTML: neither Pandoc nor nbconvert is installed ({INSTALL})")
    cells = [_disarmed(cell) for notebook in notebooks.values() for cell in notebook.cells]
    merged = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}
    (work / "a2.ipynb").write_text(json.dumps(merged), encoding="utf-8")
    _run([sys.executable, "-m", "nbconvert", "--to", "html", "a2.ipynb"], work)
    page = work / "a2.html"
    text = _result(page, "nbconvert").decode(errors="replace")
    text = re.sub(r'(<img\b[^>]*?\bsrc=")(?!data:)[^"]*', r"\1", text)
    page.write_text(text.replace("</head>", f"{LINES_DO_NOT_RUN_OFF}</head>", 1), encoding="utf-8")


def _disarmed(cell):
    """A cell as nbconvert wants it, in which no tag of HTML is left to be one, and no code but Python."""
    common = {"cell_type": cell.cell_type, "source": cell.source, "metadata": {}}
    if cell.cell_type != "code":
        source = re.sub(r"<(?=[a-zA-Z/!?])", f"<{document.BREAK_HERE}", cell.source)
        return common | {"source": source.replace("attachment:", "attached:")}  # would stop nbconvert
    outputs = [_shown(output) for output in document.merged(cell.outputs)]
    return common | {"execution_count": cell.execution_count, "outputs": outputs}


def _shown(output):
    if output["output_type"] == "stream":
        return output | {"text": document.shortened(output["text"]) + "\n"}
    if output["output_type"] == "error":
        return output
    kinds = (*document.PICTURES, "text/plain")
    shown = {kind: output["data"][kind] for kind in kinds if kind in output["data"]}
    return {"output_type": "display_data", "data": shown, "metadata": {}}
