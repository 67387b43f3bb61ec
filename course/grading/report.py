"""A grade for people: on the terminal, and as a page that needs nothing but itself."""

from html import escape

from course.grading.judge import FAILED, PARTLY, PASSED
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


def lines_of(verdict):
    """What is said about one exercise: its notes, then the checks that failed."""
    faults = [f"{property_}: {fault}" for property_, fault in verdict.checks if fault]
    passed = [property_ for property_, fault in verdict.checks if not fault]
    held = [f"right: {', '.join(passed)}"] if faults and passed else []
    return [*verdict.notes, *faults, *held]


def as_text(grade):
    """The report for a terminal."""
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


def as_html(grade):
    """The report as a page; whatever comes from the submission is escaped."""
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


def _question_rows(grade, question):
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


def _remarks(grade):
    """(heading, lines) of what is worth saying besides the points; headings without lines are left out."""
    claims = [f"{notebook}, {name}: {value:.3g}" for notebook, name, value in grade.claims]
    remarks = [
        ("What was handed in", grade.notes),
        ("The notebooks", grade.findings),
        ("Accuracies, as the notebooks claim them", claims),
        ("How the code was run", fence_lines(grade.fences)),
    ]
    return [(heading, texts) for heading, texts in remarks if texts]


def fence_lines(fences):
    """Which protections were active while the submission's code ran, and which were not."""
    active = [f"active: {text}" for name, text in FENCES.items() if name in fences]
    return active + [f"not active here: {text}" for name, text in FENCES.items() if name not in fences]


def points(score):
    """Points without zeros behind the comma."""
    return f"{score:.2f}".rstrip("0").rstrip(".")


def _printable(text):
    """Text without what would drive a terminal: a submission may have put it into an error's words."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
