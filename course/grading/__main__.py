"""Grade submissions.

python -m course.grading a2.zip                     # one: print the report, and save it in grades/a2/
python -m course.grading submissions/ --jobs 2      # a folder of zips: grades/NAME/ and grades/grades.csv
python -m course.grading submissions/ --cluster tcp://scheduler:8786       # the same, on a Dask cluster
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from course.grading.batch import SUMMARY, grade_many, grade_one, read_submission, write_reports
from course.grading.secret import SECRET, read_secret


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    paths = [path for given in options.submissions for path in _expand(given)]
    secret = read_secret(options.secret)
    if len(paths) == 1 and not options.cluster:
        reports = grade_one(_name(paths[0]), read_submission(paths[0]), secret)
        folder = options.output / _name(paths[0])
        write_reports(folder, reports)
        print(f"{reports['report.txt']}\nSaved in {folder}/ as report.txt, report.html and results.json.")
        return 0
    failed = grade_many(paths, options.output, secret, options.jobs, options.cluster)
    print(f"{len(paths) - failed} of {len(paths)} graded; the table is in {options.output / SUMMARY}")
    return int(failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m course.grading", description="Grade submissions.")
    parser.add_argument("submissions", nargs="+", type=_existing, help="zips, or folders of zips")
    parser.add_argument(
        "--output",
        type=Path,
        default="grades",
        metavar="FOLDER",
        help="where to save reports; default: grades",
    )
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help="grade N at a time; default: one for each processor"
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="grade on the workers of the Dask scheduler at ADDRESS"
    )
    parser.add_argument(
        "--secret",
        type=Path,
        default=SECRET,
        metavar="FILE",
        help="draw the inputs of checks from this file; created if missing; default: .grading-secret",
    )
    return parser


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no file or folder {text}")
    return path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1; got {text}")
    return int(text)


def _expand(path: Path) -> list[Path]:
    """Return the submissions at a path: the zips in a folder, or the path itself."""
    zips = (
        sorted(child for child in path.iterdir() if child.suffix.lower() == ".zip") if path.is_dir() else []
    )
    return zips or [path]


def _name(path: Path) -> str:
    return path.stem if path.is_file() else path.resolve().name


if __name__ == "__main__":
    sys.exit(main())
