"""Collecting a submission: what is told before it is too late, the zip, and the script as a whole."""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import astuple
from types import SimpleNamespace

import pytest
from submission_cases import ROOT, code, copy_files, edit, failed, markdown, printed, replace, write_notebook

from course.rubric import BY_ID, EXERCISES, FILES, NOTEBOOKS, UNANSWERED
from course.submission import __main__ as collecting
from course.submission import pdf
from course.submission.archive import write_zip
from course.submission.inspection import (
    DONE,
    MISSING,
    NOT_DONE,
    REQUIRED,
    WARNING,
    Progress,
    answer_text,
    by_question,
    claims,
    inspect,
    notebook_findings,
    notebook_statuses,
)
from course.submission.notebook import MAX_SIZES, UnreadableError, read_notebook
from course.submission.pdf import PdfResult
from course.submission.source import python_of

DROPOUT = "Dropout.ipynb"
LAYERS = "cs231n/layers.py"


@pytest.fixture
def folder(tmp_path):
    """The solved assignment, to be spoilt, in a folder with a space in its name."""
    return copy_files(tmp_path / "my course")


def findings_of(folder, name=None):
    return [
        (finding.severity, finding.file, finding.text)
        for finding in inspect(folder).findings
        if name in (None, finding.file)
    ]


def the_notebook(folder, *cells):
    write_notebook(folder / "n.ipynb", *cells)
    return read_notebook(folder, "n.ipynb")


def texts(notebook):
    return [str(finding) for finding in notebook_findings(notebook, "n.ipynb")]


def collect(folder, capsys, *arguments):
    """The exit status and what is printed."""
    status = collecting.main([*arguments, "--output", str(folder)], folder)
    return status, capsys.readouterr().out


@pytest.fixture
def no_pdf(monkeypatch):
    """Tests of all else do not wait for a PDF."""
    monkeypatch.setattr(
        pdf, "make_pdf", lambda notebooks, folder: PdfResult(folder / "a2.pdf", "9 pages", [])
    )


def test_the_solved_assignment_is_complete(folder):
    inspection = inspect(folder)
    assert inspection.findings == ()
    assert inspection.is_complete
    assert inspection.statuses == {exercise.id: DONE for exercise in EXERCISES}
    assert list(inspection.notebooks) == list(NOTEBOOKS)
    assert [astuple(progress) for progress in by_question(inspection.statuses)] == [
        (1, 16, 16, 20, 20),
        (2, 10, 10, 30, 30),
        (3, 6, 6, 10, 10),
        (4, 10, 10, 30, 30),
        (5, 7, 7, 10, 10),
    ]


def test_nothing_is_written_by_an_inspection(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    inspect(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("name", [FILES[0], FILES[-1], "cs231n/layer_utils.py"])
def test_a_missing_file_is_required(folder, name):
    (folder / name).unlink()
    assert findings_of(folder) == [(REQUIRED, name, "is missing")]
    assert not inspect(folder).is_complete


def test_an_empty_folder_misses_everything(tmp_path):
    assert findings_of(tmp_path) == [(REQUIRED, name, "is missing") for name in FILES]
    assert set(inspect(tmp_path).statuses.values()) == {MISSING}


def test_exercises_in_a_missing_file_are_missing(folder):
    (folder / "cs231n/optim.py").unlink()
    statuses = inspect(folder).statuses
    assert [id for id, status in statuses.items() if status == MISSING] == ["sgd_momentum", "rmsprop", "adam"]


@pytest.mark.parametrize(
    "content, text",
    [
        (b"def f(:\n    pass\n", "is not Python: line 1: invalid syntax"),
        (b"x = 1\n\n   y = 2\n", "is not Python: line 3: unexpected indent"),
        (b"x = '\xff'\n", "is not Python: "),
        (b"\x00", "is not Python: "),
        (b"(" * 5000, "is not Python: "),
        (b"-" * 100_000 + b"1", "is not Python: "),
    ],
)
def test_a_file_with_a_mistake_in_its_syntax(folder, content, text):
    (folder / LAYERS).write_bytes(content)
    ((severity, name, found),) = findings_of(folder)
    assert (severity, name) == (REQUIRED, LAYERS)
    assert found.startswith(text)


def test_a_mistake_is_not_quoted(folder):
    """A grader that shows findings must not show what a link into its own files leads to."""
    (folder / LAYERS).write_text("secret secret\n")
    assert "secret" not in findings_of(folder)[0][2]


def test_what_only_warns_in_python_is_not_worth_a_word(folder):
    with (folder / LAYERS).open("a") as file:
        file.write('\npattern = "\\d"\n')
    assert findings_of(folder) == []


def test_links_out_of_the_folder_are_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere.py").write_text("x = 1\n")
    (folder / LAYERS).unlink()
    (folder / LAYERS).symlink_to(tmp_path / "elsewhere.py")
    assert findings_of(folder) == [
        (REQUIRED, LAYERS, "links to a file outside the folder; put the file itself there")
    ]
    assert LAYERS not in write_zip(folder, tmp_path / "a2.zip")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])  # to read the second would wait for ever
