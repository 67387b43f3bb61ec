"""The rubric: which exercises there are, where they stand and how many points they count.

This is the only place that says so. The handout blanks these exercises, `collect_submission.sh` looks
whether they are done, and the grader judges them.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

NOTEBOOKS = (
    "FullyConnectedNets.ipynb",
    "BatchNormalization.ipynb",
    "Dropout.ipynb",
    "ConvolutionalNetworks.ipynb",
    "PyTorch.ipynb",
)
LAYERS = "cs231n/layers.py"
FC_NET = "cs231n/classifiers/fc_net.py"
CNN = "cs231n/classifiers/cnn.py"
REGULARIZATION = "cs231n/classifiers/regularization.py"
OPTIM = "cs231n/optim.py"
CONVNET = "cs231n/pytorch/convnet.py"
SANDWICHES = "cs231n/layer_utils.py"  # holds no exercise, but is the place for sandwiches of one's own

FILES = (LAYERS, SANDWICHES, OPTIM, REGULARIZATION, FC_NET, CNN, CONVNET, *NOTEBOOKS)
TAG = "exercise:"  # a cell with the tag exercise:ID belongs to that exercise
UNANSWERED = "**Answer.** *Yours to write.*"


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    - id: its name, unique, which is also the tag of its cells
    - question: 1 to 5; points: what it counts, 0 for what is shown but not judged
    - file: where it stands, one of `FILES`
    - names: the functions, or "Class.method", to write; none where it is an answer or whole cells
    - needs: ids of the exercises whose functions it may call
    - helpers: private functions and classes of the solution, which a learner is not given
    """

    id: str
    question: int
    points: int
    file: str
    names: tuple = ()
    needs: tuple = ()
    helpers: tuple = ()

    @property
    def is_answer(self):
        """Whether it is a question to be answered in words."""
        return "-answer-" in self.id

    @property
    def in_notebook(self):
        return PurePosixPath(self.file).suffix == ".ipynb"

    @property
    def title(self):
        """How the exercise is called when one speaks to people."""
        if self.is_answer:
            return f"answer {self.id.rsplit('-', 1)[1]}"
        return " and ".join(self.names) or "the best net"

    @property
    def not_done(self):
        """What the blanked exercise says when it is run."""
        return f"Q{self.question} is not done yet: write {self.title} in {self.file}"


def _layer(question, points, name, needs=(), helpers=()):
    return Exercise(name, question, points, LAYERS, (name,), needs, helpers)


def _rule(points, name):
    return Exercise(name, 1, points, OPTIM, (name,))


def _model(question, points, id, file, name, needs=(), helpers=()):
    return Exercise(id, question, points, file, (name,), needs, helpers)


def _answers(question, notebook, count):
    return [Exercise(f"q{question}-answer-{n}", question, 1, notebook) for n in range(1, count + 1)]


def _pytorch(points, id, *names):
    return Exercise(id, 5, points, "PyTorch.ipynb", names)


AFFINE_NET = ("affine_forward", "affine_backward", "relu_forward", "relu_backward", "add_l2_penalty")
BATCHNORM = ("batchnorm_forward", "batchnorm_backward", "batchnorm_backward_alt")
LAYERNORM = ("layernorm_forward", "layernorm_backward")
DROPOUT = ("dropout_forward", "dropout_backward")
FC_LOSS_HELPERS = (
    "FullyConnectedNet._set_mode",
    "FullyConnectedNet._hidden_layer",
    "FullyConnectedNet._param_names",
)
CORE = ("_normalize", "_normalize_batch", "_running_averages")  # of every normalization
CORE_BACKWARD = ("_normalize_backward", "_batchnorm_backward")

