"""Schedules: how the learning rate changes while a Solver trains.

A schedule is any function of two integers: `step`, how many updates were made before this one, and `total`,
how many there will be in all, with 0 <= step < total. It returns the factor, at least 0, by which
optim_config's learning rate is multiplied for this update. So

    Solver(model, data, optim_config={"learning_rate": 0.1}, lr_schedule=Cosine())
    Solver(model, data, optim_config={"learning_rate": 0.1}, lr_schedule=lambda step, total: 1 - step / total)

A schedule must depend on nothing else, so that a run that was stopped can go on as if it had not been.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from cs231n.validation import require_function, require_number

Schedule = Callable[[int, int], float]


@dataclass(frozen=True)
class Cosine:
    """Fall from 1 to `floor` along half a wave of a cosine (Loshchilov and Hutter 2017, equation 5).

        >>> [round(Cosine()(step, 4), 3) for step in range(4)]
        [1.0, 0.854, 0.5, 0.146]

    `floor` would be reached at step `total`, one after the last: no update is made in vain.
    Source: https://arxiv.org/abs/1608.03983, without its restarts.
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        require_number("floor", self.floor, 0, 1)

    def __call__(self, step: int, total: int) -> float:
        return _cosine(1.0, self.floor, step / total)


@dataclass(frozen=True)
class OneCycle:
    """Rise from `start` to 1, then fall to `end`, each along half a wave of a cosine.

        >>> [round(OneCycle(peak=0.5)(step, 10), 3) for step in (0, 2, 4, 7, 9)]
        [0.04, 0.52, 1.0, 0.345, 0.0]

    - peak: the share of all steps after which the learning rate is highest
    - start, end: the factors at the first and at the last step

    (Smith and Topin 2018, https://arxiv.org/abs/1708.07120; defaults and rounding are those of PyTorch's
    `torch.optim.lr_scheduler.OneCycleLR`, which takes the highest rate too.)
    """

    peak: float = 0.3
    start: float = 1 / 25
    end: float = 1 / 25 / 1e4

    def __post_init__(self) -> None:
        require_number("peak", self.peak, 0, 1, "neither")
        require_number("start", self.start, 0, 1)
        require_number("end", self.end, 0, 1)

    def __call__(self, step: int, total: int) -> float:
        top, last = self.peak * total - 1, total - 1
        if step <= top:
            return _cosine(self.start, 1.0, step / top if top > 0 else 1.0)
        return _cosine(1.0, self.end, (step - top) / (last - top))


@dataclass(frozen=True)
class WarmUp:
    """Rise in equal steps up to 1, which the first `share` of all updates take; then follow another schedule.

        >>> WarmUp(0.1, Cosine())(0, 50), WarmUp(0.1)(3, 50), WarmUp(0.1)(20, 50)
        (0.2, 0.8, 1.0)

    - then: a schedule for the other updates, which it counts from 0; None leaves the factor at 1

    (Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.)
    """

    share: float
    then: Schedule | None = None

    def __post_init__(self) -> None:
        require_number("share", self.share, 0, 1, "neither")
        if self.then is not None:
            require_function("then", self.then, "(step, total) -> factor")

    def __call__(self, step: int, total: int) -> float:
        rising = math.ceil(self.share * total)
        if step < rising:
            return (step + 1) / rising
        return 1.0 if self.then is None else self.then(step - rising, total - rising)


@dataclass(frozen=True)
class StepDecay:
    """Multiply by `factor` each time that one of these shares of all steps is over.

        >>> [round(StepDecay(at=(0.5, 0.75), factor=0.1)(step, 4), 3) for step in range(4)]
        [1.0, 1.0, 0.1, 0.01]

    (He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2: after half and three quarters, 0.1.)
    """

    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __post_init__(self) -> None:
        for share in self.at:
            require_number("each share of at", share, 0, 1)
        require_number("factor", self.factor, 0, math.inf, "left")

    def __call__(self, step: int, total: int) -> float:
        return float(self.factor) ** sum(step >= share * total for share in self.at)


def _cosine(first: float, last: float, progress: float) -> float:
    """Return the factor at `progress`, from 0 to 1, of half a wave of a cosine from `first` to `last`."""
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