def test_what_is_not_a_file(folder, make):
    (folder / LAYERS).unlink()
    make(folder / LAYERS)
    assert findings_of(folder) == [(REQUIRED, LAYERS, "is not a file")]


@pytest.mark.parametrize("name, most", [(LAYERS, "1"), (DROPOUT, "30")])
def test_a_huge_file(folder, name, most):
    with (folder / name).open("ab") as file:
        file.truncate(MAX_SIZES[os.path.splitext(name)[1]] + 1)
    text = f"has {float(most)} MB; the limit is {most} MB: remove what is not needed"
    assert findings_of(folder) == [(REQUIRED, name, text)]


@pytest.mark.parametrize(
    "content, text",
    [
        ("", "is damaged; it is not JSON: Expecting value"),
        ("{", "is damaged; it is not JSON: Expecting property name"),
        ("\xff", "is damaged; it is not JSON: 'utf-8' codec"),
        ("[" * 100_000, "is damaged; it is not JSON: maximum recursion depth"),
        ("9" * 5000, "is damaged; it is not JSON: Exceeds the limit"),
        ("[]", "is not a notebook: it has no nbformat"),
        ('{"cells": []}', "is not a notebook: it has no nbformat"),
        ('{"nbformat": 3, "worksheets": []}', "has notebook format 3, not 4; open it in Jupyter and save it"),
        ('{"nbformat": "x", "cells": []}', "has notebook format x, not 4"),
        ('{"nbformat": 4}', "is damaged: it has no list of cells"),
        ('{"nbformat": 4, "cells": {}}', "is damaged: it has no list of cells"),
        ('{"nbformat": 4, "cells": [3]}', "is damaged: cell 1 is neither code nor text"),
        ('{"nbformat": 4, "cells": [{"cell_type": []}]}', "is damaged: cell 1 is neither code nor text"),
        ('{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "is damaged: cell 1 has no source"),
        (
            '{"nbformat": 4, "cells": [{"cell_type": "code", "source": [1]}]}',
            "is damaged: cell 1 has no source",
        ),
    ],
)
def test_a_malformed_notebook(folder, content, text):
    (folder / DROPOUT).write_bytes(content.encode("latin-1"))
    ((severity, name, found),) = findings_of(folder)
    assert (severity, name) == (REQUIRED, DROPOUT)
    assert found.startswith(text)


@pytest.mark.parametrize(
    "field, value, kind",
    [
        ("metadata", [], "list"),
        ("execution_count", "1", "str"),
        ("outputs", {}, "dict"),
        ("attachments", 1, "int"),
    ],
)
def test_a_cell_with_a_field_of_the_wrong_kind(tmp_path, field, value, kind):
    write_notebook(tmp_path / "n.ipynb", markdown("ok"), code("x") | {field: value})
    with pytest.raises(UnreadableError, match=f"is damaged: {field} of cell 2 is a {kind}"):
        read_notebook(tmp_path, "n.ipynb")


def test_an_output_of_the_wrong_kind(tmp_path):
    write_notebook(tmp_path / "n.ipynb", code("x", outputs=["text"]))
    with pytest.raises(UnreadableError, match="an output of cell 1 is a str"):
        read_notebook(tmp_path, "n.ipynb")


def test_a_notebook_with_a_mountain_of_code(tmp_path):
    write_notebook(tmp_path / "n.ipynb", *[code("x = 1\n" * 100_000)] * 2)
    with pytest.raises(UnreadableError, match="has more than 1 MB of code"):
        read_notebook(tmp_path, "n.ipynb")


def test_fields_are_what_they_should_be_or_not_there(tmp_path):
    outputs = [
        {"output_type": "stream", "text": ["a", "b"]},
        {"output_type": "stream", "name": 3, "text": {}},
        {"output_type": "error", "ename": 1, "traceback": "x"},
        {"output_type": "error", "ename": "E", "evalue": ["v"], "traceback": [1, "line \ud800"]},
        {"output_type": "display_data", "data": {"image/png": ["a", "b"], "application/json": {"a": 1}}},
        {"output_type": ["x"], "data": 1},
    ]
    (cell,) = the_notebook(tmp_path, code(["a\n", "b"], outputs=outputs)).cells
    assert cell.source == "a\nb"
    assert cell.outputs == [
        {"output_type": "stream", "name": "", "text": "ab"},
        {"output_type": "stream", "name": "3", "text": ""},
        {"output_type": "error", "ename": "", "evalue": "", "traceback": []},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["line ?"]},
        {"output_type": "display_data", "data": {"image/png": "ab"}},
        {"output_type": "unknown", "data": {}},
    ]


