"""The learners' version: what is in it and what is not, and how it behaves before anything is written."""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from zipfile import ZipFile

import nbformat
import pytest
from conftest import (
    MESSAGES,
    PATIENCE,
    missing_exercise,
    pytest_terminal_summary,
    pytest_xdist_auto_num_workers,
)

import run_notebooks
from course.handout import make as handout
from course.handout.__main__ import main
from course.handout.make import (
    LEFT_OUT,
    collect,
    learners_makefile,
    learners_pyproject,
    make_handout,
    read_all,
)
from course.handout.search import find_solutions
from course.handout.tasks import TEXTS, read_tasks
from course.rubric import BY_ID, EXERCISES, FILES, LAYERS, NOTEBOOKS
from course.submission.source import cells_of, find_function
from cs231n.gradcheck.diagnosis import Mistake

ROOT = Path(handout.ROOT)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make the handout's folder, with its zip beside it; no test writes to it."""
    folder = tmp_path_factory.mktemp("handout") / "assignment2"
    make_handout(folder)
    return folder


@pytest.fixture(scope="module")
def originals():
    return read_all(ROOT)


@pytest.fixture(scope="module")
def files(made):
    return {path: (made / path).read_text(encoding="utf-8") for path in paths_in(made)}


def paths_in(folder):
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return sorted(path for path in paths if "__pycache__" not in path)


