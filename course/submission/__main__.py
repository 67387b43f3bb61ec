"""Check the assignment as a grader would, and collect it for submission.

    ./collect_submission.sh                    # check, then write a2.zip and a2.pdf
    ./collect_submission.sh --check            # check only
    ./collect_submission.sh --output FOLDER    # write them elsewhere

What is not done yet is told and does not keep anything from being collected. The exit status is 1 if a file
is missing or cannot be read, or if there is neither a PDF nor a page of HTML.
"""

import argparse
import sys
from pathlib import Path

from course.rubric import FILES
from course.submission.archive import write_zip
from course.submission.inspection import REQUIRED, by_question, inspect

try:
    from course.submission.pdf import make_pdf
except ImportError as error:  # a Python without the packages of the assignment can still make the zip
    make_pdf, NO_PDF = None, f"No PDF: {error}. Use the Python that runs the notebooks."

FOLDER = Path(__file__).resolve().parents[2]


def show_findings(inspection):
    """Print what was found, first what is required, and then how far every question is."""
    required = [finding for finding in inspection.findings if finding.severity == REQUIRED]
    others = [finding for finding in inspection.findings if finding.severity != REQUIRED]
    for title, findings in (("These files cannot be graded:", required), ("Look at this again:", others)):
        if findings:
            print("\n".join([title, *(f"  {finding}" for finding in findings), ""]))
    print("question  exercises done  points in reach")
    for question, done, exercises, points, most in by_question(inspection.statuses):
        print(f"{f'Q{question}':<8}  {f'{done} of {exercises}':<14}  {points} of {most}")
    print()


def collect_zip(folder, output):
    """Write a2.zip and say what is in it."""
    path = output / "a2.zip"
    names = write_zip(folder, path)
    if not names:
        print(f"{path}: not written, since none of the files to submit is in {folder}")
        return
    left_out = [name for name in FILES if name not in names]
    without = f", without {', '.join(left_out)}" if left_out else ""
    print(f"{path}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB{without}")


def collect_pdf(notebooks, output):
    """Write a2.pdf, or a2.html in its place, and say how; return whether one of them was written."""
    if make_pdf is None:
        print(NO_PDF)
        return False
    if not notebooks:
        print("No PDF: none of the notebooks can be read.")
        return False
    path, told = make_pdf(notebooks, output)
    barred, how = (told[:-1], told[-1]) if path else (told, "")
    for reason in barred:
        print(f"Not possible here: {reason}")
    if path is None:
        print("No PDF: there is no way to make one here. The zip is complete without it.")
        return False
    print(f"{path}: {how}")
    if path.suffix == ".html":
        print(
            "This is a page of HTML: open it in a browser and print it to a PDF, or install one of the above."
        )
    return True


def main(arguments=None, folder=FOLDER):
    parser = argparse.ArgumentParser(
        prog="collect_submission.sh", description="Check the assignment and collect it: a2.zip and a2.pdf."
    )
    parser.add_argument("--check", action="store_true", help="check only, write nothing")
    parser.add_argument(
        "--output", default=folder, type=Path, metavar="FOLDER", help="default: the assignment's own"
    )
    options = parser.parse_args(arguments)
    inspection = inspect(folder)
    show_findings(inspection)
    collected = True
    if not options.check:
        try:
            collect_zip(folder, options.output)
            collected = collect_pdf(inspection.notebooks, options.output)
        except OSError as error:
            print(
                f"Nothing can be written to {options.output}: {error.strerror}; choose another with --output"
            )
            collected = False
    return 0 if inspection.is_complete and collected else 1


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # learners' letters, on a terminal that may not have them
    sys.exit(main())