EXERCISES = (
    # Q1, 20 points
    _layer(1, 1, "affine_forward"),
    _layer(1, 2, "affine_backward", needs=("affine_forward",)),
    _layer(1, 1, "relu_forward"),
    _layer(1, 1, "relu_backward", needs=("relu_forward",)),
    _model(1, 1, "add_l2_penalty", REGULARIZATION, "add_l2_penalty"),
    _model(1, 1, "TwoLayerNet", FC_NET, "TwoLayerNet._initial_params"),
    _model(1, 2, "TwoLayerNet.loss", FC_NET, "TwoLayerNet.loss", ("TwoLayerNet", *AFFINE_NET)),
    _model(1, 1, "FullyConnectedNet", FC_NET, "FullyConnectedNet._initial_params"),
    _model(
        1,
        3,
        "FullyConnectedNet.loss",
        FC_NET,
        "FullyConnectedNet.loss",
        ("FullyConnectedNet", *AFFINE_NET),
        FC_LOSS_HELPERS,
    ),
    _rule(1, "sgd_momentum"),
    _rule(1, "rmsprop"),
    _rule(2, "adam"),
    *_answers(1, "FullyConnectedNets.ipynb", 3),
    Exercise("q1-best-net", 1, 0, "FullyConnectedNets.ipynb"),
    # Q2, 30 points
    _layer(2, 6, "batchnorm_forward", helpers=CORE),
    _layer(2, 5, "batchnorm_backward", needs=("batchnorm_forward",), helpers=CORE_BACKWARD),
    _layer(2, 4, "batchnorm_backward_alt", needs=("batchnorm_forward",), helpers=CORE_BACKWARD),
    _layer(2, 4, "layernorm_forward", helpers=CORE),
    _layer(2, 4, "layernorm_backward", needs=("layernorm_forward",), helpers=CORE_BACKWARD),
    _model(
        2,
        3,
        "FullyConnectedNet.loss, normalized",
        FC_NET,
        "FullyConnectedNet.loss",
        ("FullyConnectedNet", *AFFINE_NET, *BATCHNORM, *LAYERNORM),
    ),
    *_answers(2, "BatchNormalization.ipynb", 4),
    # Q3, 10 points
    _layer(3, 3, "dropout_forward"),
    _layer(3, 2, "dropout_backward", needs=("dropout_forward",)),
    _model(
        3,
        2,
        "FullyConnectedNet.loss, with dropout",
        FC_NET,
        "FullyConnectedNet.loss",
        ("FullyConnectedNet", *AFFINE_NET, *DROPOUT),
    ),
    *_answers(3, "Dropout.ipynb", 3),
    # Q4, 30 points
    _layer(4, 5, "conv_forward_naive"),
    _layer(4, 6, "conv_backward_naive", needs=("conv_forward_naive",), helpers=("_pad",)),
    _layer(4, 3, "max_pool_forward_naive", helpers=("_window",)),
    _layer(4, 3, "max_pool_backward_naive", needs=("max_pool_forward_naive",)),
    _model(4, 1, "ThreeLayerConvNet", CNN, "ThreeLayerConvNet._initial_params"),
    _model(4, 4, "ThreeLayerConvNet.loss", CNN, "ThreeLayerConvNet.loss", ("ThreeLayerConvNet", *AFFINE_NET)),
    _layer(4, 2, "spatial_batchnorm_forward", needs=("batchnorm_forward",), helpers=CORE),
    _layer(
        4,
        2,
        "spatial_batchnorm_backward",
        needs=("spatial_batchnorm_forward", *BATCHNORM),
        helpers=CORE_BACKWARD,
    ),
    _layer(4, 2, "spatial_groupnorm_forward", needs=("layernorm_forward",), helpers=("_in_groups", *CORE)),
    _layer(
        4,
        2,
        "spatial_groupnorm_backward",
        needs=("spatial_groupnorm_forward", *LAYERNORM),
        helpers=CORE_BACKWARD,
    ),
    # Q5, 10 points
    _pytorch(2, "three-layer-convnet", "three_layer_convnet"),
    _pytorch(1, "convnet-params", "convnet_params"),
    _pytorch(2, "module-convnet", "ThreeLayerConv.__init__", "ThreeLayerConv.forward"),
    _pytorch(1, "training-loop", "train"),
    _pytorch(1, "sequential-convnet", "sequential_convnet"),
    Exercise(
        "challenge",
        5,
        2,
        CONVNET,
        ("ConvNet.__init__", "ConvNet.forward"),
        helpers=("conv_block", "Residual", "WIDTHS", "SCORE_SCALE"),
    ),
    *_answers(5, "PyTorch.ipynb", 1),
)
BY_ID = {exercise.id: exercise for exercise in EXERCISES}