def run_in(folder, *arguments):
    """Run Python on the handout, as someone would who has nothing but the handout."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "120"}
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )


class TestContents:
    def test_at_the_top(self, made):
        assert sorted(path.name for path in made.iterdir()) == sorted(
            [
                *NOTEBOOKS,
                *("course", "cs231n", "tests", "collect_submission.sh", "run_notebooks.py", "setup.py"),
                *("pyproject.toml", "Makefile", "README.md", "LICENSE", ".gitattributes", ".gitignore"),
            ]
        )

    def test_every_module_of_the_package_and_nothing_compiled_or_downloaded(self, files):
        ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cs231n").rglob("*.*")}
        ours = {path for path in ours if path.endswith((".py", ".pyx", ".h", ".typed"))} - set(LEFT_OUT)
        assert {path for path in files if path.startswith("cs231n/")} == ours

    def test_what_is_no_exercise_is_as_it_was(self, files):
        for path in ("cs231n/solver.py", "setup.py", "LICENSE", "tests/conftest.py", "course/rubric.py"):
            assert files[path] == (ROOT / path).read_text(encoding="utf-8")

    def test_nothing_names_what_is_not_there(self, files):
        for path in ("pyproject.toml", "Makefile", "README.md"):
            assert not re.search("grading|benchmark|docs/", files[path])
        for path, text in files.items():
            if path.endswith(".py"):
                assert not re.search(
                    r"^\s*(from|import) (course\.grading|course\.handout|benchmarks)\b", text, re.MULTILINE
                ), path

    def test_nothing_is_left_of_the_deep_convnet(self, files, originals):
        """It is the network of the challenge, which learners are to find; saving works without."""
        assert "DeepConvNet" in originals["ConvolutionalNetworks.ipynb"]
        named = {path for path, text in files.items() if re.search("DeepConvNet|deep_cnn", text)}
        assert named == {"cs231n/saving.py"}

    def test_the_readme_has_every_exercise_and_its_points(self, files):
        rows = [line.split(" | ") for line in files["README.md"].split("\n") if line.startswith("| Q")]
        assert len(rows) == len(EXERCISES)
        for row, exercise in zip(rows, EXERCISES, strict=True):
            assert row[0] == f"| Q{exercise.question}"
            assert exercise.file in row[1]
            assert all(name in row[1] for name in exercise.names)
            assert row[2] == f"{exercise.points} |"
        assert "| | all | 100 |" in files["README.md"]

    def test_every_question_has_tests(self, files):
        tests = "".join(text for path, text in files.items() if path.startswith("tests/test_"))
        assert all(f"pytest.mark.q{question}" in tests for question in range(1, 6))

    def test_the_tests_that_write_an_exercise_out_are_left_out(self, files):
        assert "def plain_net" not in files["tests/test_pytorch_training.py"]
        assert "def test_rule_agrees_with_torch" in files["tests/test_optim.py"]

    def test_the_files_that_are_installed_with_the_course_are_there(self, files):
        tomllib = pytest.importorskip("tomllib")
        patterns = tomllib.loads(files["pyproject.toml"])["tool"]["setuptools"]["package-data"]["course"]
        assert patterns
        for pattern in patterns:
            assert any(PurePosixPath(path).match(f"course/{pattern}") for path in files), pattern
        assert not any(path.startswith(("course/grading", "course/handout")) for path in files)

    def test_no_tool_is_set_up_that_only_instructors_use(self):
        text = TestDrift.PYPROJECT + '\n[tool.mypy]\nstrict = true\n\n[[tool.mypy.overrides]]\nmodule = "a"\n'
        assert learners_pyproject(text) == learners_pyproject(TestDrift.PYPROJECT)

    def test_every_text_keeps_the_line_endings_of_unix(self, files):
        assert all("\r" not in text for text in files.values())
        assert "* text=auto eol=lf" in files[".gitattributes"].splitlines()

    def test_the_readmes_commands_are_there(self, files):
        readme = files["README.md"]
        targets = re.findall(r"^(\w+): ", files["Makefile"], re.MULTILINE)
        assert set(re.findall(r"\bmake (lab|test|notebooks|data)\b", readme)) <= set(targets)
        modules = set(re.findall(r"python -m ((?:cs231n|course)[\w.]*)", readme))
        assert modules == {"cs231n.datasets", "course.submission"}
        assert all(f"{module.replace('.', '/')}/__main__.py" in files for module in modules)

    def test_requirements_are_the_learners(self, files):
        tomllib = pytest.importorskip("tomllib")
        extras = tomllib.loads(files["pyproject.toml"])["project"]["optional-dependencies"]
        ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        ours = ours["project"]["optional-dependencies"]
        assert extras.keys() == ours.keys() - {"grading"}
        assert extras["submission"] == ours["submission"]
        tools = [each for each in ours["test"][1:] if not each.startswith(handout.INSTRUCTORS_TOOLS)]
        assert len(tools) == len(ours["test"]) - 3
        assert extras["test"] == ["cs231n[submission]", *tools]

    def test_make_lint_needs_no_tool_that_is_not_installed(self, files):
        _, lint = files["Makefile"].split("\nlint: ")
        assert re.findall(r"\$\(BIN\)/([\w-]+)", lint.split("\n\n")[0]) == ["ruff", "ruff"]


class TestZip:
    def test_it_holds_what_the_folder_holds(self, made):
        with ZipFile(made.with_name("assignment2.zip")) as archive:
            names = archive.namelist()
            assert names == sorted(names)
            assert names == [f"assignment2/{path}" for path in paths_in(made)]
            assert all(
                archive.read(f"assignment2/{path}") == (made / path).read_bytes() for path in paths_in(made)
            )

    def test_it_is_the_same_when_made_again(self, made, tmp_path):
        archive = make_handout(tmp_path / "assignment2")
        assert archive == tmp_path / "assignment2.zip"
        assert archive.read_bytes() == made.with_name("assignment2.zip").read_bytes()

    def test_times_are_fixed_and_the_script_can_be_run(self, made):
        with ZipFile(made.with_name("assignment2.zip")) as archive:
            entries = archive.infolist()
        assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.create_system for entry in entries} == {3}
        executable = [entry.filename for entry in entries if entry.external_attr >> 16 & stat.S_IXUSR]
        assert executable == ["assignment2/collect_submission.sh"]
        assert os.access(made / "collect_submission.sh", os.X_OK)


class TestWhere:
    def test_a_folder_that_holds_something_is_refused(self, tmp_path):
        (tmp_path / "mine").write_text("mine")
        for folder in (tmp_path, tmp_path / "mine"):
            with pytest.raises(
                ValueError, match=r"FOLDER must be new or empty; .* is neither: remove it or choose another"
            ):
                make_handout(folder)
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_a_zip_is_not_written_over(self, tmp_path):
        (tmp_path / "new.zip").write_text("mine")
        with pytest.raises(ValueError, match=r"must not exist yet, but .*new.zip does: remove it"):
            make_handout(tmp_path / "new")
        assert [path.name for path in tmp_path.iterdir()] == ["new.zip"]

    def test_the_command_line_says_why_there_is_none(self, tmp_path):
        (tmp_path / "mine").write_text("mine")
        with pytest.raises(SystemExit, match="No handout was made: FOLDER must be new or empty"):
            main([str(tmp_path)])

    def test_the_command_line_says_what_was_made(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(handout, "collect", lambda root: {"a.py": "x = 1\n"})
        main([str(tmp_path / "new")])
        assert capsys.readouterr().out.startswith(f"{len(EXERCISES)} exercises, 100 points: ")
        assert (tmp_path / "new" / "a.py").read_text() == "x = 1\n"
        assert (tmp_path / "new.zip").exists()


def body_of(text, name):
    """Return the lines of a function's body, without its docstring."""
    function = find_function(ast.parse(text), name)
    start = function.body[0].end_lineno if ast.get_docstring(function) else function.lineno
    return text.split("\n")[start : function.end_lineno]


