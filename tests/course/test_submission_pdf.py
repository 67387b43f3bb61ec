"""The PDF of a submission: what is on its pages, what never gets there, and the ways to make one."""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import pypdf
import pytest
from submission_cases import ROOT, code, drawn, failed, markdown, picture, printed, write_notebook

from course.rubric import NOTEBOOKS
from course.submission import document, pdf
from course.submission.notebook import read_notebook

PANDOC = pdf._pandoc()
CELLS = (markdown("# Title\n\n$x^2$"), code("plot()", 1, [drawn(picture())]))
RAW_TEX = re.compile(r"\$|\\[a-z]{3,}")


class Pages:
    """A PDF: its text by page, and all of it in lines without the breaks at which a word may be parted."""

    def __init__(self, path):
        self.reader = pypdf.PdfReader(path)
        self.pages = [page.extract_text() for page in self.reader.pages]
        self.text = "\n".join(self.pages).replace(document.BREAK_HERE, "")

    def __len__(self):
        return len(self.pages)

    def pictures(self):
        return [image.image.size for page in self.reader.pages for image in page.images]


def make(folder, *cells, name="n.ipynb"):
    """Return the PDF of one notebook with these cells, and how it was made."""
    write_notebook(folder / name, *cells)
    result = pdf.make_pdf({name: read_notebook(folder, name)}, folder)
    assert (result.path, result.skipped) == (folder / "a2.pdf", [])
    return Pages(result.path), result.how


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """Return the PDF of the solved assignment, and how it was made."""
    folder = tmp_path_factory.mktemp("pdf")
    result = pdf.make_pdf({name: read_notebook(ROOT, name) for name in NOTEBOOKS}, folder)
    assert result.skipped == []
    return Pages(result.path), result.how


def test_the_solved_assignment(solved):
    pages, how = solved
    assert how == f"{len(pages)} pages, by Pandoc and Typst"
    assert 50 < len(pages) < 110


