"""Grading many submissions: in parallel on this machine, or on a cluster, with resume.

One function grades one submission and is given all it needs: its bytes and the secret. So it may run in
another process or, through Dask, on another machine; what it returns is written here.
"""

import contextlib
import csv
import io
import json
import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import tqdm

from course.grading.grade import grade
from course.grading.intake import take
from course.grading.report import QUESTIONS, as_html, as_text, points
from course.grading.results import as_results
from cs231n.files import written_whole
from cs231n.kernels import load_kernels
from cs231n.kernels.threads import use_threads

RESULTS = "results.json"
SUMMARY = "grades.csv"
MAX_ZIP = 2**27  # bytes
MAX_RUNNING = 64  # submissions that are held in memory
ONE_AT_A_TIME = threading.Lock()  # the reference draws from NumPy's global generator


def read_submission(path):
    """What `grade` takes for a path: the bytes of a zip, or the path of a folder."""
    path = Path(path)
    if path.is_dir():
        return str(path)
    with path.open("rb") as file:
        return file.read(MAX_ZIP)


def grade_one(name, source, secret):
    """Grade one submission; returns {file name: text} of its reports."""
    with ONE_AT_A_TIME, use_threads(1), contextlib.redirect_stdout(io.StringIO()):
        torch.set_num_threads(1)
        load_kernels()
        result = grade(name, source, secret)
    return {"report.txt": as_text(result), "report.html": as_html(result), RESULTS: as_results(result)}


def grade_many(paths, output, secret, jobs=None, cluster=None):
    """Grade submissions and write their reports, and a table of all, into `output`.

    - paths: of zips or folders; their names without the suffix name the reports
    - jobs: how many at a time, by default one for each core
    - cluster: the address of a Dask scheduler, whose workers then grade

    What was graded before and has not changed since is left as it is. Ctrl-C keeps what is done. Returns the
    number of submissions that could not be graded.
    """
    output = Path(output)
    sources = {path.stem if path.is_file() else path.name: path for path in map(Path, paths)}
    waiting = {name: path for name, path in sources.items() if not _is_graded(output / name, name, path)}
    failed = {}
    try:
        with _executor(jobs, cluster) as executor, tqdm(total=len(waiting), unit="submission") as progress:
            for name, future in _graded(executor, waiting, secret):
                try:
                    write_reports(output / name, future.result())
                except Exception as error:  # whatever happens to one, the others are graded
                    failed[name] = f"{type(error).__name__}: {error}"
                    progress.write(f"{name} could not be graded: {failed[name]}")
                progress.update()
    finally:
        write_summary(output, sources, failed)
    return len(failed)


def _graded(executor, paths, secret):
    """(name, future) of each submission as it is done; few are held in memory at a time."""
    todo, running = iter(paths.items()), {}
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


def _submit(executor, name, path, secret):
    try:
        return executor.submit(grade_one, name, read_submission(path), secret)
    except OSError as error:  # the file cannot be read
        failed = Future()
        failed.set_exception(error)
        return failed


@contextlib.contextmanager
def _executor(jobs, cluster):
    """Where `grade_one` runs: on a Dask cluster, in processes of this machine, or in this one."""
    jobs = jobs or os.cpu_count() or 1
    if cluster is None and jobs == 1:
        with ThreadPoolExecutor(1) as executor:
            yield executor
    elif cluster is None:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
            yield executor
    else:
        from distributed import Client  # an engine of its own, which takes seconds to load

        with Client(cluster) as client:
            yield client.get_executor(pure=False)


def write_reports(folder, reports):
    """Write the files of one submission's report, the results last, since they tell that it is done."""
    for name, text in sorted(reports.items(), key=lambda item: item[0] == RESULTS):
        with written_whole(Path(folder) / name) as file:
            file.write(text.encode())


def _is_graded(folder, name, path):
    """Whether a report is there, finished, and of what is in the submission now."""
    results = _results(folder)
    if results is None or not results["extra_data"]["finished"]:
        return False
    return results["extra_data"]["digest"] == take(name, read_submission(path)).digest


def _results(folder):
    try:
        return json.loads((Path(folder) / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_summary(output, names, failed):
    """The table of all submissions, as CSV: points in all and by question, seconds, what was odd."""
    rows = [_row(output / name, name, failed.get(name, "")) for name in sorted(names)]
    text = io.StringIO()
    header = ["submission", "points", *(f"Q{question}" for question in QUESTIONS), "seconds", "remarks"]
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with written_whole(output / SUMMARY) as file:
        file.write(text.getvalue().encode())


def _row(folder, name, failure):
    results = _results(folder)
    if failure or results is None:
        return [_cell(name), "", *("" for _ in QUESTIONS), "", _cell(failure or "not graded")]
    sums = [
        sum(test["score"] for test in results["tests"] if test["tags"] == [f"Q{question}"])
        for question in QUESTIONS
    ]
    scores = [points(score) for score in (results["score"], *sums)]
    return [_cell(name), *scores, results["execution_time"], _cell("; ".join(results["extra_data"]["notes"]))]


def _cell(text):
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