def test_cells_run_from_top_to_bottom_are_fine(tmp_path):
    notebook = the_notebook(
        tmp_path,
        code("x = 1", 1),
        markdown("x"),
        code("  ", None),
        code("%time x\n!ls", 2),
        code("%%sh\nif x", 3),
    )
    assert texts(notebook) == []


def test_cells_that_were_not_run(tmp_path):
    notebook = the_notebook(tmp_path, code("x = 1", 1), code("\ny = 2\nz = 3", None))
    assert texts(notebook) == ["n.ipynb has cells that were not run: code cell 2 (y = 2)"]


def test_many_cells_that_were_not_run(tmp_path):
    notebook = the_notebook(tmp_path, *[code(f"x{i}", None) for i in range(7)])
    assert texts(notebook) == [
        "n.ipynb has cells that were not run: "
        "code cell 1 (x0); code cell 2 (x1); code cell 3 (x2); and 4 more"
    ]


@pytest.mark.parametrize(
    "counts, wrong",
    [
        (
            (2, 1),
            "code cell 1 (x) has the number 2 instead of 1; code cell 2 (x) has the number 1 instead of 2",
        ),
        ((1, 2, 9), "code cell 3 (x) has the number 9 instead of 3"),
        ((1, 1), "code cell 2 (x) has the number 1 instead of 2"),
    ],
)
def test_cells_that_were_run_out_of_order(tmp_path, counts, wrong):
    notebook = the_notebook(tmp_path, *[code("x", count) for count in counts])
    text = "was not run from top to bottom (restart the kernel and run all cells)"
    assert texts(notebook) == [f"n.ipynb {text}: {wrong}"]


def test_a_cell_that_was_not_run_does_not_put_the_others_out_of_order(tmp_path):
    notebook = the_notebook(tmp_path, code("x", 1), code("y", None), code("z", 2))
    assert texts(notebook) == ["n.ipynb has cells that were not run: code cell 2 (y)"]


def test_a_cell_that_failed(tmp_path):
    notebook = the_notebook(
        tmp_path, code("1 / 0", 1, [printed("x"), failed("ZeroDivisionError", "by\x1b[3m 0")])
    )
    assert texts(notebook) == [
        "n.ipynb has cells that failed: code cell 1 (1 / 0), ZeroDivisionError: by [3m 0"
    ]


