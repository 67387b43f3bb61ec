"""Write a grade as results.json, and read it again.

The file has two readers. Gradescope shows it, so it has the fields that Gradescope asks of autograders. And
`course.grading.batch` keeps nothing else about a submission: from `extra_data` it sees whether a submission
was graded and has not changed since, and from the scores it makes the table of all submissions.
"""

import json
from pathlib import Path
from typing import Any

from course.grading.grade import WAITING, Grade
from course.grading.judge import PASSED
from course.grading.report import fence_lines, lines_of

RESULTS = "results.json"
MAX_OUTPUT = 2_000  # characters about one exercise


def as_results(grade: Grade) -> str:
    """Return the text of results.json. It has all exercises, judged or not, so the maximum is 100."""
    said = [*grade.notes, *grade.findings, *fence_lines(grade.fences)]
    results = {
        "score": grade.score,
        "execution_time": round(grade.seconds, 1),
        "output": "\n".join(said)[: 5 * MAX_OUTPUT],
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": _tests(grade),
        "extra_data": {
            "digest": grade.digest,
            "finished": not any(verdict.state == WAITING for verdict in grade.verdicts),
            "notes": grade.notes,
            "claims": [list(claim) for claim in grade.claims],
        },
    }
    return json.dumps(results, indent=1, allow_nan=False) + "\n"


def read_results(folder: Path) -> dict[str, Any] | None:
    """Return the results in a folder, or None if there are none or they are damaged."""
    try:
        results: dict[str, Any] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return results


def _tests(grade: Grade) -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = []
    counts: dict[int, int] = {}
    for verdict in grade.verdicts:
        exercise = verdict.exercise
        counts[exercise.question] = counts.get(exercise.question, 0) + 1
        tests.append(
            {
                "number": f"{exercise.question}.{counts[exercise.question]}",
                "name": exercise.full_title,
                "score": verdict.score,
                "max_score": exercise.points,
                "status": "passed" if verdict.state == PASSED else "failed",
                "output": "\n".join([verdict.state, *lines_of(verdict)])[:MAX_OUTPUT],
                "tags": [f"Q{exercise.question}"],
                "visibility": "visible",
                "extra_data": {"exercise": exercise.id, "state": verdict.state},
            }
        )
    return tests
