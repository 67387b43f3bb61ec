"""What a check can do with a submission: call its functions, and draw random numbers as their arguments."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from course.grading.compare import FaultError
from course.grading.sandbox.parent import SubmissionError
from course.grading.sandbox.runtime.protocol import Kept

Target = str | tuple[Kept, str]  # "module:function", or a result that the worker keeps and a method's name
Reply = dict[str, Any]


class Subject:
    """One exercise of one submission.

    - ask: sends a request to the worker and returns the answer; the methods of `RequestLoop` in
      `course.grading.sandbox.runtime.worker` are the possible requests
    - rng: a generator that is seeded from the secret, so that a submission cannot predict its numbers
    """

    def __init__(self, ask: Callable[..., Any], rng: np.random.Generator) -> None:
        self.ask = ask
        self.rng = rng

    def draw(self, *shape: int, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Draw Gaussian numbers: none is 0 or 1, which would hide a missing term or factor."""
        return self.rng.standard_normal(shape).astype(dtype)

    def size(self, low: int, high: int) -> int:
        """Draw a size from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def labels(self, count: int, classes: int) -> NDArray[Any]:
        return self.rng.integers(0, classes, count)

    def call(self, target: Target, *args: Any, **kwargs: Any) -> Reply:
        """Call a function of the submission and return the reply of `RequestLoop.call`.

        That is {"call": its number, "result": ..., "args": ..., "kwargs": ...}, the arguments after the call.
        """
        try:
            reply: Reply = self.ask("call", target=target, args=deepcopy(args), kwargs=kwargs)
        except SubmissionError as error:
            raise FaultError(f"{_name(target)} {error}") from None
        return reply

    def create(self, target: Target, *args: Any, **kwargs: Any) -> Kept:
        """Call a function of the submission; return a reference to the result, which stays in the worker."""
        return Kept(self.call(target, *args, **kwargs)["call"])

    def command(self, do: str, **arguments: Any) -> Any:
        """Send any other request to the worker; raise FaultError if the submission's code raised."""
        try:
            return self.ask(do, **arguments)
        except SubmissionError as error:
            raise FaultError(f"it {error}") from None


Check = Callable[[Subject], None]  # raises FaultError if the submission does not have a property
Checks = dict[str, list[tuple[str, Check]]]  # {exercise id: [(property, check), ...]}


def _name(target: Target) -> str:
    return target[1] if isinstance(target, tuple) else target.split(":")[1]