def test_a_cell_that_is_not_python(tmp_path):
    notebook = the_notebook(tmp_path, code("x = = " + "y" * 50))
    assert texts(notebook) == [f"n.ipynb has cells that are not Python: code cell 1 (x = = {'y' * 31}...)"]


def test_findings_of_cells_are_warnings(folder):
    edit(folder / DROPOUT, lambda notebook: [cell.update(execution_count=None) for cell in code_of(notebook)])
    ((severity, name, text),) = findings_of(folder)
    assert (severity, name) == (WARNING, DROPOUT)
    assert text.startswith("has cells that were not run: code cell 1 (%matplotlib inline); ")
    assert inspect(folder).is_complete


def code_of(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


ANSWER = BY_ID["q3-answer-2"]


@pytest.mark.parametrize(
    "source, text",
    [
        (UNANSWERED, ""),
        ("", ""),
        (" \n", ""),
        ("**Answer.**", ""),
        ("**Answer.** \n\n", ""),
        ("**Answer**:", ""),
        ("**Answer.** It rises.", "It rises."),
        (f"{UNANSWERED} It rises.", "It rises."),
        (f"{UNANSWERED}\n\nIt rises.\n", "It rises."),
        ("It rises.", "It rises."),
    ],
)
def test_answers(tmp_path, source, text):
    cell = markdown(source, metadata={"tags": ["other", "exercise:q3-answer-2"]})
    notebook = the_notebook(tmp_path, markdown("before"), cell, markdown("behind"))
    assert answer_text(notebook, ANSWER) == text
    assert notebook_statuses(notebook, [ANSWER]) == {ANSWER.id: DONE if text else NOT_DONE}


def test_an_answer_split_into_two_cells(tmp_path):
    cells = [
        markdown(text, metadata={"tags": [f"exercise:{ANSWER.id}"]}) for text in (UNANSWERED, "It rises.")
    ]
    assert answer_text(the_notebook(tmp_path, *cells), ANSWER) == "It rises."


def test_an_answer_whose_cell_has_vanished(tmp_path):
    for tags in ([], "exercise:q3-answer-2", [3], ["exercise:q3-answer-22"]):
        notebook = the_notebook(tmp_path, markdown("It rises.", metadata={"tags": tags}))
        assert answer_text(notebook, ANSWER) is None
        assert notebook_statuses(notebook, [ANSWER]) == {ANSWER.id: MISSING}


def test_empty_and_vanished_answers_are_told(folder):
    def spoil(notebook):
        tagged = {tag: cell for cell in notebook["cells"] for tag in cell["metadata"].get("tags", ())}
        tagged["exercise:q3-answer-1"]["source"] = UNANSWERED
        del tagged["exercise:q3-answer-3"]["metadata"]["tags"]

    edit(folder / DROPOUT, spoil)
    assert findings_of(folder) == [
        (WARNING, DROPOUT, "is not finished: write answer 1 (Q3, 1 point)"),
        (WARNING, DROPOUT, "no longer has the cell for answer 3 (Q3, 1 point)"),
    ]
    assert by_question(inspect(folder).statuses)[2] == Progress(3, 4, 6, 8, 10)


def test_functions_that_are_not_written_or_have_vanished(folder):
    replace(folder / LAYERS, "def relu_backward(", "def relu_backwards(")
    with (folder / LAYERS).open("a") as file:
        file.write('\n\ndef relu_forward(x):\n    """ReLU."""\n    raise NotImplementedError("to do")\n')
    assert findings_of(folder) == [
        (WARNING, LAYERS, "is not finished: write relu_forward (Q1, 1 point)"),
        (WARNING, LAYERS, "no longer defines relu_backward (Q1, 1 point)"),
    ]
    assert by_question(inspect(folder).statuses)[0] == Progress(1, 14, 16, 18, 20)


TRAIN, MODULE, BEST = BY_ID["training-loop"], BY_ID["module-convnet"], BY_ID["q1-best-net"]
CLASS = "class ThreeLayerConv:\n    def __init__(self):\n        {}\n    def forward(self):\n        {}\n"


@pytest.mark.parametrize(
    "exercise, source, status",
    [
        (TRAIN, "def train():\n    return 1", DONE),
        (TRAIN, "%time\ndef train():\n    return 1", DONE),
        (TRAIN, "def train():\n    raise NotImplementedError('to do')", NOT_DONE),
        (TRAIN, "def train():\n    pass", NOT_DONE),
        (TRAIN, "def trains():\n    return 1", MISSING),
        (TRAIN, "def train(:\n    return 1", MISSING),
        (MODULE, CLASS.format("self.x = 1", "return self.x"), DONE),
        (MODULE, CLASS.format("self.x = 1", "raise NotImplementedError"), NOT_DONE),
        (MODULE, "class ThreeLayerConv:\n    def forward(self):\n        return 1", MISSING),
    ],
)
def test_functions_in_a_notebook(tmp_path, exercise, source, status):
    notebook = the_notebook(tmp_path, code("x = 1"), code(source))
    assert notebook_statuses(notebook, [exercise]) == {exercise.id: status}


def test_of_two_definitions_in_a_notebook_the_later_one_counts(tmp_path):
    blank, done = "def train():\n    raise NotImplementedError", "def train():\n    return 1"
    assert notebook_statuses(the_notebook(tmp_path, code(blank), code(done)), [TRAIN]) == {TRAIN.id: DONE}
    assert notebook_statuses(the_notebook(tmp_path, code(done), code(blank)), [TRAIN]) == {TRAIN.id: NOT_DONE}


@pytest.mark.parametrize(
    "source, status",
    [
        ("best_model = 1", DONE),
        ("# yours", NOT_DONE),
        ("raise NotImplementedError('to do')\nx = 1", NOT_DONE),
        ("x = = 1", NOT_DONE),
        (None, MISSING),
    ],
)
def test_whole_cells(tmp_path, source, status):
    cells = [] if source is None else [code(source, tags=["exercise:q1-best-net"])]
    text = markdown("We may use everything.", metadata={"tags": ["exercise:q1-best-net"]})
    notebook = the_notebook(tmp_path, code("x = 1"), text, *cells)
    assert notebook_statuses(notebook, [BEST]) == {BEST.id: status}


def test_claims(tmp_path):
    notebook = the_notebook(
        tmp_path,
        code(
            "x", 1, [printed("PASS  validation accuracy: 0.879 (at least 0.8)\nPASS  loss: 1 (at least 0)\n")]
        ),
        code("x", 2, [printed("FAIL  test accuracy: 0.1\n PASS  accuracy: 0.3 (at least 0.2)\n")]),
        code(
            "x", 3, [printed("PASS  accuracy: 1e-05 (at least 0)\nPASS  accuracy of two: 1 (at least 1)\n")]
        ),
        code("x", 4, [failed("E", "PASS  accuracy: 0.9 (at least 0.2)")]),
        markdown("PASS  accuracy: 0.9 (at least 0.2)"),
    )
    assert claims(notebook) == [("validation accuracy", 0.879), ("accuracy", 1e-5), ("accuracy of two", 1.0)]


@pytest.mark.parametrize("value", ["1.2.3", "nan", "inf", "1e999", "-1", "1_0", ""])
def test_what_is_no_number_is_no_claim(tmp_path, value):
    text = f"PASS  accuracy: {value} (at least 0.8)\n"
    assert claims(the_notebook(tmp_path, code("x", 1, [printed(text)]))) == []


def test_a_line_that_no_check_prints_is_no_claim(tmp_path):
    """To search in lines of any length could take for ever."""
    text = f"PASS  {'x' * 200} accuracy: 0.9 (at least 0.8)\n"
    assert claims(the_notebook(tmp_path, code("x", 1, [printed(text)]))) == []


def test_the_zip_holds_the_files_and_nothing_else(folder, tmp_path):
    for name in (
        ".venv/lib/x.py",
        "cs231n/__pycache__/layers.pyc",
        "cs231n/datasets/data.bin",
        "a2.pdf",
        "n.py",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("not to be submitted")
    assert write_zip(folder, tmp_path / "a2.zip") == list(FILES)
    with zipfile.ZipFile(tmp_path / "a2.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == list(FILES)
        for name in FILES:
            assert archive.read(name) == (folder / name).read_bytes()
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}


def test_equal_files_make_equal_zips(folder, tmp_path):
    write_zip(folder, tmp_path / "first.zip")
    for name in reversed(FILES):
        os.utime(folder / name, (2e9, 2e9))
        (folder / name).chmod(0o600)
    write_zip(folder, tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_a_zip_that_cannot_be_written_leaves_the_old_one(folder, tmp_path, monkeypatch):
    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / "a2.zip").write_text("as it was")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_zip(folder, tmp_path / "a2.zip")
    assert (tmp_path / "a2.zip").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a2.zip", "my course"]


def test_collecting_the_solved_assignment(folder, capsys, no_pdf):
    status, out = collect(folder, capsys)
    assert status == 0
    assert out.splitlines()[:3] == [
        "question  exercises done  points if correct",
        "Q1        16 of 16        20 of 20",
        "Q2        10 of 10        30 of 30",
    ]
    assert f"{folder}/a2.zip: 12 files, " in out
    assert f"{folder}/a2.pdf: 9 pages\n" in out


def test_warnings_are_told_and_do_not_fail(folder, capsys, no_pdf):
    replace(folder / "cs231n/classifiers/regularization.py", "def add_l2_penalty", "def add_penalty")
    status, out = collect(folder, capsys)
    assert status == 0
    regularization = "cs231n/classifiers/regularization.py"
    assert f"Look at this again:\n  {regularization} no longer defines add_l2_penalty" in out
    assert "Q1        15 of 16        19 of 20\n" in out


def test_a_missing_file_fails_and_the_rest_is_collected(folder, capsys, no_pdf):
    (folder / LAYERS).unlink()
    status, out = collect(folder, capsys)
    assert status == 1
    assert out.startswith(f"These files cannot be graded:\n  {LAYERS} is missing\n")
    assert f"MB, without {LAYERS}\n" in out
    with zipfile.ZipFile(folder / "a2.zip") as archive:
        assert archive.namelist() == [name for name in FILES if name != LAYERS]


def test_with_nothing_to_submit_there_is_no_zip(tmp_path, capsys, no_pdf):
    status, out = collect(tmp_path, capsys)
    assert status == 1
    assert "a2.zip: not written, because" in out
    assert "No PDF: none of the notebooks can be read." in out
    assert list(tmp_path.iterdir()) == []


def test_check_writes_nothing(folder, capsys):
    before = sorted(folder.rglob("*"))
    status, out = collect(folder, capsys, "--check")
    assert status == 0
    assert "Q5        7 of 7          10 of 10\n" in out
    assert "a2.zip" not in out
    assert sorted(folder.rglob("*")) == before


def test_where_there_is_a_page_of_html_only(folder, capsys, monkeypatch):
    result = PdfResult(folder / "a2.html", "HTML by Pandoc", ["Typst needs the package typst"])
    monkeypatch.setattr(pdf, "make_pdf", lambda notebooks, folder: result)
    status, out = collect(folder, capsys)
    assert status == 0
    assert f"Skipped: Typst needs the package typst\n{folder}/a2.html: HTML by Pandoc\n" in out
    assert "Open this page in a browser and print it to a PDF" in out


def test_without_any_way_to_a_pdf_the_zip_is_kept(folder, capsys, monkeypatch):
    monkeypatch.setattr(
        pdf, "make_pdf", lambda notebooks, folder: PdfResult(None, "", ["Typst needs the package typst"])
    )
    status, out = collect(folder, capsys)
    assert status == 1
    assert "Skipped: Typst needs the package typst\nNo PDF: none of the ways to make one works here." in out
    assert (folder / "a2.zip").exists()


def test_an_output_folder_that_cannot_be_written_to(folder, capsys):
    (folder / "taken").write_text("a file")
    status = collecting.main(["--output", str(folder / "taken")], folder)
    assert status == 1
    assert f"Cannot write to {folder}/taken: " in capsys.readouterr().out


@pytest.fixture
def handed_out(folder, tmp_path):
    """The assignment with its script, and a PATH on which there is Python but no zip."""
    for name in ("course", "cs231n"):
        ignored = shutil.ignore_patterns("__pycache__", "datasets", "*.so", "*.c")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored, dirs_exist_ok=True)
    shutil.copy(ROOT / "collect_submission.sh", folder)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tools / "python3").chmod(0o755)
    (tools / "dirname").symlink_to(shutil.which("dirname"))
    return folder


