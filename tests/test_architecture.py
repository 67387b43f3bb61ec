"""The shape of the code: imports run one way, backward stands below forward, public names stay."""

import ast
import graphlib
import importlib
import inspect
import re
from pathlib import Path

import pytest

import cs231n

pytestmark = pytest.mark.q1

PACKAGE = Path(cs231n.__file__).parent
ROOT = PACKAGE.parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# What a room imports from the package, exactly; a package's name stands for all of its modules.
ARROWS = {
    "__init__": set(),
    "validation": set(),
    "files": set(),
    "gone": set(),
    "im2col": {"gone"},
    "im2col_cython": {"gone"},
    "windows": {"validation"},
    "kernels": {"validation", "windows"},
    "layers": {"kernels", "validation", "windows"},
    "fast_layers": {"gone", "kernels", "validation", "windows"},
    "compiled_layers": {"kernels", "layers", "validation"},
    "model_layers": {"compiled_layers", "layers"},
    "layer_utils": {"fast_layers", "gone", "model_layers"},
    "preprocessing": {"validation"},
    "saved_model": {"checkpoint", "preprocessing", "validation"},
    "classifiers": {"fast_layers", "layer_utils", "layers", "model_layers", "saved_model", "validation"},
    "saving": {"checkpoint", "classifiers", "saved_model", "validation"},
    "classify": {"preprocessing", "saving"},
    "optim": {"validation"},
    "fast_optim": {"kernels", "optim"},
    "update_rules": {"fast_optim", "optim", "validation"},
    "checkpoint": {"files"},
    "schedules": {"validation"},
    "augment": {"validation"},
    "averaging": {"validation"},
    "metrics": {"validation"},
    "solver": {"averaging", "checkpoint", "kernels", "metrics", "update_rules", "validation"},
    "passes": set(),
    "gradcheck": {"passes"},
    "gradient_check": {"gone", "gradcheck"},
    "vis_utils": {"gone"},
    "tracing": {"validation"},
    "animations": {"vis_utils"},
    "seeing": {"layer_utils"},
    "timing": {"fast_layers", "kernels", "layers"},
    "datasets": set(),
    "data_utils": {"datasets", "gone", "preprocessing", "validation"},
    "pytorch": {"data_utils", "datasets", "files", "timing", "validation"},
}
STAR_IMPORTS = {
    ("classifiers.fc_net", "cs231n.layers"),
    ("classifiers.fc_net", "cs231n.layer_utils"),
    ("classifiers.cnn", "cs231n.layers"),
    ("classifiers.cnn", "cs231n.fast_layers"),
    ("classifiers.cnn", "cs231n.layer_utils"),
    ("model_layers", "cs231n.compiled_layers"),
    ("model_layers", "cs231n.layers"),
}

every_module = pytest.mark.parametrize("name", MODULES)


