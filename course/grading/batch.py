"""Grade many submissions: in parallel on this machine, or on a Dask cluster.

`grade_one` grades one submission. It gets everything that it needs as arguments, the bytes of the zip and the
secret, so it can run in another process or on another machine. The reports that it returns are written here.
A run that was stopped can be started again: submissions that were graded and have not changed are skipped.
"""

import contextlib
import csv
import io
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from course.grading.grade import grade
from course.grading.intake import take
from course.grading.report import QUESTIONS, as_html, as_text, points
from course.grading.results import RESULTS, as_results, read_results
from cs231n.files import written_whole
from cs231n.kernels import load_kernels
from cs231n.kernels.threads import use_threads

SUMMARY = "grades.csv"
MAX_ZIP = 2**27  # bytes
MAX_RUNNING = 64  # submissions in memory at a time
ONE_AT_A_TIME = threading.Lock()  # the reference draws from NumPy's global generator

Reports = dict[str, str]  # {file name: text}


def read_submission(path: str | Path) -> bytes | str:
    """Return what `grade` takes for a path: the bytes of a zip, or the path of a folder."""
    path = Path(path)
    if path.is_dir():
        return str(path)
    with path.open("rb") as file:
        return file.read(MAX_ZIP)


def grade_one(name: str, source: bytes | str, secret: bytes) -> Reports:
    """Grade one submission and return its reports as {file name: text}."""
    with ONE_AT_A_TIME, use_threads(1), contextlib.redirect_stdout(io.StringIO()):
        torch.set_num_threads(1)
        load_kernels()
        result = grade(name, source, secret)
    return {"report.txt": as_text(result), "report.html": as_html(result), RESULTS: as_results(result)}


def grade_many(
    paths: Iterable[str | Path],
    output: str | Path,
    secret: bytes,
    jobs: int | None = None,
    cluster: str | None = None,
) -> int:
    """Grade submissions; write their reports, and a table of all of them, into the folder `output`.

    - paths: zips or folders; a report gets the name of its submission, without the suffix
    - jobs: how many submissions to grade at a time; by default one for each processor
    - cluster: the address of a Dask scheduler; then its workers grade, and `jobs` has no effect

    A submission that was graded before and has not changed since is skipped. Ctrl-C keeps the reports that
    are finished. Return the number of submissions that could not be graded.
    """
    output = Path(output)
    sources = {path.stem if path.is_file() else path.name: path for path in map(Path, paths)}
    waiting = {name: path for name, path in sources.items() if not _is_graded(output / name, name, path)}
    failed: dict[str, str] = {}
    try:
        with _executor(jobs, cluster) as executor, tqdm(total=len(waiting), unit="submission") as progress:
            for name, future in _graded(executor, waiting, secret):
                try:
                    write_reports(output / name, future.result())
                except Exception as error:  # one failure must not stop the others
                    failed[name] = f"{type(error).__name__}: {error}"
                    progress.write(f"{name} could not be graded: {failed[name]}")
                progress.update()
    finally:
        write_summary(output, sources, failed)
    return len(failed)


def _graded(
    executor: Executor, paths: dict[str, Path], secret: bytes
) -> Iterator[tuple[str, Future[Reports]]]:
    """Yield (name, future) of each submission when it is done, with only a few in memory at a time."""
    todo = iter(paths.items())
    running: dict[Future[Reports], str] = {}
    try:
        while True:
            for name, path in islice(todo, MAX_RUNNING - len(running)):
                running[_submit(executor, name, path, secret)] = name
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future
    finally:
        for future in running:
            future.cancel()


def _submit(executor: Executor, name: str, path: Path, secret: bytes) -> Future[Reports]:
    try:
        return executor.submit(grade_one, name, read_submission(path), secret)
    except OSError as error:  # the file cannot be read
        failed: Future[Reports] = Future()
        failed.set_exception(error)
        return failed


@contextlib.contextmanager
def _executor(jobs: int | None, cluster: str | None) -> Iterator[Executor]:
    """Yield the executor for `grade_one`: a Dask cluster, processes of this machine, or this process."""
    jobs = jobs or usable_processors()
    if cluster is not None:
        from distributed import Client  # takes seconds to import

        with Client(cluster) as client:
            yield client.get_executor(pure=False)
    elif jobs == 1:
        with ThreadPoolExecutor(1) as threads:
            yield threads
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as processes:
            yield processes


def usable_processors() -> int:
    """Return how many processors this process may use: in a container, often not all of the machine's."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def write_reports(folder: Path, reports: Reports) -> None:
    """Write the reports of one submission, its results last: they mark the submission as graded."""
    for name, text in sorted(reports.items(), key=lambda item: item[0] == RESULTS):
        with written_whole(folder / name) as file:
            file.write(text.encode())


def _is_graded(folder: Path, name: str, path: Path) -> bool:
    """Return whether the folder has a finished report on the submission as it is now."""
    results = read_results(folder)
    if results is None or not results["extra_data"]["finished"]:
        return False
    return bool(results["extra_data"]["digest"] == take(name, read_submission(path)).digest)


def write_summary(output: Path, names: Iterable[str], failed: dict[str, str]) -> None:
    """Write the table of all submissions: total points, points by question, seconds and remarks."""
    rows = [_row(output / name, name, failed.get(name, "")) for name in sorted(names)]
    text = io.StringIO()
    header = ["submission", "points", *(f"Q{question}" for question in QUESTIONS), "seconds", "remarks"]
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with written_whole(output / SUMMARY) as file:
        file.write(text.getvalue().encode())


def _row(folder: Path, name: str, failure: str) -> list[Any]:
    results = read_results(folder)
    if failure or results is None:
        return [_cell(name), "", *("" for _ in QUESTIONS), "", _cell(failure or "not graded")]
    sums = [
        sum(test["score"] for test in results["tests"] if test["tags"] == [f"Q{question}"])
        for question in QUESTIONS
    ]
    scores = [points(score) for score in (results["score"], *sums)]
    return [_cell(name), *scores, results["execution_time"], _cell("; ".join(results["extra_data"]["notes"]))]


def _cell(text: str) -> str:
    """Return text that a spreadsheet does not evaluate as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
