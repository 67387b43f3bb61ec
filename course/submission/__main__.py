"""Check the assignment as a grader would, and collect it for submission.

    python -m course.submission                    # check, then write a2.zip and a2.pdf
    python -m course.submission --check            # check only
    python -m course.submission --output FOLDER    # write them to another folder

`./collect_submission.sh` does the same with the Python in .venv. Exercises that are not done are reported,
and everything is collected all the same. The exit status is 1 if a file is missing or cannot be read, or if
neither a PDF nor a page of HTML could be made.
"""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from course.rubric import FILES
from course.submission.archive import write_zip
from course.submission.inspection import REQUIRED, Finding, Inspection, by_question, inspect
from course.submission.notebook import Notebook

FOLDER = Path(__file__).resolve().parents[2]


def show_findings(inspection: Inspection) -> None:
    """Print the findings, the required ones first, and the progress on every question."""
    required = [finding for finding in inspection.findings if finding.severity == REQUIRED]
    others = [finding for finding in inspection.findings if finding.severity != REQUIRED]
    _show_list("These files cannot be graded:", required)
    _show_list("Look at this again:", others)
    print("question  exercises done  points if correct")
    for progress in by_question(inspection.statuses):
        question, done = f"Q{progress.question}", f"{progress.done} of {progress.exercises}"
        print(f"{question:<8}  {done:<14}  {progress.points_done} of {progress.points}")
    print()


def _show_list(title: str, findings: list[Finding]) -> None:
    if findings:
        print("\n".join([title, *(f"  {finding}" for finding in findings), ""]))


def collect_zip(folder: Path, output: Path) -> None:
    """Write a2.zip and print what is in it."""
    path = output / "a2.zip"
    names = write_zip(folder, path)
    if not names:
        print(f"{path}: not written, because {folder} has none of the files to submit")
        return
    left_out = [name for name in FILES if name not in names]
    without = f", without {', '.join(left_out)}" if left_out else ""
    print(f"{path}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB{without}")


def collect_pdf(notebooks: Mapping[str, Notebook], output: Path) -> bool:
    """Write a2.pdf, or a2.html instead, and print how; return whether one of them was written."""
    try:
        from course.submission.pdf import make_pdf
    except ImportError as error:  # a Python without the packages of the assignment can still make the zip
        print(f"No PDF: {error}. Use the Python that runs the notebooks.")
        return False
    if not notebooks:
        print("No PDF: none of the notebooks can be read.")
        return False
    result = make_pdf(notebooks, output)
    for reason in result.skipped:
        print(f"Skipped: {reason}")
    if result.path is None:
        print("No PDF: none of the ways to make one works here. The zip is complete without it.")
        return False
    print(f"{result.path}: {result.how}")
    if result.path.suffix == ".html":
        print("Open this page in a browser and print it to a PDF, or install one of the programs above.")
    return True


def parse_arguments(arguments: Sequence[str] | None, folder: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="collect_submission.sh",
        description="Check the assignment and collect it: a2.zip and a2.pdf.",
        epilog="python -m course.submission does the same, on Windows too.",
    )
    parser.add_argument("--check", action="store_true", help="check only, write nothing")
    parser.add_argument(
        "--output", default=folder, type=Path, metavar="FOLDER", help="default: the assignment's own"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    options = parse_arguments(arguments, folder)
    inspection = inspect(folder)
    show_findings(inspection)
    collected = options.check or _collect(folder, options.output, inspection.notebooks)
    return 0 if inspection.is_complete and collected else 1


def _collect(folder: Path, output: Path, notebooks: Mapping[str, Notebook]) -> bool:
    """Write the zip and the PDF; return whether both could be written."""
    try:
        collect_zip(folder, output)
        return collect_pdf(notebooks, output)
    except OSError as error:
        print(f"Cannot write to {output}: {error.strerror}; choose another folder with --output")
        return False


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the terminal may lack characters of learners' texts
    sys.exit(main())