def tree_of(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports_of(name):
    return imports_in(MODULES[name])


def imports_in(path):
    """Every imported name with its full path: `from a import b` is a.b, a star is a.*."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", sorted({name.split(".")[0] for name in MODULES} | ARROWS.keys()))
def test_a_room_imports_what_the_plan_says_and_no_more(room):
    assert room in ARROWS, f"say in ARROWS what the new room {room} imports"
    modules = [name for name in MODULES if name.split(".")[0] == room]
    paths = {path for name in modules for path in imports_of(name) if path.startswith("cs231n.")}
    assert {path.split(".")[1] for path in paths} - {room} == ARROWS[room]


def test_imports_never_run_in_a_circle():
    floors = graphlib.TopologicalSorter(ARROWS)
    floors.prepare()


def test_the_table_of_places_is_the_tree():
    """Every place in it is there, and every file and folder of the library and the course is in it."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = page.split("## What is where\n")[1].split("\n## ")[0]
    places = re.findall(r"(?m)^\| `([^`]+)`", table)
    assert [place for place in places if not (ROOT / place).exists()] == []
    ours = [path for room in ("cs231n", "course") for path in (ROOT / room).iterdir() if is_source(path)]
    missing = {f"{path.relative_to(ROOT).as_posix()}{'/' * path.is_dir()}" for path in ours} - set(places)
    assert missing == set()
    assert len(places) == len(set(places))


def is_source(path):
    """Whether a path is a module or a package with modules."""
    return path.name != "__init__.py" and (path.suffix == ".py" or any(path.glob("*.py")))


@every_module
def test_nothing_imports_what_is_built_around_the_package(name):
    tops = {path.split(".")[0] for path in imports_of(name)}
    assert not tops & {"tests", "conftest", "benchmarks", "course", "pytest", "hypothesis"}


COURSE = ROOT / "course"

# What the rooms of the course's wing import from each other and from the library
COURSE_ARROWS = {
    "rubric": set(),
    "submission": {"course.rubric", "cs231n.files", "cs231n.passes"},
    "handout": {"course.rubric", "course.submission"},
    "grading": {
        "course.rubric",
        "course.submission",
        "course.handout",
        "cs231n.classifiers",
        "cs231n.files",
        "cs231n.gradcheck",
        "cs231n.kernels",
        "cs231n.layers",
        "cs231n.optim",
    },
}


@pytest.mark.parametrize("room", COURSE_ARROWS)
def test_a_room_of_the_course_imports_what_the_plan_says_and_no_more(room):
    """A learner has the rubric and `submission/`, which know nothing of the other rooms."""
    files = [COURSE / "rubric.py"] if room == "rubric" else sorted((COURSE / room).rglob("*.py"))
    paths = {".".join(name.split(".")[:2]) for path in files for name in imports_in(path)}
    ours = {path for path in paths if path.startswith(("course.", "cs231n."))}
    assert ours - {f"course.{room}"} == COURSE_ARROWS[room]
    assert not {path.split(".")[0] for path in paths} & {"tests", "benchmarks"}


@every_module
def test_pytorch_is_imported_in_its_own_room_only(name):
    tops = {path.split(".")[0] for path in imports_of(name)}
    assert name.startswith("pytorch") or not tops & {"torch", "torchvision"}


@every_module
def test_no_import_hides_in_a_function(name):
    functions = [node for node in ast.walk(tree_of(name)) if isinstance(node, ast.FunctionDef)]
    nested = [node for function in functions for node in ast.walk(function)]
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in nested)


def test_star_imports_are_those_that_hand_names_on():
    found = {
        (name, path.removesuffix(".*"))
        for name in MODULES
        for path in imports_of(name)
        if path.endswith(".*")
    }
    assert found == STAR_IMPORTS


@pytest.mark.parametrize(
    "name",
    [
        "layers",
        "compiled_layers",
        "fast_layers",
        "layer_utils",
        "classifiers.deep_cnn",
        "kernels.numpy_kernels",
    ],
)
def test_backward_stands_directly_below_forward(name):
    functions = [node.name for node in tree_of(name).body if isinstance(node, ast.FunctionDef)]
    forwards = [function for function in functions if "_forward" in function]
    assert forwards
    for forward in forwards:
        below = functions[functions.index(forward) + 1]
        assert below == forward.replace("forward", "backward")


@pytest.mark.parametrize("name", ["layers", "compiled_layers", "fast_layers", "layer_utils"])
def test_every_public_function_is_handed_on(name):
    functions = {node.name for node in tree_of(name).body if isinstance(node, ast.FunctionDef)}
    handed_on = importlib.import_module(f"cs231n.{name}").__all__
    assert sorted(handed_on) == sorted(function for function in functions if not function.startswith("_"))


@every_module
def test_every_module_public_function_and_class_is_described(name):
    tree = tree_of(name)
    definitions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert ast.get_docstring(tree)
    assert [node.name for node in definitions if node.name[0] != "_" and not ast.get_docstring(node)] == []