def run_script(folder, tools, *arguments):
    return subprocess.run(
        [folder / "collect_submission.sh", *arguments],
        cwd="/",
        env={"PATH": str(tools), "PYTHONPATH": "", "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_the_script_makes_zip_and_pdf(handed_out, tmp_path):
    assert shutil.which("zip", path=tmp_path / "tools") is None
    for name in NOTEBOOKS:
        write_notebook(handed_out / name, markdown(f"# {name} \u2192"))
    done = run_script(handed_out, tmp_path / "tools", "--output", str(tmp_path / "to hand in"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "a2.zip: 12 files" in done.stdout
    assert "a2.pdf: 5 pages, by Pandoc and Typst\n" in done.stdout
    assert sorted(path.name for path in (tmp_path / "to hand in").iterdir()) == ["a2.pdf", "a2.zip"]


def test_the_script_fails_where_a_file_is_missing(handed_out, tmp_path):
    (handed_out / "cs231n/optim.py").unlink()
    write_notebook(handed_out / DROPOUT, code("\u03b1 = 1", None))  # on a terminal that has no Greek
    done = run_script(handed_out, tmp_path / "tools", "--check")
    assert (done.returncode, done.stderr) == (1, "")
    assert "cs231n/optim.py is missing" in done.stdout
    assert "code cell 1 (? = 1)" in done.stdout


def test_the_help_names_the_command_for_windows(capsys):
    with pytest.raises(SystemExit):
        collecting.main(["--help"])
    assert "python -m course.submission does the same, on Windows too." in capsys.readouterr().out


def test_the_script_prefers_the_environment_of_the_assignment(handed_out, tmp_path):
    own = handed_out / ".venv/bin/python"
    own.parent.mkdir(parents=True)
    own.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "own: $*"\n')
    own.chmod(0o755)
    assert (
        run_script(handed_out, tmp_path / "tools", "--check").stdout == "own: -m course.submission --check\n"
    )


def test_the_script_without_python(handed_out, tmp_path):
    (tmp_path / "tools" / "python3").unlink()
    done = run_script(handed_out, tmp_path / "tools")
    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.10 or newer is needed")


def test_a_python_without_packages_makes_the_zip(handed_out, tmp_path):
    """Only the PDF needs more than the standard library."""
    python = f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n'  # -S: without site-packages
    (tmp_path / "tools" / "python3").write_text(python)
    done = run_script(handed_out, tmp_path / "tools")
    assert (done.returncode, done.stderr) == (1, "")
    assert "a2.zip: 12 files" in done.stdout
    assert "No PDF: No module named 'PIL'" in done.stdout
    assert (handed_out / "a2.zip").exists()


def test_a_line_that_begins_with_the_operator_is_no_magic():
    formatted = SimpleNamespace(source='text = ("%d"\n% 3)')
    assert python_of(formatted) == formatted.source
    assert python_of(SimpleNamespace(source="%matplotlib inline\nx = 1")) == "\nx = 1"
