"""The grade of one submission: a verdict on every exercise, and what the notebooks show.

`grade` runs them all; between two exercises the caller may write down how far it has come.
"""

import time
from dataclasses import dataclass, field
from functools import partial

from course.grading.intake import take
from course.grading.judge import MISSING, PASSED, Verdict, judging
from course.grading.sandbox.parent import Starters, standing_fences
from course.rubric import EXERCISES, NOTEBOOKS
from course.submission.inspection import DONE, claims, notebook_findings, notebook_statuses
from course.submission.notebook import UnreadableError, parse_notebook

WAITING = "not judged"  # the state of an exercise whose turn has not come
ANSWERED = "answered; whether the answer is right is for a person to read"
CLAIMED = "not run again: its accuracy is shown as claimed"


@dataclass
class Grade:
    """What one submission gets and why.

    - name, digest: of the submission; verdicts: one for every exercise, in the rubric's order
    - notes: on what was handed in; findings: on cells that were not run, not in order or failed
    - claims: (notebook, name, value), accuracies as the saved outputs claim them
    - fences: what the submission's code was fenced in with; seconds: what it all took
    """

    name: str
    digest: str
    verdicts: list
    notes: list = field(default_factory=list)
    findings: list = field(default_factory=list)
    claims: list = field(default_factory=list)
    fences: tuple = ()
    seconds: float = 0.0

    @property
    def score(self):
        return round(sum(verdict.score for verdict in self.verdicts), 2)

    def of_question(self, question):
        """The verdicts on one question, the points they give and the points they could give."""
        verdicts = [verdict for verdict in self.verdicts if verdict.exercise.question == question]
        score = round(sum(verdict.score for verdict in verdicts), 2)
        return verdicts, score, sum(verdict.exercise.points for verdict in verdicts)


def grade(name, source, secret, after_each=lambda grade: None):
    """The Grade of a submission, a folder's path or a zip's bytes; after_each(grade) follows each verdict."""
    started = time.monotonic()
    submission = take(name, source)
    waiting = [Verdict(exercise, WAITING) for exercise in EXERCISES]
    result = Grade(name, submission.digest, waiting, submission.notes, fences=standing_fences())
    after_each(result)
    notebooks, notes = read_notebooks(submission)
    result.notes += notes
    for file, notebook in notebooks.items():
        result.findings += [str(finding) for finding in notebook_findings(notebook, file)]
        result.claims += [(file, *claim) for claim in claims(notebook)]
    with (
        Starters() as starters,
        judging(submission, notebooks, secret, result.fences, starters) as judge,
    ):
        for i, exercise in enumerate(EXERCISES):
            verdict = judge.verdict if exercise.names else partial(_words, notebooks)
            result.verdicts[i] = verdict(exercise)
            result.seconds = time.monotonic() - started
            after_each(result)
    return result


def read_notebooks(submission):
    """{name: notebook} of those that can be read, and notes on those that cannot."""
    notebooks, notes = {}, []
    for name in NOTEBOOKS:
        if name in submission.files:
            try:
                notebooks[name] = parse_notebook(submission.files[name])
            except UnreadableError as error:
                notes.append(f"{name} {error}")
    return notebooks, notes


def _words(notebooks, exercise):
    """The verdict on what is not run: an answer, which counts if there is one, and the best net."""
    if exercise.file not in notebooks:
        return Verdict(exercise, MISSING, notes=[f"{exercise.file} was not handed in, or cannot be read"])
    status = notebook_statuses(notebooks[exercise.file], [exercise])[exercise.id]
    if status != DONE:
        return Verdict(exercise, status, notes=[f"{status}: {exercise.title}"])
    return Verdict(exercise, PASSED, exercise.points, notes=[ANSWERED if exercise.is_answer else CLAIMED])
