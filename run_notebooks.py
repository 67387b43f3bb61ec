"""Run the notebooks from top to bottom, as `make notebooks` does, and say how each of them went.

    python run_notebooks.py                             # all of them, in order
    python run_notebooks.py Dropout.ipynb               # one
    python run_notebooks.py --output .                  # keep the outputs in the notebooks themselves

Executed copies and a table of results, summary.md, are written to the output folder. A notebook that fails
does not keep the next from running; the exit status is 1 if any failed.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

NOTEBOOKS = ("FullyConnectedNets.ipynb", "BatchNormalization.ipynb", "Dropout.ipynb")


@dataclass
class Result:
    """How one notebook went: `error` is empty if it ran to the end."""

    name: str
    error: str
    seconds: float
    cells: int
    checks: int

    def row(self):
        outcome = "failed" if self.error else "passed"
        return f"| {self.name} | {outcome} | {self.seconds:.0f} | {self.cells} | {self.checks} |"


class Progress:
    """Prints a line per code cell: the notebook, the cell's number, its first words and its seconds."""

    def __init__(self, name, notebook):
        self.name = name
        self.numbers = {index: number for number, index in enumerate(_code_cell_indices(notebook), start=1)}
        self.current = 0

    def cell_starts(self, cell, cell_index):
        self.current = self.numbers[cell_index]
        self.started = time.monotonic()
        label = f"{self.name} [{self.current}/{len(self.numbers)}]"
        print(f"{label}  {_first_words(cell)}", end=" ", flush=True)

    def cell_ends(self, cell, cell_index, execute_reply):
        print(f" {time.monotonic() - self.started:.1f} s", flush=True)


def run_notebook(path, output_folder, timeout):
    """Execute one notebook, write its executed copy into `output_folder` and return its Result.

    A cell that runs longer than `timeout` seconds is stopped and counts as a failure.
    """
    path = Path(path)
    started = time.monotonic()
    error, notebook, progress = "", None, None
    try:
        notebook = nbformat.read(path, as_version=4)
        progress = Progress(path.stem, notebook)
        _client(notebook, path.parent, timeout, progress).execute()
    except CellExecutionError as failure:
        error = f"cell {progress.current}: {failure.ename}: {failure.evalue}"
    except CellTimeoutError:
        error = f"cell {progress.current}: stopped after {timeout} seconds"
    except DeadKernelError:
        error = f"cell {progress.current}: the kernel died (out of memory?)"
    except (OSError, ValueError) as failure:  # a missing or malformed file
        error = f"cannot be read: {failure}"
    if notebook is not None:
        _write(notebook, Path(output_folder) / path.name)
    if error:
        print(f"\nFAILED  {path.name}, {error}\n", flush=True)
    cells = progress.current if progress else 0
    return Result(path.stem, error, time.monotonic() - started, cells, _count_passes(notebook))


def _client(notebook, folder, timeout, progress):
    return NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder.resolve())}},
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        coalesce_streams=True,  # keeps the last state of a progress bar, not every state it went through
        on_cell_execute=progress.cell_starts,
        on_cell_executed=progress.cell_ends,
    )


def _write(notebook, path):
    """Write a notebook in one step, so that a run that is stopped never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".ipynb")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        nbformat.write(notebook, file)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def _code_cell_indices(notebook):
    return [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]


def _first_words(cell, width=60):
    line = cell.source.strip().splitlines()[0]
    return line if len(line) <= width else line[: width - 3] + "..."


def _count_passes(notebook):
    """How many lines the notebook's checks printed that begin with PASS."""
    if notebook is None:
        return 0
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    texts = [output.text for output in outputs if output.output_type == "stream"]
    return sum(line.startswith("PASS") for text in texts for line in text.splitlines())


def write_summary(results, output_folder):
    """Write and print the table of results."""
    header = "| notebook | result | seconds | cells | checks passed |\n|---|---|---|---|---|"
    failures = [f"\n{result.name}: {result.error}" for result in results if result.error]
    text = "\n".join([header, *(result.row() for result in results), *failures]) + "\n"
    Path(output_folder, "summary.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Run the notebooks and say how each of them went.")
    parser.add_argument("notebooks", nargs="*", default=NOTEBOOKS, help="default: all, in order")
    parser.add_argument("--output", default="executed", metavar="FOLDER", help="default: executed")
    parser.add_argument("--timeout", type=int, default=900, metavar="SECONDS", help="per cell; default: 900")
    options = parser.parse_args(arguments)
    Path(options.output).mkdir(parents=True, exist_ok=True)
    results = []
    try:
        for notebook in options.notebooks:
            results.append(run_notebook(notebook, options.output, options.timeout))
    finally:
        write_summary(results, options.output)
    return int(any(result.error for result in results))


if __name__ == "__main__":
    sys.exit(main())
