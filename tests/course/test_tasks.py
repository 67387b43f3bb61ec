"""The cells of the handout that ask for the work: what they say, where they stand, what they give away."""

import ast
import re

import nbformat
import pytest

from course.handout.make import ROOT, collect, read_all
from course.handout.tasks import TEXTS, Task, read_tasks, with_tasks
from course.rubric import BY_ID, EXERCISES, FILES, NOTEBOOKS, TASK, UNANSWERED, Kind
from course.submission import pdf
from course.submission.notebook import parse_notebook
from course.submission.source import cells_of, python_of, tags_of

TEXT = TEXTS.read_text(encoding="utf-8")
TASKS = read_tasks(TEXT)

# What the finished repository says of each derivation that is an exercise, in its notebooks and docstrings.
DERIVATIONS = {
    "affine_backward": (r"dW = X^\top d\text{out}", "dw = x^T dout"),
    "relu_backward": ("slope is 1 where $x > 0$", "dout where x > 0"),
    "add_l2_penalty": (r"gradient is $\lambda W$", "reg * W to their gradients"),
    "batchnorm_backward": (r"d\sigma^2 = -\frac{1}{2} r^3 dr", r"$d\gamma = \sum_n dy_n \hat x_n$"),
    "batchnorm_backward_alt": (r"\hat x_n\, \frac1N \sum_m g_m \hat x_m", "mean(dx_hat * x_hat)"),
    "layernorm_backward": ("Backward is the closed form of section 3, summed over features",),
    "dropout_backward": ("so is its backward pass, with the same mask", "dout through the same mask"),
    "conv_backward_naive": (r"d_{n f i j}\; \tilde x_{n", "flows to the window in"),
    "max_pool_backward_naive": ("takes its whole gradient", "takes the whole gradient"),
    "spatial_batchnorm_backward": ("it is the closed form of the BatchNormalization notebook",),
    "spatial_groupnorm_backward": ("Its backward pass is the same core once more",),
}


@pytest.fixture(scope="module")
def originals():
    return read_all(ROOT)


@pytest.fixture(scope="module")
def files():
    return collect()


@pytest.fixture(scope="module")
def notebooks(files):
    return [nbformat.reads(files[name], as_version=4) for name in NOTEBOOKS]


@pytest.fixture(scope="module")
def shown(files):
    """What learners see in the notebooks, in the README and in the modules that they write in, squeezed."""
    return {path: open_text(path, files[path]) for path in (*FILES, "README.md")}


def squeezed(text):
    return re.sub(r"\s", "", text)


def open_text(path, text):
    """What a learner sees in a file without unfolding anything, or calculating."""
    if path.endswith(".ipynb"):
        text = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
        text = re.sub("<details>.*?</details>", "", text, flags=re.DOTALL)
    return squeezed(text)


def place_of_task(notebook, exercise):
    heading = re.compile(rf"#### Exercise: .*\({exercise.points or 'no'} points?\)\n")
    cell_id = "task-" + re.sub(r"[^\w-]+", "-", exercise.id)
    (index,) = (i for i, cell in enumerate(notebook.cells) if cell.id == cell_id)
    assert heading.match(notebook.cells[index].source)
    return index


class TestTexts:
    def test_every_exercise_has_a_text_and_three_hints(self):
        assert list(TASKS) == [exercise.id for exercise in EXERCISES]
        for task in TASKS.values():
            assert task.text
            assert [title.split(":")[0] for title, _ in task.hints] == ["Hint 1", "Hint 2", "Hint 3"]

    def test_functions_in_modules_have_tests_and_others_none(self):
        with_tests = {exercise.id for exercise in EXERCISES if TASKS[exercise.id].tests}
        assert with_tests == {e.id for e in EXERCISES if e.kind is Kind.FUNCTIONS and not e.in_notebook}

    def test_no_points_are_typed(self):
        assert not re.search(r"\d+ points?\b(?! validation)", TEXT.replace("percentage points", ""))

    def test_what_is_read(self):
        hints = "\n\n".join(f"### Hint {n}: h\n\nText {n}.\n" for n in (1, 2, 3))
        text = f"# Title\n\n# Q1\n\n## adam\n\nWrite it.\n\nTests: -k adam\n\n{hints}\n# Q2\n"
        expected = Task("Write it.", "-k adam", tuple((f"Hint {n}: h", f"Text {n}.") for n in (1, 2, 3)))
        assert read_tasks(text, [BY_ID["adam"]]) == {"adam": expected}

    def test_an_exercise_without_a_section_is_noticed(self):
        with pytest.raises(
            ValueError, match=r"section for every exercise and no other; see \['adam', 'eve'\]"
        ):
            read_tasks(TEXT.replace("## adam\n", "## eve\n"))

    def test_a_hint_that_is_missing_is_noticed(self):
        assert TEXT.count("### Hint 2: on the way\n\nA ReLU layer") == 1
        with pytest.raises(ValueError, match="3 hints for every exercise; q1-answer-2 has 2"):
            read_tasks(TEXT.replace("### Hint 2: on the way\n\nA ReLU layer", "A ReLU layer"))