def test_the_outline_leads_to_each_notebook(solved):
    pages, _ = solved
    outline = pages.reader.outline
    names = [(item.title, i) for i, item in enumerate(outline) if not isinstance(item, list)]
    assert [name for name, _ in names] == [Path(name).stem for name in NOTEBOOKS]
    for name, i in names:
        page = pages.pages[pages.reader.get_destination_page_number(outline[i])]
        assert f"{name}.ipynb" in page
        assert re.search(r"\b1 of \d+", page)
    headings = [item.title for item in outline[1] if not isinstance(item, list)]
    assert headings == ["Fully connected networks"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_is_there_from_its_title_to_its_last_cell(solved, name):
    pages, _ = solved
    notebook = read_notebook(ROOT, name)
    own = "\n".join(page for page in pages.pages if name in page).replace(document.BREAK_HERE, "")
    assert notebook.cells[0].source.splitlines()[0].removeprefix("# ") in own
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert re.findall(r"In \[(\d+)\]", own) == [str(count) for count in counts]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert squeezed(cell.source.splitlines()[-1]) in squeezed(own)


def squeezed(text):
    return re.sub(r"\s", "", text)


def test_every_figure_is_there(solved):
    pages, _ = solved
    figures = [
        output
        for name in NOTEBOOKS
        for cell in read_notebook(ROOT, name).cells
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(figures) > 25
    assert sum(len(page["/Resources"].get("/XObject", ())) for page in pages.reader.pages) == len(figures)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_formula_is_left_as_it_was_typed(tmp_path, name):
    """Where Pandoc does not know a formula, it has Typst print the dollar signs."""
    notebook = read_notebook(ROOT, name)
    blocks = pdf._blocks(PANDOC, notebook, document.Pictures(tmp_path, "n"), tmp_path)
    assert json.dumps(blocks).count('"Math"') > 2
    assert "\\$" not in pdf._write(PANDOC, blocks, ["-t", "typst"], tmp_path)


FORMULAS = r"""
Inline $\alpha \odot \beta$, and displayed

$$A \cap B \otimes \hat{x} = \frac{p}{q}$$

\begin{align}
u_1 &= v \\
w &= \sqrt{z_2}
\end{align}

$$\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \ddot{x} \ominus \llbracket y \rrbracket$$
"""


def test_formulas_are_typeset(tmp_path):
    pages, how = make(tmp_path, markdown(FORMULAS))
    assert how == "1 page, by Pandoc and Typst"
    assert not RAW_TEX.search(pages.text)
    assert "&" not in pages.text
    assert all(sign in pages.text for sign in "⊙∩⊗√⊖⟦")


def test_a_formula_that_pandoc_does_not_know_costs_no_other(tmp_path):
    pages, how = make(tmp_path, markdown(r"$\nosuch{x}$ and $\alpha$"))
    assert how == "1 page, by Pandoc and Typst"
    assert r"$\nosuch{x}$ and" in pages.text
    assert "alpha" not in pages.text


def test_where_typst_does_not_know_a_formula_all_are_as_they_were_typed(tmp_path):
    pages, how = make(tmp_path, markdown("**Bold** $\u23f4 \u29a1 \\alpha$"), name="odd.ipynb")
    assert how == (
        "1 page, by Pandoc and Typst; "
        "odd.ipynb shows formulas as typed, because Typst cannot typeset one of them"
    )
    assert "\\alpha" in pages.text
    assert "**" not in pages.text


def test_code_and_what_it_printed(tmp_path):
    pages, _ = make(
        tmp_path,
        code("x = [1]  # `$not$` *text*\n#set y", 7, [printed("```\n*a* $b$ #c\n")]),
        code("never()", None),
        code("boom", 8, [failed("ValueError", "no", ["\x1b[0;31mValueError\x1b[0m: no"])]),
        code("", None),
    )
    assert "In [7]" in pages.text and "In [ ]" in pages.text and "In [8]" in pages.text
    assert "x = [1]  # `$not$` *text*" in pages.text and "#set y" in pages.text
    assert "```\n*a* $b$ #c" in pages.text
    assert "ValueError: no" in pages.text
    assert "31m" not in pages.text
    assert pages.text.count("In [") == 3


def test_pictures(tmp_path):
    pages, _ = make(
        tmp_path,
        code("a", 1, [drawn(picture(310, 200))]),
        code("b", 2, [drawn(picture(3000, 210), "text of b")]),
        code(
            "c",
            3,
            [
                drawn("AAAA", "text of c"),
                drawn("no base64", "text of d"),
                drawn(picture()[:-40], "text of e"),
            ],
        ),
        markdown("![x](attachment:p.png)", attachments={"p.png": {"image/png": picture(320, 200)}}),
        markdown(f"![x](data:image/png;base64,{picture(330, 200)})"),
    )
    assert sorted(pages.pictures()) == [(310, 200), (320, 200), (330, 200), (3000, 210)]
    assert "text of b" not in pages.text
    for letter in "cde":
        assert f"text of {letter}" in pages.text


def test_a_picture_that_would_fill_the_memory_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 50_000)
    for size in ((300, 200), (600, 400)):  # Pillow warns of the first and refuses the second
        pages, _ = make(tmp_path, code("a", 1, [drawn(picture(*size), "too large")]))
        assert "too large" in pages.text


SECRET = "this must not be read"
REACHING_OUT = r"""
![a](SECRET) ![b](../secret.txt) ![c][d] <img src="SECRET"> [e](file://SECRET)

[d]: SECRET

```{=typst}
#read("SECRET") #read("secret.txt")
```

`#read("secret.txt")`{=typst} #read("secret.txt") #include "secret.txt" [f]{typst:text:fill="read(1)"}

<script>document.write(read("SECRET"))</script> <iframe src="SECRET"></iframe>

\input{SECRET}

$\text{#read("SECRET")}$ $$\input{SECRET}$$ $\text{"#read("secret.txt")}$

::: {typst:fill="read(\"secret.txt\")"}
g
:::

{{< include SECRET >}} .. include:: SECRET
"""


@pytest.fixture
def secret(tmp_path):
    """Return the path of a file beside the notebook."""
    (tmp_path / "secret.txt").write_text(SECRET)
    return str(tmp_path / "secret.txt")


def reaching_out(folder, secret):
    cells = [markdown(REACHING_OUT.replace("SECRET", secret)), markdown("the end"), *CELLS]
    write_notebook(folder / "n.ipynb", *cells)
    return {"n.ipynb": read_notebook(folder, "n.ipynb")}


def test_a_notebook_cannot_read_a_file(tmp_path, secret):
    pages = Pages(pdf.make_pdf(reaching_out(tmp_path, secret), tmp_path).path)
    assert "the end" in pages.text
    assert SECRET not in pages.text


def assert_page_is_harmless(path):
    """Check that a page of HTML shows the text of a notebook that reaches out, but reads and runs nothing."""
    page = path.read_text(encoding="utf-8")
    assert "the end" in page
    assert SECRET not in page
    assert not re.search(r'<(img|iframe)[^>]*src="[^"]*(secret|file:|http)', page)
    assert "document.write" in page
    assert not any("document.write(read" in script for script in scripts(page))


def scripts(page):
    return re.findall("<script[^>]*>(.*?)</script>", page, re.S)


def test_nothing_in_the_typst_source_reads_a_file(tmp_path, secret):
    """Even within the work folder, where Typst could: every `read` is text, behind a quote or a backslash."""
    write_notebook(tmp_path / "n.ipynb", markdown(REACHING_OUT.replace("SECRET", secret)))
    blocks = pdf._blocks(
        PANDOC, read_notebook(tmp_path, "n.ipynb"), document.Pictures(tmp_path, "n"), tmp_path
    )
    pdf._typeset(PANDOC, blocks, "n.ipynb", tmp_path)
    source = (tmp_path / "n.ipynb.typ").read_text(encoding="utf-8").split("horizontalrule =")[1]
    outside = re.sub(r'```.*?```|`[^`\n]*`|"(?:\\.|[^"\\])*"', "", source, flags=re.S)
    assert "read" in source
    assert not re.search(r"(?<!\\)#(read|include|image|box)", outside)


def test_attributes_which_may_be_code_to_typst_are_dropped():
    """Pandoc reads none in notebooks as yet; it would write these into its Typst source as they are."""
    attributes = ["name", ["class"], [["typst:text:fill", 'read("secret.txt")']]]
    row = [attributes, []]
    table = {"t": "Table", "c": [attributes, [None, []], [], [attributes, [row]], [], [attributes, []]]}
    link = {"t": "Link", "c": [attributes, [{"t": "Str", "c": "a"}], ["https://example.org", ""]]}
    cleaned = document.Cleaner({}, None).clean([table, {"t": "Para", "c": [link]}])
    assert "read" not in json.dumps(cleaned)
    assert cleaned[0]["c"][3] == [document.PLAIN, [[document.PLAIN, []]]]


def test_a_picture_from_elsewhere_is_named_and_left_out(tmp_path):
    Path(tmp_path, "local.png").write_bytes(b"x")
    pages, _ = make(tmp_path, markdown("![x](https://example.org/a.png) ![y](local.png)"))
    assert "[picture left out: https://example.org/a.png]" in squeezed_lines(pages.text)
    assert "[picture left out: local.png]" in squeezed_lines(pages.text)
    assert pages.pictures() == []


def squeezed_lines(text):
    return text.replace("\n", " ")


def test_text_in_html_is_kept(tmp_path):
    pages, _ = make(
        tmp_path, markdown("<p style='x'>An <b>answer</b> &amp; *more*</p>\n\n<!-- note -->\n\na<br>b")
    )
    assert "An answer & more" in pages.text
    assert "note" not in pages.text and "style" not in pages.text
    assert "a\nb" in pages.text


def test_cells_do_not_swallow_each_other(tmp_path):
    pages, _ = make(tmp_path, markdown("```\nopen"), markdown("# Title"), markdown("<div>"), markdown("*it*"))
    assert "Title" in pages.text and "# Title" not in pages.text
    assert "*it*" not in pages.text


@pytest.mark.parametrize(
    "source", ["> " * 40 + "deep", "[x](#nowhere) @label <label> *", "", "# {#x}\n\n# {#x}"]
)
def test_odd_text_is_set_all_the_same(tmp_path, source):
    pages, how = make(tmp_path, markdown(source), markdown("the end"))
    assert how == "1 page, by Pandoc and Typst"
    assert "the end" in pages.text


def test_a_text_nested_beyond_reason(tmp_path):
    pages, _ = make(tmp_path, markdown("> " * 2000 + "deep"), markdown("the end"))
    assert "the end" in pages.text


def test_nothing_runs_off_the_page(tmp_path):
    row = f"| {'long words in a table ' * 20} | {'w' * 300} | short |"
    pages, _ = make(
        tmp_path,
        markdown(f"| a | b | c |\n|---|---|---|\n{row}"),
        markdown(f"{'v' * 500} `{'u' * 500}`"),
        markdown("$$" + "+".join(f"x_{{{i}}}" for i in range(60)) + "$$"),
        code("t" * 500, 1, [printed("s" * 500)]),
    )
    edges = []
    for page in pages.reader.pages:
        page.extract_text(visitor_text=lambda text, cm, tm, font, size: edges.append((text, cm, tm)))
    width = float(pages.reader.pages[0].mediabox.width)
    assert edges
    assert max(matrix[4] for _, matrix, _ in edges) < width
    for letter, count in (("w", 300), ("v", 500), ("u", 500), ("t", 500), ("s", 500)):
        runs = [len(run) for run in re.findall(f"{letter}+", "\n".join(pages.pages))]
        assert max(runs) <= document.WIDTH
        assert squeezed(pages.text).count(letter) >= count


@pytest.mark.parametrize(
    "size, inches", [((330, 220), 3), ((3000, 300), document.PAGE_WIDTH), ((300, 3000), 0.8)]
)
def test_pictures_keep_their_size_as_far_as_the_page_allows(tmp_path, size, inches):
    element = document.Pictures(tmp_path, "n").add("image/png", picture(*size))
    assert element["c"][0] == ["", [], [["width", f"{inches:.2f}in"]]]


def test_columns_are_as_wide_as_what_is_in_them(tmp_path):
    narrow = "| a | b |\n|---|---|\n| word | word |"
    wide = f"| a | b |\n|---|---|\n| {'word ' * 40} | word |"
    write_notebook(tmp_path / "n.ipynb", markdown(narrow), markdown(wide))
    notebook = read_notebook(tmp_path, "n.ipynb")
    tables = pdf._blocks(PANDOC, notebook, document.Pictures(tmp_path, "n"), tmp_path)
    first, second = ([width for _, width in table["c"][2]] for table in tables)
    assert first == [{"t": "ColWidthDefault"}] * 2
    assert [round(width["c"], 2) for width in second] == [0.92, 0.08]


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a\nb\n", "a\nb"),
        ("\r 1%\r 50%\r100%\nend", "100%\nend"),
        ("50%\r100%\r", "100%"),
        ("a\r\nb", "a\nb"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07x", "red x"),
        ("\n\n  a\n\n", "  a"),
    ],
)
def test_text_is_shown_as_a_terminal_would_have_left_it(text, shown):
    assert document.settled(text) == shown


