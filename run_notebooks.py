"""Run the notebooks from top to bottom, as `make notebooks` does, and say how each of them went.

    python run_notebooks.py                             # all of them, in order
    python run_notebooks.py Dropout.ipynb               # one
    python run_notebooks.py --output .                  # keep the outputs in the notebooks themselves

Executed copies and a table of results, summary.md, are written to the output folder. A notebook that fails
does not keep the next from running; the exit status is 1 if any failed. Ctrl-C stops the notebook that is
running and leaves out the rest; the exit status is 130.
"""

import argparse
import asyncio
import signal
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from course.rubric import NOTEBOOKS
from cs231n.files import written_whole
from cs231n.passes import read_passes


@dataclass
class Result:
    """How one notebook went: `error` is empty if it ran to the end, `stopped` tells that Ctrl-C ended it."""

    name: str
    error: str
    seconds: float
    cells: int
    checks: int
    stopped: bool = False

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

    def place(self):
        return f"cell {self.current}" if self.current else "starting the kernel"


def run_notebook(path, output_folder, timeout):
    """Execute one notebook, write its executed copy into `output_folder` and return its Result.

    A cell that runs longer than `timeout` seconds is stopped and counts as a failure. Ctrl-C stops the
    notebook too, and then no copy is written.
    """
    path, started = Path(path), time.monotonic()
    notebook, progress, error, stopped = None, None, "", False
    try:
        notebook = _read(path)
        progress = Progress(path.stem, notebook)
        _execute(_client(notebook, path.parent, timeout, progress))
    except KeyboardInterrupt:
        error, stopped = "stopped by Ctrl-C", True
    except Exception as failure:  # whatever happens to one notebook, the next still runs
        error = _explain(failure, timeout)
    if error:
        error = f"{progress.place() if progress else 'cannot be read'}: {error}"
        print(f"\nFAILED  {path.name}, {error}\n", flush=True)
    if notebook and not stopped:
        _write(notebook, Path(output_folder) / path.name)
    cells = progress.current if progress else 0
    seconds = time.monotonic() - started
    return Result(path.stem, error, seconds, cells, _count_passes(notebook), stopped)


def _read(path):
    """The notebook without what an earlier run left in it, which might pass for results of this one."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _execute(client):
    """Run a notebook in a thread of its own, so that Ctrl-C stops it in good order.

    In the main thread nbclient answers the signal itself: it kills the kernel and then stumbles over its
    absence. In another thread it leaves signals alone, and the main thread has the task cancelled.
    """
    running = Future()

    async def run():
        running.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        try:
            await client.async_execute()
        finally:
            if client.km and client.km.has_kernel:  # cancelled while the kernel was starting
                await client.km.shutdown_kernel(now=True)

    with ThreadPoolExecutor(max_workers=1) as thread:
        done = thread.submit(asyncio.run, run())
        try:
            done.result()
        except KeyboardInterrupt:
            loop, task = running.result()
            loop.call_soon_threadsafe(task.cancel)
            raise


def _explain(failure, timeout):
    if isinstance(failure, CellExecutionError):
        return f"{failure.ename}: {failure.evalue}"
    if isinstance(failure, CellTimeoutError):
        return f"stopped after {timeout} seconds"
    if isinstance(failure, DeadKernelError):
        return "the kernel died (out of memory?)"
    return f"{type(failure).__name__}: {failure}"


def _client(notebook, folder, timeout, progress):
    return NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder.resolve())}},
        shutdown_kernel="immediate",  # a kernel that is busy would not go without a traceback
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        coalesce_streams=True,  # keeps the last state of a progress bar, not every state it went through
        on_cell_execute=progress.cell_starts,
        on_cell_executed=progress.cell_ends,
    )


def _write(notebook, path):
    with written_whole(path) as file:
        file.write(f"{nbformat.writes(notebook)}\n".encode())


def _code_cell_indices(notebook):
    return [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]


def _first_words(cell, width=60):
    line = cell.source.strip().splitlines()[0]
    return line if len(line) <= width else line[: width - 3] + "..."


def _count_passes(notebook):
    """Count the PASS lines that the notebook's checks printed."""
    cells = notebook.cells if notebook else []
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    texts = [output.text for output in outputs if output.output_type == "stream"]
    return sum(len(read_passes(text)) for text in texts)


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
    parser.add_argument("--timeout", type=int, default=1800, metavar="SECONDS", help="a cell; default: 1800")
    options = parser.parse_args(arguments)
    Path(options.output).mkdir(parents=True, exist_ok=True)
    results = []
    for notebook in options.notebooks:
        results.append(run_notebook(notebook, options.output, options.timeout))
        if results[-1].stopped:
            break
    write_summary(results, options.output)
    if results[-1].stopped:
        return 130
    return int(any(result.error for result in results))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends a job in CI counts as Ctrl-C
    sys.exit(main())
