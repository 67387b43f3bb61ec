"""Write a grade for people: as text for the terminal, and as a self-contained HTML page."""

from collections.abc import Collection
from html import escape

from course.grading.grade import Grade
from course.grading.judge import FAILED, PARTLY, PASSED, Verdict
from course.grading.sandbox.parent import FENCES
from course.rubric import EXERCISES
from course.submission.inspection import MISSING, NOT_DONE

QUESTIONS = sorted({exercise.question for exercise in EXERCISES})
MARKS = {PASSED: "✓", PARTLY: "~", FAILED: "✗", NOT_DONE: "·", MISSING: "·"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; color: #222 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #ddd }
.points { white-space: nowrap; text-align: right }
.passed { color: #1a7f37 } .partly { color: #9a6700 } .failed { color: #cf222e }
.not-done, .missing { color: #6e7781 }
"""


def lines_of(verdict: Verdict) -> list[str]:
    """Return the lines about one exercise: its notes, the checks that failed, then those that passed."""
    faults = [f"{property_}: {fault}" for property_, fault in verdict.checks if fault]
    passed = [property_ for property_, fault in verdict.checks if not fault]
    correct = [f"correct: {', '.join(passed)}"] if faults and passed else []
    return [*verdict.notes, *faults, *correct]


def as_text(grade: Grade) -> str:
    """Return the report for a terminal."""
    lines = [f"{grade.name}: {points(grade.score)} of 100 points", ""]
    for question in QUESTIONS:
        verdicts, score, most = grade.of_question(question)
        lines.append(f"Q{question}  {points(score)} of {most}")
        for verdict in verdicts:
            mark = MARKS.get(verdict.state, " ")
            worth = f"{points(verdict.score)}/{verdict.exercise.points}"
            lines.append(f"  {mark} {worth:>6}  {verdict.exercise.full_title}")
            lines += [f"            {line}" for line in lines_of(verdict)]
    for heading, texts in _remarks(grade):
        lines += ["", heading, *(f"  {text}" for text in texts)]
    return _printable("\n".join(lines)) + "\n"


def as_html(grade: Grade) -> str:
    """Return the report as an HTML page, in which everything from the submission is escaped."""
    rows = "".join(_question_rows(grade, question) for question in QUESTIONS)
    remarks = "".join(
        f"<h2>{escape(heading)}</h2><ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"
        for heading, texts in _remarks(grade)
    )
    title = f"{escape(grade.name)}: {points(grade.score)} of 100 points"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1><table>{rows}</table>{remarks}</body></html>\n"
    )


def _question_rows(grade: Grade, question: int) -> str:
    verdicts, score, most = grade.of_question(question)
    rows = [f'<tr><th colspan="2">Q{question}</th><th class="points">{points(score)} / {most}</th></tr>']
    for verdict in verdicts:
        said = "<br>".join(escape(line) for line in lines_of(verdict))
        state = verdict.state.replace(" ", "-")
        title = f"{MARKS.get(verdict.state, '')} {escape(verdict.exercise.full_title)}"
        rows.append(
            f'<tr><td class="{state}">{title}</td>'
            f"<td>{said}</td>"
            f'<td class="points">{points(verdict.score)} / {verdict.exercise.points}</td></tr>'
        )
    return "".join(rows)


def _remarks(grade: Grade) -> list[tuple[str, list[str]]]:
    """Return the remarks below the points as (heading, lines), without headings that have no lines."""
    claims = [f"{notebook}, {name}: {value:.3g}" for notebook, name, value in grade.claims]
    remarks = [
        ("Problems with the files", grade.notes),
        ("Problems in the notebooks", grade.findings),
        ("Accuracies that the notebooks claim (not verified)", claims),
        ("Protections while the code ran", fence_lines(grade.fences)),
    ]
    return [(heading, texts) for heading, texts in remarks if texts]


def fence_lines(fences: Collection[str]) -> list[str]:
    """Say which protections were active while the submission's code ran, and which were not."""
    active = [f"active: {text}" for name, text in FENCES.items() if name in fences]
    return active + [f"not active here: {text}" for name, text in FENCES.items() if name not in fences]


def points(score: float) -> str:
    """Format points without trailing zeros."""
    return f"{score:.2f}".rstrip("0").rstrip(".")


def _printable(text: str) -> str:
    """Replace control characters, with which a submission could manipulate the terminal."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
