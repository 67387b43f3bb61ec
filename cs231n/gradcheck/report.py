"""What a check found, in a form that prints well in a notebook, in pytest and as plain text."""

from dataclasses import dataclass, field

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"


@dataclass
class Comparison:
    """A gradient beside the numeric one.

    - name: such as dx; status: PASS, WARN or FAIL; error: the largest relative error, at most tol to pass
    - worst: (index, gradient, numeric gradient) of the entries that are farthest off
    - causes: what explains the difference, the likeliest first; notes: what is to be known besides
    """

    name: str
    status: str
    error: float
    tol: float
    worst: list = field(default_factory=list)
    causes: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def __str__(self):
        if self.status != FAIL:
            head = f"{self.status}  {self.name}: relative error {self.error:.1e} (at most {self.tol:.0e})"
            return "\n".join([head, *(f"      {note}" for note in self.notes)])
        lines = [f"FAIL  {self.name}: relative error {self.error:.1e}, at most {self.tol:.0e}."]
        lines += [f"      {cause}" for cause in self.causes]
        if self.worst and not self.causes:
            lines.append("      No mistake that is known fits. The entries that are farthest off:")
        lines += [f"      {index}: {a:.8g}, and should be {n:.8g}" for index, a, n in self.worst]
        return "\n".join([*lines, *(f"      {note}" for note in self.notes)])


@dataclass
class Report:
    """Everything that a check of one layer or network found."""

    name: str
    comparisons: list = field(default_factory=list)
    causes: list = field(default_factory=list)

    @property
    def status(self):
        statuses = {comparison.status for comparison in self.comparisons}
        if self.causes or FAIL in statuses:
            return FAIL
        return WARN if WARN in statuses else PASS

    def all_causes(self):
        """Every cause that was found, those of the layer as a whole first."""
        return [*self.causes, *(cause for comparison in self.comparisons for cause in comparison.causes)]

    def raise_if_failed(self):
        """Raise AssertionError, with the report for its text, if anything failed."""
        if self.status == FAIL:
            raise AssertionError(str(self))

    def __str__(self):
        lines = [f"FAIL  {self.name}: {cause}" if self.name else f"FAIL  {cause}" for cause in self.causes]
        return "\n".join([*lines, *map(str, self.comparisons)])

    def _repr_pretty_(self, printer, cycle):
        printer.text(str(self))
