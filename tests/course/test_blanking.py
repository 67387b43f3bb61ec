"""Exercises taken out of code and notebooks: they are gone, and all else is as it was."""

import ast
from difflib import SequenceMatcher
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course.handout.blanking import (
    FINISHED,
    blank,
    blank_function,
    find_definition,
    hand_out,
    remove_definitions,
)
from course.rubric import BY_ID, EXERCISES, FC_NET, FILES, UNANSWERED, Exercise, Kind
from course.submission.source import cells_of, find_function, is_blank, python_of

ROOT = Path(__file__).parents[2]
MESSAGE = "Q1 is not done yet: write f in a.py"
RAISE = f'raise NotImplementedError("{MESSAGE}")'


@pytest.fixture(scope="module")
def originals():
    return {path: (ROOT / path).read_bytes().decode() for path in FILES}


@pytest.fixture(scope="module")
def handed_out(originals):
    return hand_out(originals)


class TestFunctions:
    SOURCE = '''"""A module."""

import math   # oddly   spaced


@decorated(
    with_an="argument",
)
def f(x,
      y={"a": 1}):  # a comment on the signature
    """What it does.

    And more.
    """
    # How it is done.
    def nested(z):
        return x + z

    if y:
        return nested(x)
    # A last word.

    # And another.

# About what follows.
VALUE = f  # stays
'''
    BLANKED = f'''"""A module."""

import math   # oddly   spaced


@decorated(
    with_an="argument",
)
def f(x,
      y={{"a": 1}}):  # a comment on the signature
    """What it does.

    And more.
    """
    {RAISE}

# About what follows.
VALUE = f  # stays
'''

    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_the_body_goes_and_all_else_stays(self, newline):
        source, expected = (text.replace("\n", newline) for text in (self.SOURCE, self.BLANKED))
        assert blank_function(source, "f", MESSAGE) == expected

    def test_without_a_docstring_comments_below_the_signature_go_too(self):
        source = "def f(\n    x,\n):  # stays\n    # goes\n\n    return x  # goes"
        assert blank_function(source, "f", MESSAGE) == f"def f(\n    x,\n):  # stays\n    {RAISE}"

    def test_a_docstring_alone_stays(self):
        source = 'def f():\n    """Nothing yet."""\n'
        assert blank_function(source, "f", MESSAGE) == f"{source}    {RAISE}\n"

    def test_a_method_is_that_of_its_class(self):
        source = "def f():\n    return 1\n\n\nclass A:\n    def f(self):\n        return 2\n\n    x = 3\n"
        expected = source.replace("return 2", RAISE)
        assert blank_function(source, "A.f", MESSAGE) == expected

    def test_a_long_message_is_broken_as_the_formatter_would(self):
        message = "m" * 90
        lines = blank_function("def f():\n    return 1\n", "f", message).split("\n")
        assert lines == [
            "def f():",
            "    raise NotImplementedError(",
            f'        "{message}"',
            "    )",
            "",
        ]

    @pytest.mark.parametrize("name", ["g", "A.f", "f.g"])
    def test_a_function_that_is_not_there_is_refused(self, name):
        with pytest.raises(
            ValueError, match=f"name must be a function of the source code, which has no '{name}'"
        ):
            blank_function("def f():\n    return 1\n\n\nclass A:\n    g = 1\n", name, MESSAGE)

    @pytest.mark.parametrize("source", ["def f(): return 1", 'def f():\n    """It."""; return 1'])
    def test_a_body_beside_its_head_is_refused(self, source):
        with pytest.raises(ValueError, match="f must have its body on lines of its own"):
            blank_function(source, "f", MESSAGE)


class TestDefinitions:
    SOURCE = """import math

# About A.
A = 1
B: int = 2  # stays


# Not about g: a line lies between.

# About g.
# And more.
@decorated
def g():
    return 1
    # goes


class C:
    def f(self):
        return 1

    # About _h.
    def _h(self):
        return 2


class D:
    pass
"""

    def test_they_go_with_their_comments_and_a_gap(self):
        assert remove_definitions(self.SOURCE, ["A", "g", "C._h", "D"]) == (
            "import math\n\nB: int = 2  # stays\n\n\n# Not about g: a line lies between.\n\n\n"
            "class C:\n    def f(self):\n        return 1\n"
        )

    def test_annotated_constants_and_classes_go(self):
        rest = remove_definitions(self.SOURCE, ["B", "C"])
        assert rest == self.SOURCE.replace("B: int = 2  # stays\n", "").replace(
            self.SOURCE[self.SOURCE.index("class C") : self.SOURCE.index("class D")], ""
        )

    @pytest.mark.parametrize("name", ["b", "f", "C.g", "math"])
    def test_what_is_not_defined_is_refused(self, name):
        with pytest.raises(
            ValueError, match=f"names must be defined in the source code, which does not define '{name}'"
        ):
            remove_definitions(self.SOURCE, [name])

    def test_a_class_is_not_left_empty(self):
        with pytest.raises(SyntaxError):
            remove_definitions("class A:\n    def f(self):\n        return 1\n", ["A.f"])


