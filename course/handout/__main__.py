"""Make the learners' version of this repository: `python -m course.handout FOLDER`."""

import argparse
import sys
from collections.abc import Sequence

from course.handout.make import make_handout
from course.rubric import EXERCISES


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m course.handout", description="Make the learners' version of this repository."
    )
    parser.add_argument("folder", metavar="FOLDER", help="new or empty; FOLDER.zip is written beside it")
    folder = parser.parse_args(arguments).folder
    try:
        archive = make_handout(folder)
    except ValueError as error:
        sys.exit(f"No handout was made: {error}")
    points = sum(exercise.points for exercise in EXERCISES)
    print(f"{len(EXERCISES)} exercises, {points} points: {folder}, and beside it {archive.name}")


if __name__ == "__main__":
    main()
