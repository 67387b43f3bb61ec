"""Judge a submission, exercise by exercise. Its code runs in worker processes, never in this one.

An exercise is first tried as it was handed in. If that fails and the exercise builds on others, it is tried
again with the reference's functions in place of theirs, so that a mistake is penalized once: the worker asks
the judge for their results. Whatever happens to a worker only affects the exercise that it was started for.
"""

import ast
import hmac
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from shutil import copy
from types import ModuleType
from typing import Any

import numpy as np

import cs231n
from course.grading.checks import CHECKS
from course.grading.checks.pytorch import NOTEBOOK_NAMES
from course.grading.compare import FaultError
from course.grading.intake import Submission, declared_encoding
from course.grading.sandbox.parent import (
    Preload,
    Starters,
    SubmissionError,
    WorkerLostError,
    WorkerProcess,
)
from course.grading.subject import Check, Subject
from course.handout.blanking import hand_out
from course.handout.make import LEFT_OUT
from course.rubric import BY_ID, EXERCISES, LAYERS, REGULARIZATION, SANDWICHES, Exercise
from course.submission.inspection import DONE, MISSING, definitions, parse, source_statuses
from course.submission.notebook import Notebook, UnreadableError
from course.submission.source import python_of
from cs231n import kernels, layers
from cs231n.classifiers import regularization
from cs231n.kernels import COMPILED

REFERENCE: dict[str, ModuleType] = {  # the modules whose functions can stand in for a learner's
    LAYERS: layers,
    REGULARIZATION: regularization,
}
SECONDS, LONG_SECONDS = 10, 60  # for one attempt at an exercise; for one with PyTorch
BUDGET = 300  # seconds for a submission
PYTORCH_QUESTION = 5
# The states of a verdict; an inspection adds "not done" and "missing"
PASSED, PARTLY, FAILED = "passed", "partly", "failed"
NOT_HANDED_IN = "{file} was not handed in, or cannot be read"

Given = tuple[str, ...] | None  # ids of exercises whose functions are the reference's; None: as handed in


@dataclass
class Verdict:
    """The verdict on one exercise.

    - checks: (property, fault) of each check that was made, in order; the fault is "" if the property holds
    - notes: what else the learner should know
    """

    exercise: Exercise
    state: str
    score: float = 0.0
    checks: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Judge:
    """Judges the exercises of one submission.

    - submission: from `course.grading.intake`
    - notebooks: {name: notebook} of the readable ones
    - secret: the inputs of the checks are drawn from it
    - fences: the protections around workers, names out of `course.grading.sandbox.parent.FENCES`
    - starters: they start the workers
    - trees: a folder for the files that workers see
    """

    def __init__(
        self,
        submission: Submission,
        notebooks: dict[str, Notebook],
        secret: bytes,
        fences: tuple[str, ...],
        starters: Starters,
        trees: Path,
    ) -> None:
        self.submission, self.notebooks = submission, notebooks
        self.secret, self.fences = secret, fences
        self.starters, self.trees = starters, trees
        self.end = time.monotonic() + BUDGET
        self.unloadable: dict[tuple[Path, str], str] = {}  # {(tree, file): why it cannot be loaded}

    def verdict(self, exercise: Exercise) -> Verdict:
        """Judge one exercise that is code."""
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

    def _without_running(self, exercise: Exercise) -> Verdict | None:
        """Return a verdict if the exercise is missing, is not Python or is still blank; else None."""
        if exercise.file not in (self.notebooks if exercise.in_notebook else self.submission.files):
            return Verdict(exercise, MISSING, notes=[NOT_HANDED_IN.format(file=exercise.file)])
        try:
            tree = self._syntax_tree(exercise.file)
        except UnreadableError as error:
            return Verdict(exercise, FAILED, notes=[f"{exercise.file} {error}"])
        status = source_statuses(tree, [exercise])[exercise.id]
        return None if status == DONE else Verdict(exercise, status, notes=[f"{status}: {exercise.title}"])

    def _syntax_tree(self, file: str) -> ast.Module:
        if file in self.notebooks:
            return definitions(self.notebooks[file])
        return parse(self.submission.files[file])

    def _attempt(self, exercise: Exercise, given: Given) -> Verdict:
        """Run the checks of an exercise.

        If `given` is None, the worker sees the whole submission. Otherwise it sees the file of the exercise
        only, and the functions of the exercises `given` are the reference's.
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

    def _fault(self, worker: WorkerProcess, exercise: Exercise, property_: str, check: Check) -> str:
        """Return what is wrong with one property, or "".

        A learner's result can have a form that no check expects. Then the check itself raises; that is a
        fault of the result, and must not stop the judge.
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

    def _random(self, exercise: Exercise, property_: str) -> np.random.Generator:
        """Return a generator that is seeded from the secret, the submission and the check.

        So the same submission always gets the same grade, and learning the inputs of one submission does not
        help the next.
        """
        about = f"{self.submission.digest} {exercise.id}: {property_}"
        return np.random.default_rng(list(hmac.digest(self.secret, about.encode(), "sha256")))

    @contextmanager
    def _worker(self, exercise: Exercise, given: Given) -> Iterator[WorkerProcess]:
        tree = self._tree(exercise, given)
        preload, limit = Preload.NUMPY, SECONDS
        if exercise.question == PYTORCH_QUESTION:
            preload, limit = Preload.TORCH, LONG_SECONDS
        seconds = min(limit, self.end - time.monotonic())
        if (tree, exercise.file) in self.unloadable:
            raise WorkerLostError(self.unloadable[tree, exercise.file])
        if seconds <= 0:
            raise WorkerLostError(f"was not run: the submission has used up its {BUDGET} s")
        functions = {name: _reference(name) for name in _function_names(given)}
        with WorkerProcess(self.starters[preload], tree, self.fences, seconds, functions) as worker:
            yield worker

    def _prepare(self, worker: WorkerProcess, exercise: Exercise, given: Given) -> None:
        """Load the file of the exercise, after the given functions are in place for others to import."""
        functions: dict[str, list[str]] = {}
        for name in _function_names(given):
            functions.setdefault(_module_name(_file_of(name)), []).append(name)
        if exercise.in_notebook:
            worker.ask("define", cells=code_of(self.notebooks[exercise.file]), names=NOTEBOOK_NAMES)
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

    def _tree(self, exercise: Exercise, given: Given) -> Path:
        """Return a folder with the package as handed out, and the submission's files in place of its own.

        If `given` is None these are all files, else the file of the exercise and that of the sandwiches.
        """
        name = "submitted" if given is None else exercise.file.replace("/", "-")
        tree = self.trees / name
        if not tree.exists():
            used = set(self.submission.files) if given is None else {SANDWICHES, exercise.file}
            submitted = {
                path: text
                for path, text in self.submission.files.items()
                if path in used and path.endswith(".py")
            }
            _write_tree(tree, _pristine() | submitted)
        return tree


