"""Judging a submission, exercise by exercise, without ever running its code in this process.

An exercise is tried as it was handed in. Where that fails and it builds on others, it is tried again with
the reference's functions in the place of theirs, so that one mistake is not paid for twice: the worker asks
the judge for their results. Whatever a worker does, it costs the exercise that it was started for.
"""

import hmac
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from shutil import copy

import numpy as np

import cs231n
from course.grading.checks import CHECKS
from course.grading.compare import FaultError
from course.grading.intake import declared_encoding
from course.grading.sandbox.parent import SubmissionError, Worker, WorkerLostError
from course.grading.subject import Subject
from course.handout.blanking import hand_out
from course.handout.make import LEFT_OUT
from course.rubric import BY_ID, EXERCISES, LAYERS, REGULARIZATION, SANDWICHES
from course.submission.inspection import DONE, MISSING, definitions, parse, source_statuses
from course.submission.notebook import UnreadableError
from course.submission.source import python_of
from cs231n import kernels, layers
from cs231n.classifiers import regularization
from cs231n.kernels import COMPILED

REFERENCE = {LAYERS: layers, REGULARIZATION: regularization}  # the modules whose functions may be given
SECONDS, LONG_SECONDS = 10, 60  # for one attempt at an exercise; for one with PyTorch
BUDGET = 300  # seconds for a submission
PASSED, PARTLY, FAILED = "passed", "partly", "failed"  # besides what an inspection finds: not done, missing


@dataclass
class Verdict:
    """What an exercise got: its score, its state, (property, fault or "") for every check, and notes."""

    exercise: object
    state: str
    score: float = 0.0
    checks: list = field(default_factory=list)
    notes: list = field(default_factory=list)


class Judge:
    """Judges the exercises of one submission.

    - submission: from `course.grading.intake`; notebooks: {name: notebook} of those that can be read
    - secret: bytes, from which the inputs follow; who does not know it cannot prepare for them
    - fences: what workers are fenced in with, from `course.grading.sandbox`
    - starters: of workers; trees: a folder for the files that workers see
    """

    def __init__(self, submission, notebooks, secret, fences, starters, trees):
        self.submission, self.notebooks = submission, notebooks
        self.secret, self.fences = secret, fences
        self.starters, self.trees = starters, trees
        self.end = time.monotonic() + BUDGET
        self.unloadable = {}  # (tree, module): why

    def verdict(self, exercise):
        """The verdict on one exercise that is code."""
        early = self._without_running(exercise)
        if early is not None:
            return early
        best = Verdict(exercise, FAILED)
        for given in _attempts(exercise):
            attempt = self._attempt(exercise, given)
            if attempt.score > best.score or not best.checks:
                best = attempt
            if attempt.state == PASSED:
                break
        return best

    def _without_running(self, exercise):
        """A verdict that needs no running: for what is missing, is no Python or is still blank."""
        if exercise.file not in (self.notebooks if exercise.in_notebook else self.submission.files):
            return Verdict(exercise, MISSING, notes=[f"{exercise.file} was not handed in, or cannot be read"])
        try:
            tree = self._syntax_tree(exercise.file)
        except UnreadableError as error:
            return Verdict(exercise, FAILED, notes=[f"{exercise.file} {error}"])
        status = source_statuses(tree, [exercise])[exercise.id]
        return None if status == DONE else Verdict(exercise, status, notes=[f"{status}: {exercise.title}"])

    def _syntax_tree(self, file):
        if file in self.notebooks:
            return definitions(self.notebooks[file])
        return parse(self.submission.files[file])

    def _attempt(self, exercise, given):
        """Run an exercise's checks: on all of the submission if `given` is None, else on its file by itself.

        Then the functions of the exercises `given` are the reference's.
        """
        verdict = Verdict(exercise, FAILED)
        if given:
            verdict.notes.append(f"judged with the reference's {', '.join(_function_names(given))}")
        try:
            with self._worker(exercise, given) as worker:
                self._prepare(worker, exercise, given)
                for property_, check in CHECKS[exercise.id]:
                    verdict.checks.append((property_, self._fault(worker, exercise, property_, check)))
                    if verdict.checks[0][1]:
                        break
        except WorkerLostError as error:
            verdict.checks.append((_next_property(exercise, verdict), error.reason))
        except SubmissionError as error:
            verdict.checks.append(("it can be loaded", str(error)))
        return _score(verdict)

    def _fault(self, worker, exercise, property_, check):
        """What is wrong with one property, or "".

        A result may have a form that no check foresees; that is a fault, too, and not the end of the judge.
        """
        try:
            check(Subject(worker.ask, self._random(exercise, property_)))
        except FaultError as fault:
            return str(fault)
        except WorkerLostError:
            raise
        except Exception as error:
            return f"its result has a form that cannot be compared ({type(error).__name__})"
        return ""

    def _random(self, exercise, property_):
        """Numbers that follow from the secret, the submission and the check.

        So a submission is always graded alike, and what one was told of its inputs does not help the next.
        """
        about = f"{self.submission.digest} {exercise.id}: {property_}"
        return np.random.default_rng(list(hmac.digest(self.secret, about.encode(), "sha256")))

    @contextmanager
    def _worker(self, exercise, given):
        tree = self._tree(exercise, given)
        seconds = min(LONG_SECONDS if exercise.question == 5 else SECONDS, self.end - time.monotonic())
        if (tree, exercise.file) in self.unloadable:
            raise WorkerLostError(self.unloadable[tree, exercise.file])
        if seconds <= 0:
            raise WorkerLostError(f"was not run: the submission had used up its {BUDGET} s")
        functions = {name: _reference(name) for name in _function_names(given)}
        starter = self.starters[exercise.question == 5]
        with Worker(starter, tree, self.fences, seconds, functions) as worker:
            yield worker

    def _prepare(self, worker, exercise, given):
        """Load what the exercise is in, with what is given in place before others import it."""
        functions = {}
        for name in _function_names(given):
            functions.setdefault(_module_name(_file_of(name)), []).append(name)
        if exercise.in_notebook:
            worker.ask("define", cells=code_of(self.notebooks[exercise.file]))
            return
        try:
            worker.ask("give", functions=functions, stubs=[])
            worker.ask(
                "call", target="importlib:import_module", args=(_module_name(exercise.file),), kwargs={}
            )
        except (WorkerLostError, SubmissionError) as error:
            self.unloadable[self._tree(exercise, given), exercise.file] = str(error)
            raise
        worker.ask("give", functions={}, stubs=_stubs(given))

    def _tree(self, exercise, given):
        """A folder with the pristine package, over it all of the submission or one exercise's file only."""
        name = "submitted" if given is None else exercise.file.replace("/", "-")
        tree = self.trees / name
        if not tree.exists():
            kept = set(self.submission.files) if given is None else {SANDWICHES, exercise.file}
            over = {
                path: text
                for path, text in self.submission.files.items()
                if path in kept and path.endswith(".py")
            }
            _write_tree(tree, _pristine() | over)
        return tree


