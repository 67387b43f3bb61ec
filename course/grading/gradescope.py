"""Grade on Gradescope: make the bundle to upload, and run in it.

    python -m course.grading.gradescope bundle.zip        # make the bundle
    python -m course.grading.gradescope --run             # on Gradescope: run_autograder calls this

The bundle contains the code of this repository, with the solutions, and the secret from which the inputs of
the checks are drawn. The report is saved after every exercise, so there is one even if Gradescope stops the
run.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from course.grading.grade import Grade, grade
from course.grading.results import RESULTS, as_results
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


def make_bundle(path: Path, secret_file: Path = SECRET, root: Path = ROOT) -> None:
    """Write the zip that an instructor uploads to Gradescope."""
    contents: dict[str, bytes] = {}
    for pattern in COPIED:
        for file in sorted(root.glob(pattern)):
            contents[file.relative_to(root).as_posix()] = file.read_bytes()
    for name in SCRIPTS:
        contents[name] = (TEMPLATES / name).read_bytes()
    contents[SECRET.name] = read_secret(secret_file)
    write_files(path, contents, programs=SCRIPTS)


def run(home: Path = HOME, secret_file: Path = SECRET) -> None:
    """Grade the submission that Gradescope has unpacked, and write results.json where Gradescope reads it."""

    def save(result: Grade) -> None:
        with written_whole(home / "results" / RESULTS) as file:
            file.write(as_results(result).encode())

    grade("submission", str(home / "submission"), read_secret(secret_file), after_each=save)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m course.grading.gradescope",
        description="Make the autograder to upload to Gradescope, or run it there.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE.zip", help="the zip to make")
    what.add_argument("--run", action="store_true", help="grade; only in Gradescope's container")
    options = parser.parse_args(arguments)
    if options.run:
        run()
        return 0
    make_bundle(options.bundle)
    print(
        f"Wrote {options.bundle}. Upload it as the autograder. "
        "It contains the solutions and the secret: do not give it to learners."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
