"""The runner of the notebooks: what it does with good ones, bad ones and Ctrl-C."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from conftest import PATIENCE
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import run_notebooks

pytestmark = pytest.mark.q1

RUNNER = Path(run_notebooks.__file__)
PROGRESS_BAR = r"""
for i in range(5):
    print(f"\rstep {i}/4", end="", flush=True)
print("\nPASS  the bar: 4 (at least 4)")
"""


def stale_cell(source):
    """A cell with what an earlier run left in it."""
    output = new_output("stream", name="stdout", text="PASS  long ago: 1 (at least 0)\n")
    return new_code_cell(source, execution_count=9, outputs=[output])


NOTEBOOKS = {
    "good": [
        new_markdown_cell("# Good"),
        stale_cell("print('PASS  one: 1 (at least 0)')"),
        new_code_cell(""),
        new_code_cell(PROGRESS_BAR),
        new_code_cell("from pathlib import Path\nPath('here.txt').write_text('x')"),
        new_code_cell("print('no PASS')\n1 + 1"),
    ],
    "failing": [
        stale_cell("print('PASS  before: 1 (at least 0)')"),
        new_code_cell("# the second\nraise RuntimeError('on purpose')"),
        stale_cell("print('never')"),
    ],
    "hanging": [new_code_cell("import time\nprint('busy', flush=True)\ntime.sleep(100)")],
    "dying": [
        new_code_cell("x = 1"),
        new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
    ],
}


def write_notebook(path, cells):
    nbformat.write(new_notebook(cells=cells), path)


def read_cells(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook.cells


def outputs_as_text(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


class Run:
    """One run of the runner over all of NOTEBOOKS and over files that are none: folders, text and status."""

    def __init__(self, folder):
        self.folder, self.executed = folder, folder / "executed"
        for name, cells in NOTEBOOKS.items():
            write_notebook(folder / f"{name}.ipynb", cells)
        (folder / "malformed.ipynb").write_text("{", encoding="utf-8")
        (folder / "other.ipynb").write_text('{"a": 1}', encoding="utf-8")
        self.before = {path.name: path.read_bytes() for path in folder.iterdir()}
        names = ("failing", "hanging", "dying", "malformed", "other", "missing", "good")
        paths = [str(folder / f"{name}.ipynb") for name in names]
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            self.status = run_notebooks.main([*paths, "--output", str(self.executed), "--timeout", "2"])
        self.text = stdout.getvalue()
        self.summary = (self.executed / "summary.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("notebooks"))


def test_status_tells_of_failures(run):
    assert run.status == 1


def test_the_copy_of_a_good_notebook_has_its_outputs_and_counts(run):
    markdown, one, empty, bar, path, number = read_cells(run.executed / "good.ipynb")
    assert outputs_as_text(one) == "PASS  one: 1 (at least 0)\n"
    assert [cell.execution_count for cell in (one, empty, bar, path, number)] == [1, None, 2, 3, 4]
    assert number.outputs[1].data["text/plain"] == "2"
    assert markdown.source == "# Good"
    assert empty.outputs == []


def test_of_a_progress_bar_the_last_state_is_kept(run):
    bar = read_cells(run.executed / "good.ipynb")[3]
    assert len(bar.outputs) == 1
    assert outputs_as_text(bar) == "step 4/4\nPASS  the bar: 4 (at least 4)\n"


def test_a_notebook_runs_in_its_own_folder(run):
    assert (run.folder / "here.txt").read_text() == "x"


def test_copies_hold_no_times(run):
    assert all("execution" not in cell.metadata for cell in read_cells(run.executed / "good.ipynb"))


def test_the_notebooks_themselves_are_left_alone(run):
    assert {name: (run.folder / name).read_bytes() for name in run.before} == run.before


def test_a_failing_cell_is_named_and_its_traceback_kept(run):
    assert "FAILED  failing.ipynb, cell 2: RuntimeError: on purpose\n" in run.text
    before, failing, never = read_cells(run.executed / "failing.ipynb")
    assert outputs_as_text(before) == "PASS  before: 1 (at least 0)\n"
    assert failing.outputs[0].output_type == "error"
    assert any("on purpose" in line for line in failing.outputs[0].traceback)
    assert (never.outputs, never.execution_count) == ([], None)


def test_a_hanging_cell_is_stopped(run):
    assert "FAILED  hanging.ipynb, cell 1: stopped after 2 seconds\n" in run.text
    (cell,) = read_cells(run.executed / "hanging.ipynb")
    assert outputs_as_text(cell) == "busy\n"


def test_a_kernel_that_dies(run):
    assert "FAILED  dying.ipynb, cell 2: the kernel died (out of memory?)\n" in run.text
    assert read_cells(run.executed / "dying.ipynb")[0].execution_count == 1


@pytest.mark.parametrize(
    "name, error",
    [("malformed", "NotJSONError"), ("other", "ValidationError"), ("missing", "FileNotFoundError")],
)
def test_a_file_that_cannot_be_read(run, name, error):
    assert re.search(rf"FAILED  {name}\.ipynb, cannot be read: {error}: .+\n", run.text)
    assert not (run.executed / f"{name}.ipynb").exists()


def test_nothing_but_copies_and_summary_is_in_the_output_folder(run):
    expected = {"summary.md", "good.ipynb", "failing.ipynb", "hanging.ipynb", "dying.ipynb"}
    assert {path.name for path in run.executed.iterdir()} == expected


def test_every_cell_is_announced_and_timed(run):
    lines = [line for line in run.text.splitlines() if line.startswith("good [")]
    assert len(lines) == 4
    assert re.fullmatch(r"good \[1/4\]  print\('PASS  one: 1 \(at least 0\)'\)  \d+\.\d s", lines[0])
    assert re.fullmatch(r"good \[3/4\]  from pathlib import Path  \d+\.\d s", lines[2])


def test_summary(run):
    header, rule, *rows = run.summary.split("\n\n")[0].splitlines()
    assert header == "| notebook | result | seconds | cells | checks passed |"
    assert rule == "|---|---|---|---|---|"
    found = [re.sub(r"\| \d+ \|", "| s |", row, count=1) for row in rows]
    assert found == [
        "| failing | failed | s | 2 | 1 |",
        "| hanging | failed | s | 1 | 0 |",
        "| dying | failed | s | 2 | 0 |",
        "| malformed | failed | s | 0 | 0 |",
        "| other | failed | s | 0 | 0 |",
        "| missing | failed | s | 0 | 0 |",
        "| good | passed | s | 4 | 2 |",
    ]
    assert "\nfailing: cell 2: RuntimeError: on purpose\n" in run.summary
    assert "\ngood:" not in run.summary
    assert run.summary in run.text


def test_success_in_place(tmp_path):
    """--output with the notebook's own folder keeps the outputs in the notebook itself."""
    path = tmp_path / "short.ipynb"
    write_notebook(path, [stale_cell("print('new')")])
    assert run_notebooks.main([str(path), "--output", str(tmp_path)]) == 0
    (cell,) = read_cells(path)
    assert (outputs_as_text(cell), cell.execution_count) == ("new\n", 1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["short.ipynb", "summary.md"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("current, place", [(0, "starting the kernel"), (1, "cell 1")])
def test_an_unknown_error_of_one_notebook_does_not_stop_the_others(tmp_path, monkeypatch, current, place):
    for name in ("first", "second"):
        write_notebook(tmp_path / f"{name}.ipynb", [new_code_cell("1")])
    executed = []

    def execute(client):
        executed.append(client)
        if current:
            client.on_cell_execute(cell=client.nb.cells[0], cell_index=0)
        if len(executed) == 1:
            raise LookupError("who knows")

    monkeypatch.setattr(run_notebooks, "_execute", execute)
    paths = [str(tmp_path / f"{name}.ipynb") for name in ("first", "second")]
    assert run_notebooks.main([*paths, "--output", str(tmp_path / "out")]) == 1
    summary = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert f"first: {place}: LookupError: who knows" in summary
    assert "| second | passed |" in summary


def test_the_timeout_is_the_one_given(tmp_path, monkeypatch):
    write_notebook(tmp_path / "a.ipynb", [new_code_cell("1")])
    clients = []
    monkeypatch.setattr(run_notebooks, "_execute", clients.append)
    run_notebooks.main([str(tmp_path / "a.ipynb"), "--output", str(tmp_path / "out"), "--timeout", "7"])
    assert clients[0].timeout == 7


def test_a_write_that_fails_leaves_no_half_file(tmp_path, monkeypatch):
    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / "a.ipynb").write_text("as it was")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        run_notebooks._write(new_notebook(), tmp_path / "a.ipynb")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ipynb"]
    assert (tmp_path / "a.ipynb").read_text() == "as it was"


WAIT = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nos.rename('pid', 'ready')\ntime.sleep(100)"


@pytest.fixture
def default_signals():
    """Ctrl-C reaches child processes even where it is ignored here, as in a background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_ctrl_c_in_the_middle_of_a_cell(tmp_path, default_signals, stop):
    """The runner ends at once, with a summary of what it did and without the kernel or a traceback."""
    write_notebook(
        tmp_path / "waiting.ipynb", [new_code_cell("print('PASS  x: 1 (at least 0)')"), new_code_cell(WAIT)]
    )
    before = (tmp_path / "waiting.ipynb").read_bytes()
    runner = subprocess.Popen(
        [sys.executable, RUNNER, "missing.ipynb", "waiting.ipynb", "next.ipynb", "--output", "."],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_until((tmp_path / "ready").exists, PATIENCE)
        runner.send_signal(stop)
        out, err = runner.communicate(timeout=PATIENCE)
    finally:
        runner.kill()
    kernel = int((tmp_path / "ready").read_text())
    assert runner.returncode == 130
    assert err == ""
    assert "FAILED  waiting.ipynb, cell 2: stopped by Ctrl-C\n" in out
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert re.search(r"\| missing \| failed .*\n\| waiting \| failed \| \d+ \| 2 \| 1 \|\n", summary)
    assert "next" not in summary
    assert wait_until(lambda: not is_alive(kernel), PATIENCE)
    assert (tmp_path / "waiting.ipynb").read_bytes() == before
