"""Grading as a whole: what the finished repository and the handout get, and the reports."""

import contextlib
import csv
import io
import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest
from conftest import PATIENCE
from distributed import Client

from course.grading import __main__ as command
from course.grading import batch, gradescope
from course.grading.checks import CHECKS
from course.grading.grade import WAITING, Grade, grade
from course.grading.judge import Verdict
from course.grading.report import as_html, as_text
from course.grading.results import as_results
from course.handout.blanking import hand_out
from course.rubric import BY_ID, EXERCISES, FILES
from course.submission.archive import write_files

ROOT = Path(batch.__file__).parents[2]
SECRET = b"a secret of the tests"


@pytest.fixture(scope="module")
def finished():
    """The finished repository's files, as a learner would hand them in who has done everything."""
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def steps():
    """The results as they were written down on the way, filled by `perfect`."""
    return []


@pytest.fixture(scope="module")
def perfect(finished, steps):
    return grade("perfect", zipped(finished), SECRET, lambda result: steps.append(as_results(result)))


@pytest.fixture(scope="module")
def untouched(finished):
    return grade("untouched", zipped(hand_out(finished)), SECRET)


def without_time(text):
    results = json.loads(text)
    results.pop("execution_time")
    return results


def test_the_finished_repository_gets_100_points(perfect):
    assert [(v.exercise.id, v.checks, v.notes) for v in perfect.verdicts if v.state != "passed"] == []
    assert perfect.score == 100


def test_the_handout_gets_nothing_and_every_exercise_is_told_to_be_undone(untouched):
    assert untouched.score == 0
    assert {verdict.state for verdict in untouched.verdicts} == {"not done"}


def test_the_same_submission_gets_the_same_report_again(perfect, finished):
    again = grade("perfect", zipped(finished), SECRET)
    assert without_time(as_results(again)) == without_time(as_results(perfect))


def test_nothing_handed_in_gets_nothing_and_says_so():
    result = grade("empty", zipped({"readme.txt": "I did not do it"}), SECRET)
    assert result.score == 0
    assert {verdict.state for verdict in result.verdicts} == {"missing"}
    assert "layers.py was not handed in" in as_text(result)


def test_results_are_complete_after_every_exercise(steps, perfect):
    """Whatever ends the grading, the report that is there has all exercises and a total of 100."""
    assert len(steps) == len(EXERCISES) + 1
    for step in map(json.loads, steps):
        assert len(step["tests"]) == len(EXERCISES)
        assert sum(test["max_score"] for test in step["tests"]) == 100
        assert step["score"] == pytest.approx(sum(test["score"] for test in step["tests"]))
    finished = [json.loads(step)["extra_data"]["finished"] for step in steps]
    assert finished == [False] * len(EXERCISES) + [True]


def test_results_have_what_gradescope_asks_for(perfect):
    results = json.loads(as_results(perfect))
    assert results["visibility"] == "visible"
    assert results["output_format"] == results["test_output_format"] == "text"
    assert {test["status"] for test in results["tests"]} == {"passed"}
    numbers = [test["number"] for test in results["tests"]]
    assert numbers[0] == "1.1" and len(set(numbers)) == len(numbers)
    assert {test["visibility"] for test in results["tests"]} == {"visible"}  # one hidden test hides the total


def test_claimed_accuracies_are_shown_as_claimed(perfect):
    assert ("PyTorch.ipynb", "test accuracy") in {claim[:2] for claim in perfect.claims}
    assert "Accuracies that the notebooks claim" in as_text(perfect)


def test_the_report_says_which_protections_were_active(perfect):
    text = as_text(perfect)
    assert text.count("active: ") + text.count("not active here: ") >= 5
    assert ("active: only system files" in text) == ("landlock" in perfect.fences)


def hostile_grade(text):
    """A grade in which every text that comes from a submission is `text`."""
    verdicts = [Verdict(exercise, WAITING) for exercise in EXERCISES]
    verdicts[0] = Verdict(EXERCISES[0], "failed", 0, [("values", text)], [text])
    return Grade(text, "0", verdicts, [text], [text], [(text, text, 0.5)])


def test_the_page_escapes_what_a_submission_says():
    page = as_html(hostile_grade("<script>alert(1)</script>"))
    assert "<script" not in page and "&lt;script&gt;" in page


def test_the_terminal_is_not_driven_by_what_a_submission_says():
    assert "\x1b" not in as_text(hostile_grade("\x1b[2J\x1b]0;title\x07"))


