"""Grading on Gradescope: the bundle to upload, and what its autograder runs.

    python -m course.grading.gradescope bundle.zip        # make the bundle
    python -m course.grading.gradescope --run             # what run_autograder calls, there

The bundle holds this repository's code and the secret from which the inputs of the checks follow. Its report
is written anew after every exercise, so that there is one whatever happens.
"""

import argparse
import sys
from pathlib import Path

from course.grading.grade import grade
from course.grading.results import as_results
from course.grading.secret import SECRET, read_secret
from course.submission.archive import write_files
from cs231n.files import written_whole

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = Path(__file__).resolve().parent / "templates"
HOME = Path("/autograder")
COPIED = (
    "cs231n/**/*.py",
    "cs231n/kernels/*.pyx",
    "cs231n/kernels/c/*.h",
    "course/**/*.py",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
)
SCRIPTS = ("setup.sh", "run_autograder")


def make_bundle(path, secret_file=SECRET, root=ROOT):
    """Write the bundle that an instructor uploads, a zip."""
    contents = {}
    for pattern in COPIED:
        for file in sorted(root.glob(pattern)):
            contents[file.relative_to(root).as_posix()] = file.read_bytes()
    for name in SCRIPTS:
        contents[name] = (TEMPLATES / name).read_bytes()
    contents[SECRET.name] = read_secret(secret_file)
    write_files(path, contents, programs=SCRIPTS)


def run(home=HOME, secret_file=SECRET):
    """Grade the submission that Gradescope has unpacked, and leave results.json where it looks for it."""

    def write(result):
        with written_whole(home / "results" / "results.json") as file:
            file.write(as_results(result).encode())

    grade("submission", str(home / "submission"), read_secret(secret_file), after_each=write)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m course.grading.gradescope", description=__doc__.splitlines()[0]
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE.zip", help="the zip to make")
    what.add_argument("--run", action="store_true", help="grade, in Gradescope's container")
    options = parser.parse_args(arguments)
    if options.run:
        run()
        return 0
    make_bundle(options.bundle)
    print(f"{options.bundle} is made: upload it as the autograder. It holds the secret and the solutions.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