SIGNATURES = {
    "layers": {
        "affine_forward": "(x, w, b)",
        "affine_backward": "(dout, cache)",
        "relu_forward": "(x)",
        "relu_backward": "(dout, cache)",
        "batchnorm_forward": "(x, gamma, beta, bn_param)",
        "batchnorm_backward": "(dout, cache)",
        "batchnorm_backward_alt": "(dout, cache)",
        "layernorm_forward": "(x, gamma, beta, ln_param)",
        "layernorm_backward": "(dout, cache)",
        "dropout_forward": "(x, dropout_param)",
        "dropout_backward": "(dout, cache)",
        "conv_forward_naive": "(x, w, b, conv_param)",
        "conv_backward_naive": "(dout, cache)",
        "max_pool_forward_naive": "(x, pool_param)",
        "max_pool_backward_naive": "(dout, cache)",
        "spatial_batchnorm_forward": "(x, gamma, beta, bn_param)",
        "spatial_batchnorm_backward": "(dout, cache)",
        "spatial_groupnorm_forward": "(x, gamma, beta, G, gn_param)",
        "spatial_groupnorm_backward": "(dout, cache)",
        "svm_loss": "(x, y)",
        "softmax_loss": "(x, y)",
    },
    "layer_utils": {
        "affine_relu_forward": "(x, w, b)",
        "affine_relu_backward": "(dout, cache)",
        "conv_relu_forward": "(x, w, b, conv_param)",
        "conv_relu_backward": "(dout, cache)",
        "conv_bn_relu_forward": "(x, w, b, gamma, beta, conv_param, bn_param)",
        "conv_bn_relu_backward": "(dout, cache)",
        "conv_relu_pool_forward": "(x, w, b, conv_param, pool_param)",
        "conv_relu_pool_backward": "(dout, cache)",
    },
    "fast_layers": {
        "conv_forward_fast": "(x, w, b, conv_param)",
        "conv_backward_fast": "(dout, cache)",
        "max_pool_forward_fast": "(x, pool_param)",
        "max_pool_backward_fast": "(dout, cache)",
    },
    **dict.fromkeys(
        ("optim", "fast_optim"),
        dict.fromkeys(
            ("sgd", "sgd_momentum", "nesterov", "rmsprop", "adam", "adamw"), "(w, dw, config=None)"
        ),
    ),
    "classifiers.fc_net": {
        "TwoLayerNet": "(input_dim=3072, hidden_dim=100, num_classes=10, weight_scale=0.001, reg=0.0)",
        "TwoLayerNet.loss": "(self, X, y=None)",
        "FullyConnectedNet": (
            "(hidden_dims, input_dim=3072, num_classes=10, dropout=1, normalization=None, reg=0.0, "
            "weight_scale=0.01, dtype=<class 'numpy.float32'>, seed=None)"
        ),
        "FullyConnectedNet.loss": "(self, X, y=None)",
    },
    "classifiers.cnn": {
        "ThreeLayerConvNet": (
            "(input_dim=(3, 32, 32), num_filters=32, filter_size=7, hidden_dim=100, num_classes=10, "
            "weight_scale=0.001, reg=0.0, dtype=<class 'numpy.float32'>)"
        ),
        "ThreeLayerConvNet.loss": "(self, X, y=None)",
    },
    "classifiers.deep_cnn": {
        "DeepConvNet": (
            "(input_dim=(3, 32, 32), widths=(32, 48, 128, 128), num_classes=10, label_smoothing=0.0, "
            "reg=0.0, dtype=<class 'numpy.float32'>)"
        ),
        "DeepConvNet.loss": "(self, X, y=None)",
    },
    "gradient_check": {
        "eval_numerical_gradient": "(f, x, verbose=True, h=1e-05)",
        "eval_numerical_gradient_array": "(f, x, df, h=1e-05)",
        "grad_check_sparse": "(f, x, analytic_grad, num_checks=10, h=1e-05)",
        "rel_error": "(x, y)",
    },
}


@pytest.mark.parametrize(
    "module, name, signature",
    [(module, name, signature) for module, names in SIGNATURES.items() for name, signature in names.items()],
)
def test_public_signature_may_only_grow_by_what_has_a_default(module, name, signature):
    found = importlib.import_module(f"cs231n.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    annotated = inspect.signature(found).parameters.values()
    parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in annotated]
    fixed = signature.count(",") + 1
    assert str(inspect.Signature(parameters[:fixed])) == signature
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters[fixed:])