class TestSearch:
    @pytest.fixture
    def plant(self, files, originals):
        """Return a function that appends text to a file of the handout and searches it."""
        return lambda path, text: find_solutions({path: f"{files[path]}\n{text}\n"}, originals)

    def test_nothing_is_found(self, files, originals):
        assert find_solutions(files, originals) == []

    @pytest.mark.parametrize(
        "exercise", [e for e in EXERCISES if e.names and not e.in_notebook], ids=lambda e: e.id
    )
    def test_every_solution_is_found_where_it_is_left(self, files, originals, exercise):
        found = find_solutions({exercise.file: originals[exercise.file]}, originals)
        assert any(f": {exercise.id}: " in leak for leak in found)

    @pytest.mark.parametrize("exercise", [e for e in EXERCISES if e.in_notebook], ids=lambda e: e.id)
    def test_every_cell_is_found_where_it_is_left(self, originals, exercise):
        found = find_solutions({exercise.file: originals[exercise.file]}, originals)
        assert any(f": {exercise.id}: " in leak for leak in found)

    def test_two_lines_are_found_in_a_module_that_is_given(self, plant, originals):
        first, second = "    centered = x_hat / inv_std", "    dcentered = dx_hat * inv_std"
        assert {first, second} <= set(body_of(originals[LAYERS], "batchnorm_backward"))
        (leak,) = plant("cs231n/solver.py", f"def mine():\n    {first}\n\n    # and\n    {second}")
        assert leak.startswith("cs231n/solver.py: batchnorm_backward: ")

    def test_one_short_line_is_nobodys(self, plant, originals):
        assert "    dbeta = dout.sum(axis=0)" in body_of(originals[LAYERS], "layernorm_backward")
        assert plant("cs231n/solver.py", "def mine(dout):\n    dbeta = dout.sum(axis=0)") == []

    @pytest.mark.parametrize(
        "text",
        [
            "centered = x_hat / inv_std\n\n\n    # and then\ndcentered = dx_hat * inv_std",
            "# centered = x_hat / inv_std\n# dcentered = dx_hat * inv_std",
            "`centered = x_hat/inv_std`\n`dcentered = dx_hat*inv_std`",
            "out = matmul(\n    x.reshape(\n        len(x), num_features,\n    ),  # rows\n    w,\n)",
        ],
    )
    def test_layout_and_comments_do_not_hide_it(self, plant, text):
        assert plant("README.md", text)
        assert plant("tests/test_layers.py", text)

    def test_quotes_do_not_hide_it(self, plant):
        line = "dparams = {'W1': dW1, 'b1': db1, 'W2': dW2, 'b2': db2}".replace("dparams", "grads")
        assert plant("cs231n/solver.py", line)

    def test_it_is_found_in_a_cell(self, files, originals):
        notebook = nbformat.reads(files["Dropout.ipynb"], as_version=4)
        notebook.cells[0].source += "\n\n    mask = np.less(rand(*x.shape), p).astype(x.dtype)\n    mask /= p"
        found = find_solutions({"Dropout.ipynb": nbformat.writes(notebook)}, originals)
        assert found and all(leak.startswith("Dropout.ipynb: dropout_forward: ") for leak in found)

    def test_a_helper_is_found(self, plant):
        assert plant(
            "cs231n/kernels/numpy_kernels.py",
            "x_hat = x - mean\nvar = np.square(x_hat).mean(axis=axes, keepdims=True)",
        )

    def test_a_sentence_of_an_answer_is_found(self, plant, originals):
        exercise = BY_ID["q2-answer-2"]
        (cell,) = cells_of(nbformat.reads(originals[exercise.file], as_version=4), exercise)
        sentence = re.search(r"The smaller the batch.*?\.", cell.source).group()
        assert f"README.md: {exercise.id}: " in "".join(plant("README.md", f"> {sentence}"))

    def test_what_is_found_stops_the_handout(self, monkeypatch):
        monkeypatch.setattr(handout, "hand_out", dict)
        with pytest.raises(
            ValueError, match=r"must contain no solution, .*\n.*cs231n/layers.py: affine_forward: "
        ):
            collect()