@contextmanager
def judging(
    submission: Submission,
    notebooks: dict[str, Notebook],
    secret: bytes,
    fences: tuple[str, ...],
    starters: Starters,
) -> Iterator[Judge]:
    """Yield a Judge with a temporary folder for the files that its workers see."""
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        Path(folder).chmod(0o755)
        yield Judge(submission, notebooks, secret, fences, starters, Path(folder))


def code_of(notebook: Notebook) -> list[str]:
    """Return the code cells of a notebook, without magics."""
    return [python_of(cell) for cell in notebook.cells if cell.cell_type == "code"]


def _attempts(exercise: Exercise) -> list[Given]:
    """Return the ways to try an exercise: as handed in, then with the reference's functions.

    The contents of a cache are private to a forward and its backward pass. So a backward pass is tried with
    the learner's own forward pass before it is tried with the reference's.
    """
    others = tuple(id for id in exercise.needs if id != exercise.forward)
    attempts: list[Given] = [None]
    attempts += [
        given for given in dict.fromkeys((others, exercise.needs)) if given or not _is_layer(exercise)
    ]
    return attempts


def _is_layer(exercise: Exercise) -> bool:
    """Return whether an exercise is in the file on which the other files build."""
    return exercise.file == LAYERS


def _score(verdict: Verdict) -> Verdict:
    """Fill in state and score: zero if the first check failed, else by the share of checks that passed."""
    checks, points = verdict.checks, verdict.exercise.points
    passed = len([fault for _, fault in checks if not fault])
    total = max(len(CHECKS[verdict.exercise.id]), 1)
    if checks and not checks[0][1]:
        verdict.state = PASSED if passed == total else PARTLY
        verdict.score = points if passed == total else round(points * passed / total, 2)
    return verdict


def _next_property(exercise: Exercise, verdict: Verdict) -> str:
    """Return the property that was being checked when the worker was lost."""
    checks = CHECKS[exercise.id]
    return checks[min(len(verdict.checks), len(checks) - 1)][0]


def _function_names(given: Given) -> list[str]:
    """Return the names of the given exercises' functions, without methods."""
    return [name for id in given or () for name in BY_ID[id].names if "." not in name]


def _stubs(given: Given) -> list[str]:
    """Return the given exercises' methods as "module:Class.name"."""
    return [
        f"{_module_name(BY_ID[id].file)}:{name}"
        for id in given or ()
        for name in BY_ID[id].names
        if "." in name
    ]


def _file_of(name: str) -> str:
    return next(exercise.file for exercise in EXERCISES if name in exercise.names)


def _reference(name: str) -> Any:
    return getattr(REFERENCE[_file_of(name)], name)


def _module_name(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


@cache
def _pristine() -> dict[str, str]:
    """Return the package as learners get it, {path: text}."""
    package = Path(cs231n.__file__).parent
    paths = [path for path in package.rglob("*.py") if "datasets" not in path.parts]
    files = {path.relative_to(package.parent).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    return hand_out({path: text for path, text in files.items() if path not in LEFT_OUT})


def _write_tree(tree: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode(declared_encoding(text.encode())))
    for name in COMPILED.values():
        for compiled in Path(kernels.__file__).parent.glob(f"{name.rpartition('.')[2]}.*.so"):
            copy(compiled, tree / "cs231n" / "kernels")
