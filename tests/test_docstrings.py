"""The examples in docstrings run and print what they say; the functions that people meet first have one."""

import doctest
import importlib
from pathlib import Path

import pytest

import course
import cs231n

pytestmark = pytest.mark.q1

ROOT = Path(__file__).parents[1]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

FIRST_MET = (
    ("cs231n.layers", "affine_forward"),
    ("cs231n.layers", "softmax_loss"),
    ("cs231n.gradcheck.check", "check_layer"),
    ("cs231n.gradient_check", "eval_numerical_gradient"),
    ("cs231n.solver", "Solver"),
    ("cs231n.kernels", "load_kernels"),
    ("cs231n.optim", "adam"),
    ("cs231n.classifiers.fc_net", "FullyConnectedNet"),
    ("cs231n.vis_utils", "visualize_grid"),
    ("course.rubric", "Exercise"),
)


def modules_with_examples():
    """Return the names of all modules of the packages cs231n and course that have an example."""
    paths = [path for package in (cs231n, course) for path in Path(package.__file__).parent.rglob("*.py")]
    with_examples = [path for path in paths if ">>> " in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in with_examples]
    return sorted(name.removesuffix(".__init__") for name in names)


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_print_what_they_say(name):
    module = importlib.import_module(name)
    report = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(example, out=report.append)
    assert runner.summarize(verbose=False).attempted > 0
    assert not report, "".join(report)


@pytest.mark.parametrize("module, name", FIRST_MET)
def test_what_people_meet_first_has_an_example(module, name):
    docstring = getattr(importlib.import_module(module), name).__doc__
    assert doctest.DocTestParser().get_examples(docstring), f"{module}.{name} needs a >>> example"
