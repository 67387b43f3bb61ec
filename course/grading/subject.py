"""What a check sees of a submission: functions that can be called, and random numbers to call them with."""

from copy import deepcopy

import numpy as np

from course.grading.compare import FaultError
from course.grading.sandbox.parent import SubmissionError


class Subject:
    """One exercise of one submission.

    - ask: a function that sends a request to the worker, see `course.grading.sandbox.runtime.worker`
    - rng: random numbers that nobody outside can know
    """

    def __init__(self, ask, rng):
        self.ask = ask
        self.rng = rng

    def draw(self, *shape, dtype=np.float64):
        """Gaussian numbers: none is 0 or 1, which would hide a missing term or factor."""
        return self.rng.standard_normal(shape).astype(dtype)

    def size(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def labels(self, count, classes):
        return self.rng.integers(0, classes, count)

    def call(self, target, *args, **kwargs):
        """Call a function of the submission: {"call", "result", "args", "kwargs"}, see `Worker.call`."""
        try:
            return self.ask("call", target=target, args=deepcopy(args), kwargs=kwargs)
        except SubmissionError as error:
            raise FaultError(f"{_name(target)} {error}") from None

    def command(self, do, **arguments):
        """Any other request to the worker; FaultError where the submission's code raised."""
        try:
            return self.ask(do, **arguments)
        except SubmissionError as error:
            raise FaultError(f"it {error}") from None


def _name(target):
    return target[1] if isinstance(target, tuple) else target.split(":")[1]