class TestDrift:
    PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        "before, after, found",
        [
            ("\ngrading = [", "\ngrades = [", "grading = "),
            ("cs231n[grading]", "cs231n[notebooks]", "test = "),
            ('"*.ipynb" = ', '"*.py" = ', "ipynb"),
            ("[tool.ruff]", "[tool.grading]\n[tool.ruff]", "tool.grading"),
        ],
    )
    def test_a_pyproject_that_has_changed_is_noticed(self, before, after, found):
        assert before in self.PYPROJECT
        with pytest.raises(ValueError, match=rf"pyproject.toml must .*{re.escape(found)[:7]}"):
            learners_pyproject(self.PYPROJECT.replace(before, after))

    @pytest.mark.parametrize(
        "before, after",
        [
            ("# make bench", "# make benchmarks"),
            (" bench ", " "),
            ("\nbench:", "\nspeed:"),
            ("\nlint:", "\ngrade:\n\tpython -m course.grading\n\nlint:"),
        ],
    )
    def test_a_makefile_that_has_changed_is_noticed(self, before, after):
        assert before in self.MAKEFILE
        with pytest.raises(ValueError, match=r"Makefile must .*course/handout/make\.py"):
            learners_makefile(self.MAKEFILE.replace(before, after))

    def test_files_that_are_no_longer_there_are_noticed(self, tmp_path):
        with pytest.raises(ValueError, match=r"COPIED must match a file in .*; 'cs231n/.*' matches none"):
            read_all(tmp_path)

    def test_a_test_that_is_no_longer_there_is_noticed(self, monkeypatch):
        monkeypatch.setattr(handout, "WITHHELD", {"tests/test_layers.py": ("test_of_old",)})
        with pytest.raises(ValueError, match="does not define 'test_of_old'"):
            collect()


