"""The rubric: which exercises there are, where they are and how many points they are worth.

Everything else reads it: the handout blanks these exercises, `collect_submission.sh` checks whether they are
done, and the grader judges them.

>>> len(EXERCISES), sum(exercise.points for exercise in EXERCISES)
(49, 100)
>>> BY_ID["affine_backward"].needs
('affine_forward',)
"""

from dataclasses import dataclass
from enum import Enum
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
SANDWICHES = "cs231n/layer_utils.py"  # has no exercise, but learners may add sandwich layers to it

FILES = (LAYERS, SANDWICHES, OPTIM, REGULARIZATION, FC_NET, CNN, CONVNET, *NOTEBOOKS)
TAG = "exercise:"  # a cell with the tag exercise:ID belongs to that exercise
TASK = "task"  # the tag of the cells that ask a learner for an exercise
UNANSWERED = "**Answer.** *Yours to write.*"


class Kind(Enum):
    """What a learner writes: functions, an answer in words, or whole cells of a notebook."""

    FUNCTIONS = "functions"
    ANSWER = "answer"
    WHOLE_CELLS = "whole cells"


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    - id: its unique name, which is also the tag of its cells; it says nothing that another field does not
    - question: 1 to 5
    - points: what it is worth; 0 if it is shown but not judged
    - file: where it is, one of `FILES`
    - names: the functions to write, "function" or "Class.method", if its kind is functions
    - needs: the ids of the exercises whose functions it may call
    - helpers: private functions and classes of the solution, which learners do not get
    - kind: what a learner writes
    - part: the part of the function that counts here, such as "normalized"; "" if all of it does
    - forward: the id of the forward pass whose cache this backward pass reads, else None
    - number: the number of an answer within its question
    - product: what whole cells make, such as "the best net"

    >>> exercise = Exercise("relu_forward", 1, 1, LAYERS, names=("relu_forward",))
    >>> exercise.not_done
    'Q1 is not done yet: write relu_forward in cs231n/layers.py'
    """

    id: str
    question: int
    points: int
    file: str
    names: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    kind: Kind = Kind.FUNCTIONS
    part: str = ""
    forward: str | None = None
    number: int | None = None
    product: str = ""

    @property
    def is_answer(self) -> bool:
        """Whether it is a question to be answered in words."""
        return self.kind is Kind.ANSWER

    @property
    def in_notebook(self) -> bool:
        return PurePosixPath(self.file).suffix == ".ipynb"

    @property
    def title(self) -> str:
        """What messages call the exercise, without its part."""
        if self.kind is Kind.ANSWER:
            return f"answer {self.number}"
        if self.kind is Kind.WHOLE_CELLS:
            return self.product
        return " and ".join(self.names)

    @property
    def full_title(self) -> str:
        """The title, and the part where only a part of the function counts."""
        return f"{self.title}, {self.part}" if self.part else self.title

    @property
    def not_done(self) -> str:
        """The message with which the blanked exercise fails."""
        return f"Q{self.question} is not done yet: write {self.title} in {self.file}"


def _layer(
    question: int, points: int, name: str, needs: tuple[str, ...] = (), helpers: tuple[str, ...] = ()
) -> Exercise:
    return Exercise(name, question, points, LAYERS, (name,), needs, helpers)


def _backward(
    question: int,
    points: int,
    name: str,
    forward: str,
    needs: tuple[str, ...] = (),
    helpers: tuple[str, ...] = (),
) -> Exercise:
    """Return the exercise of a layer's backward pass, which needs its forward pass first of all."""
    return Exercise(name, question, points, LAYERS, (name,), (forward, *needs), helpers, forward=forward)


def _rule(points: int, name: str) -> Exercise:
    return Exercise(name, 1, points, OPTIM, (name,))


def _model(
    question: int,
    points: int,
    id: str,
    file: str,
    name: str,
    needs: tuple[str, ...] = (),
    helpers: tuple[str, ...] = (),
    part: str = "",
) -> Exercise:
    return Exercise(id, question, points, file, (name,), needs, helpers, part=part)


def _answers(question: int, notebook: str, count: int) -> list[Exercise]:
    return [
        Exercise(f"q{question}-answer-{n}", question, 1, notebook, kind=Kind.ANSWER, number=n)
        for n in range(1, count + 1)
    ]


def _pytorch(points: int, id: str, *names: str) -> Exercise:
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
    _layer(1, 1, "affine_forward", helpers=("_count_features",)),
    _backward(1, 2, "affine_backward", "affine_forward"),
    _layer(1, 1, "relu_forward"),
    _backward(1, 1, "relu_backward", "relu_forward"),
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
    Exercise("q1-best-net", 1, 0, "FullyConnectedNets.ipynb", kind=Kind.WHOLE_CELLS, product="the best net"),
    # Q2, 30 points
    _layer(2, 6, "batchnorm_forward", helpers=CORE),
    _backward(2, 5, "batchnorm_backward", "batchnorm_forward", helpers=CORE_BACKWARD),
    _backward(2, 4, "batchnorm_backward_alt", "batchnorm_forward", helpers=CORE_BACKWARD),
    _layer(2, 4, "layernorm_forward", helpers=CORE),
    _backward(2, 4, "layernorm_backward", "layernorm_forward", helpers=CORE_BACKWARD),
    _model(
        2,
        3,
        "FullyConnectedNet.loss, normalized",
        FC_NET,
        "FullyConnectedNet.loss",
        ("FullyConnectedNet", *AFFINE_NET, *BATCHNORM, *LAYERNORM),
        part="normalized",
    ),
    *_answers(2, "BatchNormalization.ipynb", 4),
    # Q3, 10 points
    _layer(3, 3, "dropout_forward"),
    _backward(3, 2, "dropout_backward", "dropout_forward"),
    _model(
        3,
        2,
        "FullyConnectedNet.loss, with dropout",
        FC_NET,
        "FullyConnectedNet.loss",
        ("FullyConnectedNet", *AFFINE_NET, *DROPOUT),
        part="with dropout",
    ),
    *_answers(3, "Dropout.ipynb", 3),
    # Q4, 30 points
    _layer(4, 5, "conv_forward_naive"),
    _backward(4, 6, "conv_backward_naive", "conv_forward_naive", helpers=("_pad",)),
    _layer(4, 3, "max_pool_forward_naive", helpers=("_window",)),
    _backward(4, 3, "max_pool_backward_naive", "max_pool_forward_naive"),
    _model(4, 1, "ThreeLayerConvNet", CNN, "ThreeLayerConvNet._initial_params"),
    _model(4, 4, "ThreeLayerConvNet.loss", CNN, "ThreeLayerConvNet.loss", ("ThreeLayerConvNet", *AFFINE_NET)),
    _layer(4, 2, "spatial_batchnorm_forward", needs=("batchnorm_forward",), helpers=CORE),
    _backward(
        4,
        2,
        "spatial_batchnorm_backward",
        "spatial_batchnorm_forward",
        needs=BATCHNORM,
        helpers=CORE_BACKWARD,
    ),
    _layer(4, 2, "spatial_groupnorm_forward", needs=("layernorm_forward",), helpers=("_in_groups", *CORE)),
    _backward(
        4,
        2,
        "spatial_groupnorm_backward",
        "spatial_groupnorm_forward",
        needs=LAYERNORM,
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