def test_long_text_is_trimmed():
    lines = [str(i) for i in range(100)]
    shown = document.shortened("\n".join(lines)).split("\n")
    note = "[... 40 more lines in the notebook ...]"
    assert shown == [*lines[:45], note, *lines[-15:]]
    assert document.shortened("\n".join(lines[:60])) == "\n".join(lines[:60])


def test_long_lines_are_wrapped_and_control_characters_dropped():
    assert document.wrapped("a" * 111 + "\n\n\tb\x00\x1b") == "a" * 110 + "\na\n\n    b"


def test_pieces_of_a_progress_bar_are_one_output(tmp_path):
    bar = [printed(f"\r{i}% done", "stderr") for i in range(0, 101, 10)]
    pages, _ = make(tmp_path, code("x", 1, [printed("start\n"), *bar, printed("end\n")]))
    assert re.search(r"start\s+100% done\s+end", pages.text)
    assert "90%" not in pages.text


def without(monkeypatch, *packages, programs=()):
    """Let these packages not be installed, nor any program but those in the folder `programs`."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        pdf.importlib.util, "find_spec", lambda name: None if name in packages else find(name)
    )
    monkeypatch.setenv("PATH", str(programs) if programs else "")
    monkeypatch.setattr(pdf, "BROWSERS", [name for name in pdf.BROWSERS if "/" not in name])


def program(folder, name, script):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable} -IS\nimport os, sys, pathlib\n{script}\n")
    path.chmod(0o755)
    return folder


BROWSER = """
out = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--print-to-pdf="))
page = pathlib.Path(sys.argv[-1].removeprefix("file://")).read_text(encoding="utf-8")
assert "<math" in page and 'src="data:image/png;base64,' in page and 'src="http' not in page
pathlib.Path(out).write_text("printed")
"""
NO_TYPST = 'Typst needs the package typst, which is not installed (pip install ".[submission]")'
NO_PANDOC = 'Pandoc needs the package pypandoc_binary, which is not installed (pip install ".[submission]")'
NO_BROWSER = "no browser (Chromium, Chrome or Edge) is installed"


@pytest.fixture
def one(tmp_path):
    write_notebook(tmp_path / "n.ipynb", *CELLS)
    return {"n.ipynb": read_notebook(tmp_path, "n.ipynb")}


def test_without_typst_a_browser_prints(one, tmp_path, monkeypatch):
    without(monkeypatch, "typst", programs=program(tmp_path / "bin", "google-chrome", BROWSER))
    result = pdf.make_pdf(one, tmp_path)
    assert result == pdf.PdfResult(
        tmp_path / "a2.pdf", "HTML by Pandoc, printed by google-chrome", [NO_TYPST]
    )
    assert result.path.read_text() == "printed"


def test_without_a_browser_tex_does(one, tmp_path, monkeypatch):
    tex = """
