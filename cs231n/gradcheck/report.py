"""Hold what a check found, in a form that prints well in a notebook, in pytest and as plain text."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from cs231n.gradcheck.diagnosis.causes import Cause, Kind
from cs231n.passes import FAIL, PASS, WARN, Bound, write_line

INDENT = " " * 6
ROUNDING = 1e-9  # the part of a number that its numeric gradient does not resolve
Worst = tuple[tuple[int, ...] | str, float, float]


@dataclass
class Comparison:
    """A gradient compared with the numeric one.

    - name: such as dx; status: PASS, WARN or FAIL; error: the largest relative error, which passes up to tol
    - worst: (index, gradient, numeric gradient) of the entries with the largest errors
    - causes: what explains the difference, the likeliest first; notes: what else is worth knowing
    - doubtful: kinks, curvature or noise may have had a part in the verdict
    - only_kinks: there are wrong entries, all of them at kinks, where no formula decides
    """

    name: str
    status: str
    error: float
    tol: float
    worst: list[Worst] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubtful: bool = False
    only_kinks: bool = False

    def __str__(self) -> str:
        return self.text()

    def text(self, told: Collection[Cause] = ()) -> str:
        """Return the report; of causes that were told before, only the title."""
        causes = [f"{cause.title}: see above." if cause in told else str(cause) for cause in self.causes]
        return f"\n{INDENT}".join([self._head(), *causes, *self._worst_lines(), *self.notes])

    def _head(self) -> str:
        if any(cause.kind is Kind.UNDECIDED for cause in self.causes):
            return f"FAIL  {self.name}: not decided."
        if self.status == FAIL:
            return f"FAIL  {self.name}: relative error {self.error:.1e}, at most {self.tol:.0e}."
        return write_line(self.status, Bound.AT_MOST, self.name, self.error, self.tol)

    def _worst_lines(self) -> list[str]:
        lines = [
            f"{index}: got {_shown(grad, numeric)}, expected {_shown(numeric, grad)}"
            for index, grad, numeric in self.worst
        ]
        return ["No known mistake matches. Worst entries:", *lines] if lines and not self.causes else lines


def _shown(value: float, other: float) -> str:
    """Return a number as text; 0 for what is rounding noise beside the number that it is compared with."""
    return "0" if abs(value) <= ROUNDING * abs(other) else f"{value:.8g}"


@dataclass
class Report:
    """Everything that a check of one layer or network found.

    - comparisons: of each gradient; causes: what is wrong with the whole; notes: what concerns the whole
    """

    name: str
    comparisons: list[Comparison] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The worst status of all comparisons; FAIL if there is a cause for the layer as a whole."""
        statuses = {comparison.status for comparison in self.comparisons}
        if self.causes or FAIL in statuses:
            return FAIL
        return WARN if WARN in statuses else PASS

    def all_causes(self) -> list[Cause]:
        """Return every cause, those of the layer as a whole first."""
        return [*self.causes, *(cause for comparison in self.comparisons for cause in comparison.causes)]

    def raise_if_failed(self) -> None:
        """Raise AssertionError, with the report as its text, if anything failed."""
        if self.status == FAIL:
            raise AssertionError(str(self))

    def show(self) -> None:
        """Print the report; raise AssertionError instead, with the report as its text, if anything failed."""
        self.raise_if_failed()
        print(self)

    def __str__(self) -> str:
        lines = [f"FAIL  {self.name}: {cause}" if self.name else f"FAIL  {cause}" for cause in self.causes]
        told: set[Cause] = set()
        for comparison in self.comparisons:
            lines.append(comparison.text(told))
            told.update(comparison.causes)
        return "\n".join([*lines, *self.notes])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the report where a notebook would show its repr."""
        printer.text(str(self))