def test_results_are_json_whatever_a_submission_says():
    text = hostile_grade('"\\\ud800\x00\n').name
    assert json.loads(as_results(hostile_grade(text)))["tests"][0]["score"] == 0


@pytest.fixture
def class_of_three(tmp_path, finished):
    """A folder with the zips of three learners: done, half done, and no zip at all."""
    folder = tmp_path / "submissions"
    folder.mkdir()
    some = {name: text for name, text in finished.items() if name.endswith("optim.py")}
    (folder / "ada.zip").write_bytes(zipped(some))
    (folder / "=bob.zip").write_bytes(zipped(hand_out(some)))
    (folder / "eve.zip").write_bytes(b"this is no zip")
    return folder


def table(output):
    with (output / "grades.csv").open(encoding="utf-8") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


def rows_without_time(output):
    return {name: row | {"seconds": ""} for name, row in table(output).items()}


def run_command(tmp_path, *arguments):
    return command.main([*map(str, arguments), "--secret", str(tmp_path / "secret")])


def test_a_folder_is_graded_into_a_table(class_of_three, tmp_path, capsys):
    output = tmp_path / "grades"
    assert run_command(tmp_path, class_of_three, "--output", output, "--jobs", 2) == 0
    rows = table(output)
    assert {name: row["points"] for name, row in rows.items()} == {"ada": "4", "'=bob": "0", "eve": "0"}
    assert rows["ada"]["Q1"] == "4" and rows["ada"]["Q2"] == "0"
    assert "not a zip" in rows["eve"]["remarks"]
    assert "3 of 3 graded" in capsys.readouterr().out
    assert (output / "ada" / "report.html").exists()


def test_what_was_graded_is_not_graded_again_unless_it_has_changed(class_of_three, tmp_path, finished):
    output = tmp_path / "grades"
    paths = sorted(class_of_three.glob("*.zip"))
    batch.grade_many(paths, output, SECRET, jobs=1)
    times = {path.parent.name: path.stat().st_mtime_ns for path in output.glob("*/results.json")}
    broken = finished["cs231n/optim.py"].replace("next_w = w + v", "next_w = w - v")
    (class_of_three / "ada.zip").write_bytes(zipped({"cs231n/optim.py": broken}))
    (output / "eve" / "results.json").write_text("{ half of a")
    batch.grade_many(paths, output, SECRET, jobs=1)
    again = {path.parent.name: path.stat().st_mtime_ns for path in output.glob("*/results.json")}
    assert {name for name in times if again[name] != times[name]} == {"ada", "eve"}
    assert table(output)["ada"]["points"] == "3"


# -I keeps the folder and PYTHONPATH out: the process finds what is installed, as one started anywhere does.
INSTALLED = (sys.executable, "-I")


