"""The rubric: its points, the parts of its exercises, and that no id is more than a name."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import course
from course.grading.judge import _attempts
from course.rubric import BY_ID, EXERCISES, FILES, Exercise, Kind

COURSE = Path(course.__file__).parent
# What an id would be taken apart with, or searched with.
READS_AN_ID = re.compile(
    r"\bid\.(r?split|r?partition|replace|startswith|endswith|remove(pre|suf)fix)\b|\bin (\w+\.)?id\b"
)

every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


def test_ids_are_unique():
    assert len(BY_ID) == len(EXERCISES)


@pytest.mark.parametrize("question, points", [(1, 20), (2, 30), (3, 10), (4, 30), (5, 10)])
def test_the_points_of_a_question(question, points):
    assert sum(exercise.points for exercise in EXERCISES if exercise.question == question) == points


@every_exercise
def test_an_exercise_has_the_fields_of_its_kind(exercise):
    assert exercise.file in FILES
    assert bool(exercise.names) == (exercise.kind is Kind.FUNCTIONS)
    assert (exercise.number is not None) == (exercise.kind is Kind.ANSWER)
    assert bool(exercise.product) == (exercise.kind is Kind.WHOLE_CELLS)
    assert not exercise.part or exercise.kind is Kind.FUNCTIONS


@every_exercise
def test_what_an_exercise_needs_is_there(exercise):
    assert set(exercise.needs) <= BY_ID.keys() - {exercise.id}
    assert exercise.forward is None or exercise.forward in exercise.needs


def test_every_backward_pass_names_its_forward_pass():
    partners = {exercise.id: exercise.forward for exercise in EXERCISES if exercise.forward}
    assert partners == {
        "affine_backward": "affine_forward",
        "relu_backward": "relu_forward",
        "batchnorm_backward": "batchnorm_forward",
        "batchnorm_backward_alt": "batchnorm_forward",
        "layernorm_backward": "layernorm_forward",
        "dropout_backward": "dropout_forward",
        "conv_backward_naive": "conv_forward_naive",
        "max_pool_backward_naive": "max_pool_forward_naive",
        "spatial_batchnorm_backward": "spatial_batchnorm_forward",
        "spatial_groupnorm_backward": "spatial_groupnorm_forward",
    }


def test_titles():
    titles = {id: BY_ID[id].full_title for id in ("adam", "q2-answer-3", "q1-best-net", "module-convnet")}
    assert titles == {
        "adam": "adam",
        "q2-answer-3": "answer 3",
        "q1-best-net": "the best net",
        "module-convnet": "ThreeLayerConv.__init__ and ThreeLayerConv.forward",
    }
    parts = [exercise.full_title for exercise in EXERCISES if "FullyConnectedNet.loss" in exercise.names]
    assert parts == [
        "FullyConnectedNet.loss",
        "FullyConnectedNet.loss, normalized",
        "FullyConnectedNet.loss, with dropout",
    ]


OPAQUE = {exercise.id: f"e{number}" for number, exercise in enumerate(EXERCISES, start=1)}


def renamed(exercise: Exercise) -> Exercise:
    """Return the exercise with an id that says nothing, as do the ids to which it refers."""
    return replace(
        exercise,
        id=OPAQUE[exercise.id],
        needs=tuple(OPAQUE[id] for id in exercise.needs),
        forward=exercise.forward and OPAQUE[exercise.forward],
    )


@every_exercise
def test_an_id_is_only_a_name(exercise):
    other = renamed(exercise)
    for name in ("kind", "title", "full_title", "not_done", "part", "number", "is_answer", "in_notebook"):
        assert getattr(other, name) == getattr(exercise, name)
    assert other.forward == (exercise.forward and OPAQUE[exercise.forward])
    attempts = [given and tuple(OPAQUE[id] for id in given) for given in _attempts(exercise)]
    assert _attempts(other) == attempts


def test_no_code_reads_an_id():
    lines = [line for path in COURSE.rglob("*.py") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if READS_AN_ID.search(line)] == []