@contextmanager
def judging(submission, notebooks, secret, fences, starters):
    """A Judge, whose folders are there as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        Path(folder).chmod(0o755)
        yield Judge(submission, notebooks, secret, fences, starters, Path(folder))


def code_of(notebook):
    """The code cells of a notebook, without magics."""
    return [python_of(cell) for cell in notebook.cells if cell.cell_type == "code"]


def _attempts(exercise):
    """The ways to try an exercise: as it is, and then by itself, some exercises' functions being given.

    The cache is private to a pair, so a backward pass is tried with the learner's forward first.
    """
    partner = exercise.id.replace("backward_alt", "backward").replace("backward", "forward")
    others = tuple(id for id in exercise.needs if id != partner or partner == exercise.id)
    attempts = [None]
    attempts += [
        given for given in dict.fromkeys((others, exercise.needs)) if given or not _is_layer(exercise)
    ]
    return attempts


def _is_layer(exercise):
    """Whether an exercise stands in the file on which the others build."""
    return exercise.file == LAYERS


def _score(verdict):
    """Fill in state and score: nothing without the first check, then by the share of checks that passed."""
    checks, points = verdict.checks, verdict.exercise.points
    passed = sum(not fault for _, fault in checks)
    total = max(len(CHECKS[verdict.exercise.id]), 1)
    if checks and not checks[0][1]:
        verdict.state = PASSED if passed == total else PARTLY
        verdict.score = points if passed == total else round(points * passed / total, 2)
    return verdict


def _next_property(exercise, verdict):
    """The property that was being looked at when its worker was lost."""
    checks = CHECKS[exercise.id]
    return checks[min(len(verdict.checks), len(checks) - 1)][0]


def _function_names(given):
    """The functions among what the given exercises are about, methods left out."""
    return [name for id in given or () for name in BY_ID[id].names if "." not in name]


def _stubs(given):
    """The methods among what the given exercises are about, as "module:Class.name"."""
    return [
        f"{_module_name(BY_ID[id].file)}:{name}"
        for id in given or ()
        for name in BY_ID[id].names
        if "." in name
    ]


def _file_of(name):
    return next(exercise.file for exercise in EXERCISES if name in exercise.names)


def _reference(name):
    return getattr(REFERENCE[_file_of(name)], name)


def _module_name(file):
    return file.removesuffix(".py").replace("/", ".")


@cache
def _pristine():
    """The package as learners are given it: {path: text}."""
    package = Path(cs231n.__file__).parent
    paths = [path for path in package.rglob("*.py") if "datasets" not in path.parts]
    files = {path.relative_to(package.parent).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    return hand_out({path: text for path, text in files.items() if path not in LEFT_OUT})


def _write_tree(tree, files):
    for path, text in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode(declared_encoding(text.encode())))
    for name in COMPILED.values():
        for compiled in Path(kernels.__file__).parent.glob(f"{name.rpartition('.')[2]}.*.so"):
            copy(compiled, tree / "cs231n" / "kernels")
