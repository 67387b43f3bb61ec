"""Grade one submission: reach a verdict on every exercise, and note what the notebooks show.

After each exercise the caller can save the grade so far.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from course.grading.intake import Submission, take
from course.grading.judge import NOT_HANDED_IN, PASSED, Verdict, judging
from course.grading.sandbox.parent import Starters, standing_fences
from course.rubric import EXERCISES, NOTEBOOKS, Exercise
from course.submission.inspection import DONE, MISSING, claims, notebook_findings, notebook_statuses
from course.submission.notebook import Notebook, UnreadableError, parse_notebook

WAITING = "not judged"  # the state of an exercise before its turn
ANSWERED = "answered; a person has to judge the answer"
CLAIMED = "not run again; the report shows the accuracy that the notebook claims"


@dataclass
class Grade:
    """The grade of one submission, and the reasons for it.

    - name, digest: those of the submission
    - verdicts: one for every exercise, in the rubric's order
    - notes: on the files that were handed in
    - findings: on notebook cells that were not run, were run out of order, or failed
    - claims: (notebook, name, value) of the accuracies that saved outputs claim
    - fences: the protections that were active while the submission's code ran
    - seconds: how long grading took
    """

    name: str
    digest: str
    verdicts: list[Verdict]
    notes: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    claims: list[tuple[str, str, float]] = field(default_factory=list)
    fences: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def score(self) -> float:
        return round(sum(verdict.score for verdict in self.verdicts), 2)

    def of_question(self, question: int) -> tuple[list[Verdict], float, int]:
        """Return the verdicts on one question, their points, and the maximum of points."""
        verdicts = [verdict for verdict in self.verdicts if verdict.exercise.question == question]
        score = round(sum(verdict.score for verdict in verdicts), 2)
        return verdicts, score, sum(verdict.exercise.points for verdict in verdicts)


def _save_nothing(result: Grade) -> None:
    pass


def grade(
    name: str, source: bytes | str, secret: bytes, after_each: Callable[[Grade], None] = _save_nothing
) -> Grade:
    """Grade a submission, given the path of a folder or the bytes of a zip.

    - secret: the inputs of all checks are drawn from it, so that a submission cannot know them
    - after_each: called with the grade so far, at first and after each exercise
    """
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
            verdict = judge.verdict(exercise) if exercise.names else _without_code(notebooks, exercise)
            result.verdicts[i] = verdict
            result.seconds = time.monotonic() - started
            after_each(result)
    return result


def read_notebooks(submission: Submission) -> tuple[dict[str, Notebook], list[str]]:
    """Return {name: notebook} of the readable notebooks, and notes on the others."""
    notebooks: dict[str, Notebook] = {}
    notes: list[str] = []
    for name in NOTEBOOKS:
        if name in submission.files:
            try:
                notebooks[name] = parse_notebook(submission.files[name])
            except UnreadableError as error:
                notes.append(f"{name} {error}")
    return notebooks, notes


def _without_code(notebooks: dict[str, Notebook], exercise: Exercise) -> Verdict:
    """Judge what is not run: a written answer, which counts unless it is empty, or the best net."""
    if exercise.file not in notebooks:
        return Verdict(exercise, MISSING, notes=[NOT_HANDED_IN.format(file=exercise.file)])
    status = notebook_statuses(notebooks[exercise.file], [exercise])[exercise.id]
    if status != DONE:
        return Verdict(exercise, status, notes=[f"{status}: {exercise.title}"])
    return Verdict(exercise, PASSED, exercise.points, notes=[ANSWERED if exercise.is_answer else CLAIMED])