source = pathlib.Path(sys.argv[-1])
assert "x^2" in source.read_text(encoding="utf-8")
assert os.environ["openin_any"] == "p" and os.environ["shell_escape"] == "f"
folder = next(a for a in sys.argv if a.startswith("-output-directory")).split("=")[-1]
folder = folder if "directory" not in folder else sys.argv[sys.argv.index(folder) + 1]
(pathlib.Path(folder) / (source.stem + ".pdf")).write_text("set")
"""
    without(monkeypatch, "typst", programs=program(tmp_path / "bin", "xelatex", tex))
    result = pdf.make_pdf(one, tmp_path)
    assert result == pdf.PdfResult(tmp_path / "a2.pdf", "by Pandoc and TeX", [NO_TYPST, NO_BROWSER])
    assert result.path.read_text() == "set"


def test_without_both_there_is_a_page_of_html(tmp_path, secret, monkeypatch):
    (tmp_path / "a2.pdf").write_text("of an earlier version")
    without(monkeypatch, "typst")
    result = pdf.make_pdf(reaching_out(tmp_path, secret), tmp_path)
    skipped = [NO_TYPST, NO_BROWSER, "TeX is not installed"]
    assert result == pdf.PdfResult(tmp_path / "a2.html", "HTML by Pandoc", skipped)
    page = result.path.read_text(encoding="utf-8")
    assert "<math" in page and "data:image/png;base64," in page and "In [1]" in page
    assert not (tmp_path / "a2.pdf").exists()
    assert_page_is_harmless(result.path)


def test_without_pandoc_nbconvert_makes_the_page(tmp_path, secret, monkeypatch):
    without(monkeypatch, "pypdf", "pypandoc")
    result = pdf.make_pdf(reaching_out(tmp_path, secret), tmp_path)
    assert result.skipped == [NO_TYPST.replace("package typst", "package pypdf"), NO_BROWSER, NO_PANDOC]
    assert result.how == "HTML by nbconvert (its formulas need a network connection)"
    page = result.path.read_text(encoding="utf-8")
    assert "<h1" in page and "data:image/png;base64," in page and "plot" in page
    assert_page_is_harmless(result.path)


def test_without_anything_there_is_nothing(one, tmp_path, monkeypatch):
    without(monkeypatch, "typst", "pypandoc", "nbconvert")
    result = pdf.make_pdf(one, tmp_path)
    no_html = 'neither Pandoc nor nbconvert is installed, to make HTML (pip install ".[submission]")'
    assert result == pdf.PdfResult(None, "", [NO_TYPST, NO_BROWSER, NO_PANDOC, no_html])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["n.ipynb"]


@pytest.mark.parametrize(
    "script, reason",
    [
        ("sys.exit('no display')", "chromium failed: no display"),
        ("sys.exit(3)", "chromium failed: exit status 3"),
        ("", "chromium made no a2.pdf"),
        ("import time; time.sleep(60)", "chromium was stopped after 0.3 seconds"),
    ],
)
def test_a_browser_that_does_not_do_its_work(one, tmp_path, monkeypatch, script, reason):
    without(monkeypatch, "typst", programs=program(tmp_path / "bin", "chromium", script))
    run = pdf._run

    def impatient(command, *rest):
        monkeypatch.setattr(pdf, "SECONDS", 0.3 if "chromium" in command[0] else 60)
        return run(command, *rest)

    monkeypatch.setattr(pdf, "_run", impatient)
    result = pdf.make_pdf(one, tmp_path)
    assert result.skipped[1] == reason
    assert result.path.name == "a2.html"


def test_a_pdf_takes_the_place_of_an_earlier_page_of_html(one, tmp_path):
    (tmp_path / "a2.html").write_text("earlier")
    assert pdf.make_pdf(one, tmp_path).path.name == "a2.pdf"
    assert not (tmp_path / "a2.html").exists()


def test_nothing_is_left_in_the_temporary_folder(one, tmp_path, monkeypatch):
    work = tmp_path / "tmp"
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(work))
    pdf.make_pdf(one, tmp_path)
    assert os.listdir(work) == []
