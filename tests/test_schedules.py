"""Schedules of the learning rate: their values on paper and PyTorch's."""

import math

import numpy as np
import pytest
import torch

from cs231n.schedules import Cosine, OneCycle, StepDecay, WarmUp

pytestmark = pytest.mark.q1

EVERY = [
    Cosine(),
    Cosine(0.1),
    OneCycle(),
    WarmUp(0.1),
    WarmUp(0.3, Cosine()),
    StepDecay(),
    StepDecay((), 0.5),
]


def factors(schedule, total):
    return [schedule(step, total) for step in range(total)]


def factors_in_torch(make, total):
    """The learning rates that a scheduler of PyTorch gives to the steps of an optimizer of rate 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(rates) < total else None
    return rates


def test_cosine_on_paper():
    np.testing.assert_allclose(
        factors(Cosine(), 4), [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    np.testing.assert_allclose(factors(Cosine(0.5), 2), [1, 0.75])


@pytest.mark.parametrize("total", [1, 2, 10, 101])
def test_cosine_is_torchs(total):
    def make(optimizer):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total, eta_min=0.05)

    np.testing.assert_allclose(factors(Cosine(0.05), total), factors_in_torch(make, total), rtol=1e-9)


@pytest.mark.parametrize("total", [2, 7, 10, 101])
@pytest.mark.parametrize("peak", [0.3, 0.5, 0.05])
def test_one_cycle_is_torchs(total, peak):
    def make(optimizer):
        scheduler = torch.optim.lr_scheduler.OneCycleLR
        return scheduler(optimizer, max_lr=1.0, total_steps=total, pct_start=peak, cycle_momentum=False)

    if peak * total == 1:
        pytest.skip("PyTorch divides by zero")
    ours = factors(OneCycle(peak), total)
    if peak * total < 1:  # PyTorch goes back along the wave, below `start`; ours begins on the way down
        assert ours == sorted(ours, reverse=True)
    else:
        np.testing.assert_allclose(ours, factors_in_torch(make, total), rtol=1e-9, atol=1e-12)


def test_one_cycle_starts_peaks_and_ends_where_it_says():
    values = factors(OneCycle(peak=0.25, start=0.1, end=0.01), 100)
    assert values[0] == pytest.approx(0.1, rel=1e-12)
    assert values[24] == max(values) == 1
    assert values[-1] == pytest.approx(0.01, rel=1e-12)


def test_warm_up_on_paper():
    assert factors(WarmUp(0.4), 10) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]
    seen = []
    schedule = WarmUp(0.2, lambda step, total: seen.append((step, total)) or 0.5)
    assert factors(schedule, 10) == [0.5, 1] + [0.5] * 8
    assert seen == [(step, 8) for step in range(8)]


def test_step_decay_on_paper():
    np.testing.assert_allclose(factors(StepDecay((0.5, 0.75), 0.1), 8), [1] * 4 + [0.1] * 2 + [0.01] * 2)
    assert factors(StepDecay((), 0.1), 3) == [1, 1, 1]


@pytest.mark.parametrize("schedule", EVERY, ids=str)
@pytest.mark.parametrize("total", [1, 2, 3, 10, 1000])
def test_factors_are_pythons_floats_from_0_to_1(schedule, total):
    values = factors(schedule, total)
    assert all(type(value) is float and 0 <= value <= 1 for value in values)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: Cosine(-0.1), r"floor must be in \[0, 1\]; got -0.1"),
        (lambda: OneCycle(peak=1), r"peak must be in \(0, 1\); got 1"),
        (lambda: OneCycle(start=2), r"start must be in \[0, 1\]; got 2"),
        (lambda: OneCycle(end=None), r"end must be in \[0, 1\]; got None"),
        (lambda: WarmUp(500), r"share must be in \(0, 1\); got 500"),
        (lambda: WarmUp(0.1, Cosine), r"then must be a function .*; got the class Cosine: make one"),
        (lambda: WarmUp(0.1, 0.5), r"then must be a function \(step, total\) -> factor; got 0.5"),
        (lambda: StepDecay(at=(0.5, 30)), r"each share of at must be in \[0, 1\]; got 30"),
        (lambda: StepDecay(factor=-1), r"factor must be in \[0, inf\); got -1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
