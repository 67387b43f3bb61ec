"""Mistakes that learners make, written by one who did not know the diagnosis: all fail, and most are named.

python tests/test_student_mistakes.py        # the report of each, beside what a teaching assistant would say
"""

from functools import cache

import pytest
from student_mistakes import CASES

from cs231n.gradcheck import FAIL, check_layer, check_model

# Of 152, when they were tried for the first time and judged by one who knew only the reports: 147 with
# settings and 145 without, none with a false cause.
NAMED = {True: 147, False: 145}
every_case = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])


BY_ID = {case.id: case for case in CASES}


def report_on(case, with_settings=True):
    """The Report that a learner gets."""
    return _report_on(case.id, with_settings)


@cache
def _report_on(name, with_settings):
    item = BY_ID[name].make()
    if item["kind"] == "model":
        return check_model(item["model"], item["X"], item["y"])
    settings = item["settings"] if with_settings else {}
    return check_layer(item["forward"], item["backward"], item["inputs"], settings=settings)


def is_named(report):
    """Whether the first wrong thing in a report has a cause."""
    failed = [comparison for comparison in report.comparisons if comparison.status == FAIL]
    return bool(report.causes) or bool(failed and failed[0].causes)


@every_case
def test_no_mistake_passes_and_no_right_gradient_fails(case):
    report = report_on(case)
    assert report.status == FAIL
    if report.comparisons:
        expected = {f"d{name}" for name in case.wrong}
        assert {one.name for one in report.comparisons if one.status == FAIL} == expected


@pytest.mark.parametrize("with_settings", [True, False], ids=["settings", "no-settings"])
def test_most_are_named_first(with_settings):
    assert sum(is_named(report_on(case, with_settings)) for case in CASES) >= NAMED[with_settings]


if __name__ == "__main__":
    for case in CASES:
        print(f"## {case.id}: {case.what}\n{report_on(case)}\n")
