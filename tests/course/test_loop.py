"""The loop that an assignment goes through: handed out, solved, collected, graded."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from course.grading import __main__ as command
from course.handout.make import make_handout
from course.rubric import FILES, NOTEBOOKS

ROOT = Path(command.__file__).parents[2]


@pytest.fixture(scope="module")
def handout(tmp_path_factory):
    """The folder that a learner unpacks, in a place whose name has a space."""
    folder = tmp_path_factory.mktemp("a learner")
    archive = make_handout(folder / "assignment2")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder / "unpacked")
    return folder / "unpacked" / "assignment2"


def collect(folder):
    """Run the script in the folder with this Python for python3, and with little else on the PATH."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "MPLBACKEND": "Agg"}
    return subprocess.run(
        ["sh", "collect_submission.sh"], cwd=folder, env=environment, capture_output=True, text=True
    )


def graded(zip_file, tmp_path):
    arguments = [str(zip_file), "--output", str(tmp_path), "--secret", str(tmp_path / "secret")]
    assert command.main(arguments) == 0
    return json.loads((tmp_path / zip_file.stem / "results.json").read_text(encoding="utf-8"))


def test_the_handout_collected_as_it_is_gets_nothing(handout, tmp_path):
    told = collect(handout)
    assert told.returncode == 0
    assert "layers.py is not finished: write affine_forward (Q1, 1 point)" in told.stdout
    assert "0 of 20" in told.stdout
    results = graded(handout / "a2.zip", tmp_path)
    assert results["score"] == 0
    assert {test["extra_data"]["state"] for test in results["tests"]} == {"not done"}


def test_the_handout_solved_and_collected_gets_100_points(handout, tmp_path):
    """The learner has come to the same solution as the instructor, and has run the notebooks."""
    for name in FILES:
        (handout / name).write_bytes((ROOT / name).read_bytes())
    told = collect(handout)
    assert (told.returncode, told.stderr) == (0, "")
    assert "Look at this again" not in told.stdout
    assert (handout / "a2.pdf").stat().st_size > 100_000
    with zipfile.ZipFile(handout / "a2.zip") as archive:
        assert sorted(archive.namelist()) == sorted(FILES)
    results = graded(handout / "a2.zip", tmp_path)
    assert results["score"] == 100
    assert results["output"].count(".ipynb") == 0, "nothing is said against the notebooks"
    assert {claim[0] for claim in results["extra_data"]["claims"]} <= set(NOTEBOOKS)