class TestBeforeAnythingIsWritten:
    def test_the_style_is_that_of_the_whole(self, made):
        """No name is missing either: what went with the helpers is used nowhere any more."""
        ruff = run_in(made, "-m", "ruff", "check", "--no-cache", ".")
        assert ruff.returncode == 0, ruff.stdout

    def test_every_module_can_be_imported(self, made, files):
        paths = [path for path in files if path.startswith("cs231n/") and path.endswith(".py")]
        modules = [path.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in paths]
        modules = [name for name in modules if not name.endswith(".__main__")]
        code = (
            "import importlib, sys\nfor name in sys.argv[1:]: print(importlib.import_module(name).__file__)"
        )
        run = run_in(made, "-W", "error", "-c", code, *modules)
        assert run.returncode == 0, run.stderr
        assert all(line.startswith(str(made)) for line in run.stdout.splitlines())

    def test_a_notebook_stops_at_the_first_exercise(self, made, tmp_path, tiny_data, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", str(made))
        result = run_notebooks.run_notebook(made / "FullyConnectedNets.ipynb", tmp_path, timeout=PATIENCE)
        assert result.error.endswith(f"NotImplementedError: {BY_ID['affine_forward'].not_done}")
        assert 1 < result.cells < 10

    def test_the_command_of_every_task_selects_tests(self, made):
        """All in one process: what takes long is the first import of everything."""
        tasks = read_tasks(TEXTS.read_text(encoding="utf-8"))
        commands = {f"-m q{e.question} {tasks[e.id].tests}" for e in EXERCISES if tasks[e.id].tests}
        code = (
            "import shlex, sys, pytest\n"
            "for command in sys.argv[1:]:\n"
            "    arguments = [*shlex.split(command), '--collect-only', '-q', '-p', 'no:cacheprovider']\n"
            "    print('exit', int(pytest.main(arguments)))"
        )
        run = run_in(made, "-c", code, *sorted(commands))
        assert re.findall(r"^exit (\d)$", run.stdout, re.MULTILINE) == ["0"] * len(commands), run.stdout

    def test_tests_wait_for_exercises_and_nothing_crashes(self, made):
        """All are collected; some of each kind are run, of which one meets its exercise in a fixture."""
        chosen = "on_paper or minibatch_of_one_example"
        run = run_in(made, "-m", "pytest", "-k", chosen, "-p", "no:cacheprovider")
        assert run.returncode == 1, run.stdout
        waiting = re.findall(r"^(Q. is not done yet: .*) \((\d+) tests? waits?\)$", run.stdout, re.MULTILINE)
        waiting = {message: int(count) for message, count in waiting}
        assert list(waiting) == [message for message in MESSAGES if message in waiting]
        expected = ("affine_forward", "TwoLayerNet", "adam", "batchnorm_forward", "dropout_forward")
        assert {BY_ID[id].not_done for id in expected} <= waiting.keys()
        assert waiting[BY_ID["affine_forward"].not_done] == 1
        assert re.search(
            rf"= \d passed, \d+ deselected, {sum(waiting.values())} not done yet in ", run.stdout
        )
        assert "\ntests/test_layers.py NN " in run.stdout
        assert not re.search("Error|Traceback|FAILED|failed", run.stdout)


class WithoutChecks(ast.NodeTransformer):
    """Removes every `if` that does nothing but raise ValueError."""

    def visit_If(self, node):
        self.generic_visit(node)
        raises = isinstance(node.body[0], ast.Raise) and "ValueError" in ast.unparse(node.body[0])
        return None if raises and not node.orelse else node


@pytest.fixture(scope="module")
def solved(made, originals, tmp_path_factory):
    """Return the handout with the exercises written, but without any check of arguments."""
    folder = tmp_path_factory.mktemp("solved") / "assignment2"
    shutil.copytree(made, folder)
    sources = [path for path in FILES if path.endswith(".py")]
    for path in (*sources, "cs231n/validation.py", "cs231n/windows.py"):
        tree = WithoutChecks().visit(ast.parse(originals[path]))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.For) and not node.body:
                node.body.append(ast.Pass())
        (folder / path).write_text(ast.unparse(tree), encoding="utf-8")
    return folder