def added_lines(before, after):
    """Return the lines of `after` that are not in `before`, in their order."""
    before, after = before.split("\n"), after.split("\n")
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return [
        line
        for kind, _, _, start, end in matcher.get_opcodes()
        if kind != "equal"
        for line in after[start:end]
    ]


def functions_of(source):
    """Every function and method at the top of a module or of a class, by name, as text."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{part.name}": ast.unparse(part) for part in node.body if hasattr(part, "args")
            }
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = ast.unparse(node)
    return found


class TestOneExercise:
    @pytest.mark.parametrize("exercise", [e for e in EXERCISES if not e.in_notebook], ids=lambda e: e.id)
    def test_in_a_module_only_its_functions_change(self, originals, exercise):
        blanked = blank(originals, [exercise])
        assert {path for path in originals if blanked[path] != originals[path]} == {exercise.file}
        before, after = (functions_of(files[exercise.file]) for files in (originals, blanked))
        assert before.keys() == after.keys()
        assert {name for name in before if before[name] != after[name]} == set(exercise.names)
        raising = [line.strip() for line in added_lines(originals[exercise.file], blanked[exercise.file])]
        raised = "".join(raising).replace("raise NotImplementedError(", "").replace(")", "")
        assert raised == f'"{exercise.not_done}"' * len(exercise.names)

    @pytest.mark.parametrize("exercise", [e for e in EXERCISES if e.in_notebook], ids=lambda e: e.id)
    def test_in_a_notebook_only_its_cells_change(self, originals, exercise):
        blanked = blank(originals, [exercise])
        assert {path for path in originals if blanked[path] != originals[path]} == {exercise.file}
        before, after = (nbformat.reads(files[exercise.file], as_version=4) for files in (originals, blanked))
        ours = {cell.id for cell in cells_of(before, exercise)}
        assert before.metadata == after.metadata
        assert [cell for cell in before.cells if cell.id not in ours] == [
            cell for cell in after.cells if cell.id not in ours
        ]
        for cell in cells_of(after, exercise):
            if cell.cell_type == "code":
                assert exercise.not_done in cell.source
                assert (cell.outputs, cell.execution_count) == ([], None)
            else:
                assert cell.source.startswith(UNANSWERED)

    def test_what_was_given_is_left_alone(self, originals):
        files = dict(originals)
        blank(files, EXERCISES)
        assert files == originals

    def test_of_several_about_one_function_the_first_speaks(self, originals):
        exercises = [exercise for exercise in EXERCISES if "FullyConnectedNet.loss" in exercise.names]
        assert len(exercises) == 3
        blanked = blank(originals, exercises)[FC_NET]
        assert exercises[0].not_done in blanked
        assert not any(exercise.not_done in blanked for exercise in exercises[1:])

    def test_exercises_of_other_files_are_left_out(self):
        assert blank({"a.py": "x = 1"}, EXERCISES) == {"a.py": "x = 1"}


class TestHandOut:
    def test_every_function_is_blank_and_keeps_its_signature_and_docstring(self, originals, handed_out):
        for exercise in EXERCISES:
            if exercise.in_notebook:
                continue
            for name in exercise.names:
                before, after = (
                    find_function(ast.parse(files[exercise.file]), name) for files in (originals, handed_out)
                )
                assert is_blank(after), name
                assert ast.unparse(after.args) == ast.unparse(before.args)
                assert ast.get_docstring(after) == ast.get_docstring(before)

    def test_every_helper_is_gone(self, originals, handed_out):
        helpers = [(e.file, helper) for e in EXERCISES for helper in e.helpers]
        assert helpers
        for path, helper in helpers:
            assert find_definition(ast.parse(originals[path]), helper)
            assert find_definition(ast.parse(handed_out[path]), helper) is None

    def test_notebooks_are_valid_and_have_no_outputs_and_all_of_their_tags(self, originals, handed_out):
        for path in FILES:
            if not path.endswith(".ipynb"):
                continue
            before, after = (nbformat.reads(files[path], as_version=4) for files in (originals, handed_out))
            nbformat.validate(after)
            code = [cell for cell in after.cells if cell.cell_type == "code"]
            assert all((cell.outputs, cell.execution_count) == ([], None) for cell in code)
            tags = [
                {tag for cell in book.cells for tag in cell.metadata.get("tags", ())}
                for book in (before, after)
            ]
            assert tags[0] - {FINISHED} == tags[1]

    def test_headings_stay(self, originals, handed_out):
        for path in FILES:
            if path.endswith(".ipynb"):
                before, after = (headings(files[path]) for files in (originals, handed_out))
                assert before == after

    def test_cells_that_need_what_learners_do_not_get_are_left_out(self, originals, handed_out):
        path = "ConvolutionalNetworks.ipynb"
        before, after = (nbformat.reads(files[path], as_version=4).cells for files in (originals, handed_out))
        finished = [cell.id for cell in before if FINISHED in cell.metadata.get("tags", ())]
        assert 0 < len(finished) < len(before)
        assert [cell.id for cell in after] == [cell.id for cell in before if cell.id not in finished]

    def test_the_best_net_says_what_the_notebook_needs(self, handed_out):
        exercise = BY_ID["q1-best-net"]
        cells = cells_of(nbformat.reads(handed_out[exercise.file], as_version=4), exercise)
        assert [cell.source for cell in cells] == [
            UNANSWERED,
            "# Yours to write. The cells below need: best_model, best_solver\n"
            f'raise NotImplementedError("{exercise.not_done}")',
        ]


def headings(text):
    cells = [
        cell
        for cell in nbformat.reads(text, as_version=4).cells
        if FINISHED not in cell.metadata.get("tags", ())
    ]
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.split("\n")]
    return [line for line in lines if line.startswith("#")]


class TestCells:
    EXERCISE = Exercise("part", 5, 1, "A.ipynb", ("f",))

    def blanked(self, *sources, tags=("exercise:part",)):
        cells = [new_code_cell(source, metadata={"tags": list(tags)}) for source in sources]
        cells[0].outputs = [new_output("stream", text="an output\n")]
        text = nbformat.writes(new_notebook(cells=cells))
        return nbformat.reads(blank({"A.ipynb": text}, [self.EXERCISE])["A.ipynb"], as_version=4).cells

    def test_magics_and_what_is_around_the_function_stay(self):
        source = "\n%matplotlib inline\nx = 1\n\n!ls\n{}\n\nf()\n  %time f()"
        (cell,) = self.blanked(source.format("def f():\n    return 1"))
        assert cell.source == source.format(
            'def f():\n    raise NotImplementedError("Q5 is not done yet: write f in A.ipynb")'
        )
        assert cell.outputs == []
        assert ast.parse(python_of(cell))

    def test_the_cell_with_the_function_is_found(self):
        first, second = self.blanked("x = 1", "def f():\n    return 1")
        assert first.source == "x = 1"
        assert first.outputs
        assert "not done yet" in second.source

    def test_a_function_that_is_in_none_of_its_cells_is_refused(self):
        with pytest.raises(ValueError, match="f must be defined in a cell with the tag of its exercise"):
            self.blanked("def g():\n    return 1")

    def test_a_notebook_without_the_tag_is_refused(self):
        with pytest.raises(ValueError, match=r"A.ipynb must have a cell with the tag .* 'part'"):
            self.blanked("def f():\n    return 1", tags=())

    def test_an_answer_beside_a_heading_is_refused(self):
        """Either the next question would go with it, or an answer's second half would stay."""
        answer = Exercise("q5-answer-1", 5, 1, "A.ipynb", kind=Kind.ANSWER, number=1)
        cell = new_markdown_cell("It is 5.\n\n## Next\n", metadata={"tags": ["exercise:q5-answer-1"]})
        with pytest.raises(
            ValueError, match=r"A.ipynb: .* no heading, .* the cell of q5-answer-1 has one: move"
        ):
            blank({"A.ipynb": nbformat.writes(new_notebook(cells=[cell]))}, [answer])
