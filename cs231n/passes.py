"""Write the line that a passing check prints, and read it back.

>>> print(write_line("PASS", Bound.AT_LEAST, "accuracy", 0.5412, 0.5))
PASS  accuracy: 0.5412 (at least 0.5)
>>> read_passes("epoch 1\\nPASS  accuracy: 0.5412 (at least 0.5)\\n")
[Passed(bound=<Bound.AT_LEAST: 2>, name='accuracy', value=0.5412, limit=0.5)]

The words stand in `LINES` and nowhere else; the pattern that reads a line is made from them. A learner's
Python may have no NumPy when a submission is inspected, so this module needs the standard library alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from string import Formatter

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
LONGEST = 200  # characters of a line that is read: saved outputs may hold anything


class Bound(Enum):
    """How a check compares its value with its limit.

    - AT_MOST: the value is a relative error, which may not exceed the limit
    - AT_LEAST: the value is a measure such as an accuracy, which has to reach the limit
    """

    AT_MOST = auto()
    AT_LEAST = auto()


LINES = {
    Bound.AT_MOST: "{status}  {name}: relative error {value:.1e} (at most {limit:.0e})",
    Bound.AT_LEAST: "{status}  {name}: {value:.4g} (at least {limit:.4g})",
}
NUMBER = r"-?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?|inf)"


@dataclass(frozen=True)
class Passed:
    """What a printed PASS line says."""

    bound: Bound
    name: str
    value: float
    limit: float


def write_line(status: str, bound: Bound, name: str, value: float, limit: float) -> str:
    """Return the line about a value within its limit; the status is PASS or WARN."""
    return LINES[bound].format(status=status, name=name, value=value, limit=limit)


def read_passes(text: str) -> list[Passed]:
    """Return what the PASS lines of a printed text say, in their order."""
    patterns = {bound: _pattern(line) for bound, line in LINES.items()}
    return [passed for line in text.splitlines() for passed in _read(line, patterns)]


def _read(line: str, patterns: dict[Bound, re.Pattern[str]]) -> Iterator[Passed]:
    """Yield what a line says if it is a PASS line."""
    if len(line) > LONGEST:
        return
    for bound, pattern in patterns.items():
        found = pattern.fullmatch(line)
        if found:
            yield Passed(bound, found["name"], float(found["value"]), float(found["limit"]))
            return


def _pattern(line: str) -> re.Pattern[str]:
    """Return the pattern that matches what a line of `LINES` writes when the status is PASS."""
    fields = {"status": PASS, "name": "(?P<name>.*)"}
    fields |= {number: f"(?P<{number}>{NUMBER})" for number in ("value", "limit")}
    parts = [(literal, field or "") for literal, field, *_ in Formatter().parse(line)]
    return re.compile("".join(re.escape(literal) + fields.get(field, "") for literal, field in parts))