class TestLayersThatDoNotValidate:
    """Right code passes the tests of every question, whether or not it refuses wrong arguments."""

    def test_they_pass_the_tests_of_every_question(self, solved):
        run = run_in(solved, "-m", "pytest", "-q", "-m", "q1 or q2 or q3 or q4", "-p", "no:cacheprovider")
        assert run.returncode == 0, run.stdout
        assert int(re.search(r"(\d+) passed, \d+ deselected", run.stdout)[1]) > 600

    def test_the_tests_of_validation_can_be_run(self, solved):
        """For one question too."""
        run = run_in(solved, "-m", "pytest", "-q", "-m", "q3 and validation", "-p", "no:cacheprovider")
        assert re.search(r"DID NOT RAISE.*ValueError", run.stdout)
        names = re.findall(r"^FAILED tests/(\w+)\.py", run.stdout, re.MULTILINE)
        assert set(names) == {"test_dropout", "test_fc_net"}


class TestWhatIsWrong:
    """A mistake is named by the first lines that a learner reads, and by the last."""

    def test_a_wrong_gradient(self, made, originals, tmp_path):
        folder = tmp_path / "assignment2"
        shutil.copytree(made, folder)
        right, wrong = "return dout * (x > 0)", "return dout * (dout > 0)"
        assert right in originals[LAYERS]
        (folder / LAYERS).write_text(originals[LAYERS].replace(right, wrong), encoding="utf-8")
        shared = ("--numprocesses=2", "--dist=worksteal")  # as by `make test`: what is told first stays first
        chosen = ("-m", "q1", "-k", "relu and not affine", "-p", "no:cacheprovider")
        run = run_in(folder, "-m", "pytest", *shared, *chosen)
        _, failures = run.stdout.split("= FAILURES =")
        first = failures.split("\n____")[1].split("\n")
        headline = f"relu_backward dx is wrong: {Mistake.MASK_OF_DOUT.value}"
        assert any(headline in line for line in first[:10]), run.stdout
        _, last = re.split("=+ what is wrong =+\n", run.stdout)
        assert last.startswith(f"{headline} (")
        assert "assert_allclose" not in run.stdout and "Not equal to tolerance" not in run.stdout

    def test_failures_are_told_in_the_order_of_the_tests_whichever_process_is_first(self):
        failed = [SimpleNamespace(user_properties=[("place", place)]) for place in (12, 3, 7)]
        failed.append(SimpleNamespace(user_properties=[]))  # a process that died
        next(pytest_terminal_summary(SimpleNamespace(stats={"failed": failed})))
        assert [report.user_properties for report in failed] == [[], *([("place", n)] for n in (3, 7, 12))]


class TestProcesses:
    """How many share the tests of `make test`."""

    @pytest.mark.parametrize("processors, processes", [(1, 0), (2, 2), (4, 4), (64, 4)])
    def test_there_is_one_for_each_processor_up_to_four(self, monkeypatch, processors, processes):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)), raising=False)
        assert pytest_xdist_auto_num_workers() == processes


class Several(Exception):  # noqa: N818  stands for ExceptionGroup, which Python 3.10 has not
    def __init__(self, *exceptions):
        self.exceptions = exceptions


class TestMissingExercise:
    DONE = NotImplementedError(BY_ID["adam"].not_done)

    @pytest.mark.parametrize(
        "error, message",
        [
            (DONE, BY_ID["adam"].not_done),
            (Several(DONE, NotImplementedError(BY_ID["rmsprop"].not_done)), BY_ID["adam"].not_done),
            (Several(Several(DONE)), BY_ID["adam"].not_done),
            (Several(DONE, ValueError("a mistake")), None),
            (NotImplementedError("Q1 is not done yet: write something else"), None),
            (NotImplementedError(), None),
            (ValueError(BY_ID["adam"].not_done), None),
            (Several(), None),
            (None, None),
        ],
    )
    def test_it_is_one_of_the_rubrics(self, error, message):
        assert missing_exercise(error) == message