class TestPlaces:
    @pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
    def test_the_task_stands_above_what_needs_it(self, notebooks, exercise):
        notebook = notebooks[exercise.question - 1]
        index = place_of_task(notebook, exercise)
        below = next(cell for cell in notebook.cells[index + 1 :] if TASK not in tags_of(cell))
        if exercise.in_notebook:
            assert below in cells_of(notebook, exercise)
            return
        assert below.cell_type == "code" or exercise.id == "challenge"
        functions = {name for name in exercise.names if "." not in name}
        for cell in notebook.cells[:index]:
            if cell.cell_type == "code":
                names = {
                    node.id for node in ast.walk(ast.parse(python_of(cell))) if isinstance(node, ast.Name)
                }
                assert not functions & names

    def test_the_penalty_is_asked_for_when_it_is_explained(self, notebooks):
        index = place_of_task(notebooks[0], BY_ID["add_l2_penalty"])
        assert notebooks[0].cells[index - 1].source.startswith("**Regularization**")

    def test_no_mark_of_a_place_is_left(self, files, originals):
        assert f"{TASK}:" in originals[NOTEBOOKS[0]]
        assert not any(f'"{TASK}:' in files[name] for name in NOTEBOOKS)

    def test_a_notebook_that_does_not_check_an_exercise_is_refused(self, files):
        without = files | {NOTEBOOKS[0]: nbformat.writes(nbformat.v4.new_notebook())}
        with pytest.raises(ValueError, match="Q1 must have a cell that checks affine_forward"):
            with_tasks(without, TASKS)


class TestCells:
    @pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
    def test_it_says_what_where_and_how_to_check(self, notebooks, files, exercise):
        notebook = notebooks[exercise.question - 1]
        text = notebook.cells[place_of_task(notebook, exercise)].source
        assert TASKS[exercise.id].text in text
        assert text.count("<details>\n<summary>Hint ") == text.count("</details>") == 3
        if exercise.kind is Kind.ANSWER:
            assert f"Question {exercise.number}" in text and UNANSWERED.split("*")[-2] in text
        if TASKS[exercise.id].tests:
            assert f"`{exercise.file}`" in text
            assert f"`python -m pytest -m q{exercise.question} {TASKS[exercise.id].tests}`" in text
            (code,) = re.findall("^```python\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
            assert code.count("def ") == len(exercise.names)
            lines = {line.strip() for line in files[exercise.file].split("\n")}
            assert {line.strip() for line in code.split("\n")} <= lines

    @pytest.mark.parametrize("question", range(1, 6))
    def test_the_top_of_a_notebook_lists_its_exercises(self, notebooks, question):
        text = notebooks[question - 1].cells[1].source
        exercises = [exercise for exercise in EXERCISES if exercise.question == question]
        points = sum(exercise.points for exercise in exercises)
        assert text.startswith(f"### Your part: {len(exercises)} exercises, {points} points\n")
        names = [name.removesuffix(".__init__") for exercise in exercises for name in exercise.names]
        assert all(f"`{name}`" in text for name in names)

    def test_the_pdf_of_a_submission_leaves_them_out(self, files, tmp_path, monkeypatch):
        seen = {}

        def way(notebooks, work):
            seen.update(notebooks)
            return pdf.Document(b"", "pdf", "")

        monkeypatch.setattr(pdf, "WAYS", (way,))
        handed_in = {name: parse_notebook(files[name]) for name in NOTEBOOKS}
        pdf.make_pdf(handed_in, tmp_path)
        for name, notebook in seen.items():
            sources = [cell.source for cell in notebook.cells]
            assert not any("#### Exercise" in source or "### Your part" in source for source in sources)
            kept = [cell.source for cell in handed_in[name].cells if TASK not in tags_of(cell)]
            assert sources == kept and len(kept) < len(handed_in[name].cells)


class TestNothingIsGivenAway:
    def test_every_derivation_is_listed(self):
        backward = {exercise.id for exercise in EXERCISES if exercise.forward}
        assert backward | {"add_l2_penalty"} == DERIVATIONS.keys()

    @pytest.mark.parametrize("id", DERIVATIONS)
    def test_a_derivation_is_in_the_finished_notebooks_only(self, shown, originals, id):
        notebook = originals[NOTEBOOKS[BY_ID[id].question - 1]]
        assert squeezed(DERIVATIONS[id][0]) in open_text(".ipynb", notebook)
        for path, text in shown.items():
            assert not [phrase for phrase in DERIVATIONS[id] if squeezed(phrase) in text], path

    @pytest.mark.parametrize("id", DERIVATIONS)
    def test_the_formulas_of_the_last_hint_are_folded(self, shown, id):
        _, last = TASKS[id].hints[-1]
        formulas = [
            display or inline for display, inline in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", last, re.DOTALL)
        ]
        long = [squeezed(formula) for formula in formulas if len(squeezed(formula)) >= 20]
        assert long or id == "max_pool_backward_naive"  # whose last hint is in words
        for path, text in shown.items():
            assert not [formula for formula in long if formula in text], path

    def test_answers_are_folded_in_the_finished_notebooks_and_blank_in_the_handout(
        self, originals, notebooks
    ):
        for exercise in EXERCISES:
            if exercise.is_answer:
                (ours,) = cells_of(nbformat.reads(originals[exercise.file], as_version=4), exercise)
                folded = r"<details>\n<summary><b>Answer\.</b></summary>\n\n.+\n\n</details>"
                assert re.fullmatch(folded, ours.source, re.DOTALL)
                (theirs,) = cells_of(notebooks[exercise.question - 1], exercise)
                assert theirs.source == UNANSWERED
