"""Submissions to try the grader on: the finished files, with other code in the place of an exercise."""

import ast
from pathlib import Path
from textwrap import dedent, indent

import course
from course.grading.grade import read_notebooks
from course.grading.intake import Submission
from course.grading.judge import judging
from course.grading.sandbox import parent as sandbox
from course.handout.blanking import blank_function
from course.rubric import BY_ID, FILES
from course.submission.source import find_function

ROOT = Path(course.__file__).parents[1]
FINISHED = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
SECRET = b"a secret of the tests"


def with_body(id, body, files=FINISHED):
    """The files with `body` as the body of the exercise's function."""
    exercise = BY_ID[id]
    blanked = blank_function(files[exercise.file], exercise.names[0], "here")
    lines = blanked.split("\n")
    function = find_function(ast.parse(blanked), exercise.names[0])
    margin = " " * (function.col_offset + 4)
    start, end = function.body[-1].lineno, function.body[-1].end_lineno
    lines[start - 1 : end] = [indent(dedent(body), margin)]
    return files | {exercise.file: "\n".join(lines)}


def with_top(file, code, files=FINISHED):
    """The files with code in front of everything that one of them holds."""
    return files | {file: f"{dedent(code)}\n{files[file]}"}


def verdicts(files, ids, starters, fences=None):
    """{id: verdict} of these exercises, judged in turn as one submission."""
    handed_in = Submission("test", dict(files))
    notebooks, _ = read_notebooks(handed_in)
    fences = sandbox.standing_fences() if fences is None else fences
    with judging(handed_in, notebooks, SECRET, fences, starters) as judge:
        return {id: judge.verdict(BY_ID[id]) for id in ids}


def reason(verdict):
    """What a verdict says is wrong, in one text."""
    return "; ".join(fault for _, fault in verdict.checks if fault) or "; ".join(verdict.notes)
