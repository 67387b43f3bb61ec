"""The notebooks: fit to be read as they are committed, and run to the end on the tiny data set."""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import PATIENCE

import run_notebooks
from cs231n.passes import read_passes

ROOT = Path(run_notebooks.__file__).parent
QUESTIONS = {
    "FullyConnectedNets.ipynb": "q1",
    "BatchNormalization.ipynb": "q2",
    "Dropout.ipynb": "q3",
    "ConvolutionalNetworks.ipynb": "q4",
    "PyTorch.ipynb": "q5",
}
LOCAL_PATH = re.compile(
    rf"{re.escape(str(ROOT))}/|/home/|/root/|/Users/|/tmp/|/mnt/|/usr/|/opt/|site-packages|ipykernel_|[A-Z]:\\"
)

every_notebook = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=getattr(pytest.mark, QUESTIONS[name])) for name in run_notebooks.NOTEBOOKS],
)


def read(name):
    return nbformat.read(ROOT / name, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def all_outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def texts(output):
    """What is written in an output, without its pictures."""
    parts = [output.get("text", ""), *output.get("traceback", ())]
    return [
        *parts,
        *(str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/")),
    ]


def has_picture(cell):
    return any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))


@pytest.mark.q1
def test_the_runner_runs_every_notebook():
    assert sorted(run_notebooks.NOTEBOOKS) == sorted(path.name for path in ROOT.glob("*.ipynb"))


@every_notebook
def test_format(name):
    nbformat.validate(json.loads((ROOT / name).read_text(encoding="utf-8")))


@every_notebook
def test_size(name):
    assert (ROOT / name).stat().st_size < 1.5e6


@every_notebook
def test_counts_run_from_1(name):
    cells = code_cells(read(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@every_notebook
def test_it_was_run_without_errors_or_warnings(name):
    outputs = all_outputs(read(name))
    assert any(has_picture(cell) for cell in code_cells(read(name)))
    assert any(read_passes(text) for output in outputs for text in texts(output))
    assert [
        output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"
    ] == []


@pytest.mark.q4
def test_code_cells_are_short():
    """Of one idea each: half of them have at most six lines, and none more than twenty."""
    lengths = [cell.source.count("\n") + 1 for cell in code_cells(read("ConvolutionalNetworks.ipynb"))]
    assert np.median(lengths) <= 6
    assert max(lengths) <= 20


@pytest.mark.q4
def test_a_lesson_has_a_beginning_and_an_end():
    first, *_, last = read("ConvolutionalNetworks.ipynb").cells
    assert all(word in first.source for word in ("What you will be able to do", "Before you start", "Time:"))
    summary, exercises, links = re.split("## (?:Exercises|Further reading)", last.source)
    assert summary.startswith("## Summary")
    assert len(re.findall(r"(?m)^\d\. ", exercises)) == len(re.findall("(?m)^- ", links)) == 5


@every_notebook
def test_no_widgets(name):
    notebook = read(name)
    assert "widgets" not in notebook.metadata
    kinds = {kind for output in all_outputs(notebook) for kind in output.get("data", {})}
    assert not {kind for kind in kinds if "widget" in kind or "javascript" in kind}


@every_notebook
def test_no_local_paths(name):
    notebook = read(name)
    written = [cell.source for cell in notebook.cells]
    written += [text for output in all_outputs(notebook) for text in texts(output)]
    assert [match.group() for text in written if (match := LOCAL_PATH.search(text))] == []


@every_notebook
def test_no_image_of_cifar10_is_shown(name):
    """Run on CIFAR-10, a notebook draws curves and weights; the images are not ours to hand out.

    Cells that show images show drawings or a photograph, and a variable of that name holds nothing else.
    """
    notebook = read(name)
    cells = code_cells(notebook)
    if any("Data: CIFAR-10;" in text for output in all_outputs(notebook) for text in texts(output)):
        shown = [cell.source for cell in cells if SHOWS_IMAGES.search(cell.source) and has_picture(cell)]
        assert [source for source in shown if not ARE_OURS.search(source)] == []
        assert [source for source in shown if re.search(r"\bdata\b|_data\b", source)] == []
        code = "\n".join(cell.source for cell in cells)
        assert set(re.findall(r"(?m)^(?:drawings|drawn|photo) = (.*)$", code)) <= ORIGINS


SHOWS_IMAGES = re.compile("show_classes|show_images|show_heat")
ARE_OURS = re.compile(r"\b(crops|drawn|filters|fields)\b")
ORIGINS = {
    "get_drawings()",
    'drawings["pictures"]',
    'plt.imread(get_sample_data("grace_hopper.jpg"))',
}


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory):
    """The kernels' data folder: empty at first, so that the tiny data set is made there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CS231N_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("CS231N_DATASET", "tiny")
        yield


@every_notebook
def test_it_runs_on_the_tiny_data_set(name, tmp_path, tiny_data):
    result = run_notebooks.run_notebook(ROOT / name, tmp_path, timeout=PATIENCE)
    assert result.error == ""
    cells = code_cells(nbformat.read(tmp_path / name, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert result.cells == len(cells)
    assert result.checks > 0
