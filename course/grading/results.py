"""A grade for Gradescope: results.json, as its autograders write it."""

import json

from course.grading.grade import WAITING
from course.grading.judge import PASSED
from course.grading.report import fence_lines, lines_of

MAX_OUTPUT = 2_000  # characters on one exercise


def as_results(grade):
    """The text of results.json; all exercises are in it, judged or not, so that the total is always 100."""
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


def _tests(grade):
    tests, counts = [], {}
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