def require_installed(folder):
    """Skip unless the installed package is the code under test; fail if a part of it is not installed.

    PYTHONPATH, or pytest's own path, would hide that a package is missing from the installation. Where
    another copy is installed, or none, these processes would test something else: there is nothing to learn
    from them.
    """
    code = "import cs231n, pathlib; print(pathlib.Path(cs231n.__file__).resolve().parents[1])"
    found = subprocess.run([*INSTALLED, "-c", code], cwd=folder, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("cs231n is not installed: without that, no process outside of this folder can import it")
    if Path(found.stdout.strip()) != ROOT:
        pytest.skip(f"the installed cs231n is that of {found.stdout.strip()}, not the one under test")
    subprocess.run([*INSTALLED, "-c", "import course.grading.batch"], cwd=folder, check=True)


@contextlib.contextmanager
def started(folder, *arguments):
    """Run an installed module in a process of its own; at the end, it and all that it started are ended."""
    with (folder / f"{arguments[1]}.log").open("w") as log:
        process = psutil.Popen([*INSTALLED, "-m", *arguments], cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        family = [process]
        with contextlib.suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.terminate()
        for member in psutil.wait_procs(family, timeout=10)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def dask_cluster(folder):
    """The address of a scheduler with one worker, both started from the command line in `folder`."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ("dask", "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    worker = ("dask", "worker", "--nthreads", "1", "--no-dashboard", "--local-directory", ".", address)
    with started(folder, *scheduler), started(folder, *worker):
        with Client(address, timeout=PATIENCE) as client:
            client.wait_for_workers(1, timeout=PATIENCE)
        yield address


def test_a_dask_cluster_gives_the_same_table_as_this_machine(class_of_three, tmp_path):
    """Scheduler, worker and grader run in a folder that is not the repository."""
    elsewhere, here, there = tmp_path / "elsewhere", tmp_path / "here", tmp_path / "there"
    elsewhere.mkdir()
    require_installed(elsewhere)
    paths = [class_of_three / "ada.zip", class_of_three / "eve.zip"]
    common = ["-m", "course.grading", *paths, "--secret", tmp_path / "secret", "--output"]
    subprocess.run([*INSTALLED, *common, here, "--jobs", "1"], cwd=elsewhere, check=True)
    with dask_cluster(elsewhere) as address:
        subprocess.run([*INSTALLED, *common, there, "--cluster", address], cwd=elsewhere, check=True)
    assert rows_without_time(there) == rows_without_time(here)
    assert table(there)["ada"]["points"] == "4"


def test_one_that_cannot_be_graded_does_not_stop_the_others(class_of_three, tmp_path, capsys):
    (class_of_three / "mallory.zip").mkdir()
    paths = [class_of_three / "gone.zip", class_of_three / "ada.zip"]
    assert batch.grade_many(paths, tmp_path / "grades", SECRET, jobs=1) == 1
    rows = table(tmp_path / "grades")
    assert rows["ada"]["points"] == "4"
    assert rows["gone.zip"]["points"] == "" and "FileNotFoundError" in rows["gone.zip"]["remarks"]


def test_a_single_submission_is_reported_on_the_terminal(class_of_three, tmp_path, capsys):
    output = tmp_path / "grades"
    assert run_command(tmp_path, class_of_three / "ada.zip", "--output", output) == 0
    assert "ada: 4 of 100 points" in capsys.readouterr().out
    assert {path.name for path in (output / "ada").iterdir()} == {"report.txt", "report.html", "results.json"}


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path):
    first = command.read_secret(tmp_path / "secret")
    assert len(first) >= 32 and command.read_secret(tmp_path / "secret") == first
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
    assert command.read_secret(tmp_path / "other") != first


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere.zip"], "there is no file or folder nowhere.zip"),
        ([".", "--jobs", "0"], "at least 1; got 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert message in capsys.readouterr().err


# What `run_autograder` does, without the paths of this repository: all modules must come from the bundle
BUNDLE_RUNS = """
import pathlib, sys
source = pathlib.Path({source!r})
sys.path.insert(0, str(source))
from course.grading import gradescope
gradescope.run(pathlib.Path({home!r}))
ours = [module for name, module in sys.modules.items() if name.split(".")[0] in ("course", "cs231n")]
assert len(ours) > 20
for module in ours:
    for path in module.__path__ if hasattr(module, "__path__") else [module.__file__]:
        assert pathlib.Path(path).is_relative_to(source), f"{{module.__name__}} is from {{path}}"
"""


def test_the_bundle_grades_in_gradescopes_folders(tmp_path, finished):
    """Unpacked where Gradescope would, its code grades the submission beside it and writes results.json."""
    bundle, home = tmp_path / "bundle.zip", tmp_path / "autograder"
    gradescope.make_bundle(bundle, secret_file=tmp_path / "secret")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(home / "source")
        programs = {entry.filename for entry in archive.infolist() if entry.external_attr >> 16 & 0o100}
    assert programs == {"setup.sh", "run_autograder"}
    write_files(tmp_path / "a2.zip", {"cs231n/optim.py": finished["cs231n/optim.py"].encode()})
    with zipfile.ZipFile(tmp_path / "a2.zip") as archive:
        archive.extractall(home / "submission")
    code = BUNDLE_RUNS.format(source=str(home / "source"), home=str(home))
    subprocess.run([sys.executable, "-I", "-W", "error", "-c", code], cwd=home / "source", check=True)
    results = json.loads((home / "results" / "results.json").read_text())
    assert results["score"] == 4 and results["extra_data"]["finished"]


def test_the_shell_scripts_of_the_bundle_are_sound():
    for name in gradescope.SCRIPTS:
        subprocess.run(["bash", "-n", gradescope.TEMPLATES / name], check=True)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity of processes")
def test_as_many_are_graded_at_a_time_as_there_are_processors_for_this_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7})
    assert batch.usable_processors() == 3


def test_every_exercise_that_is_code_has_checks_and_no_other():
    assert set(CHECKS) == {exercise.id for exercise in EXERCISES if exercise.names}
    assert all(CHECKS.values())


def test_the_rubric_adds_up():
    by_question = {q: sum(e.points for e in EXERCISES if e.question == q) for q in range(1, 6)}
    assert by_question == {1: 20, 2: 30, 3: 10, 4: 30, 5: 10}
    assert all(need in BY_ID for exercise in EXERCISES for need in exercise.needs)
    assert len(BY_ID) == len(EXERCISES)
