"""The update rules: SGD, momentum and Nesterov's, RMSProp, Adam and AdamW."""

import numpy as np
import pytest
import torch
from agreement import assert_close, assert_dtype, assert_equal, assert_true, summary_of
from conftest import DTYPES, assert_same, draw, draw_all, every_second, reversed_twice, validation

from cs231n.optim import adam, adamw, nesterov, rmsprop, sgd, sgd_momentum

pytestmark = pytest.mark.q1

RULES = (sgd, sgd_momentum, nesterov, rmsprop, adam, adamw)
STATE = {
    sgd: (),
    sgd_momentum: ("velocity",),
    nesterov: ("velocity",),
    rmsprop: ("cache",),
    adam: ("m", "v"),
    adamw: ("m", "v"),
}
# Settings unlike the defaults; NumPy's float64 must not raise float32 arrays to float64.
SETTINGS = {
    sgd: {"learning_rate": np.float64(0.03)},
    sgd_momentum: {"learning_rate": np.float64(0.03), "momentum": np.float64(0.7)},
    rmsprop: {"learning_rate": np.float64(0.03), "decay_rate": np.float64(0.8), "epsilon": np.float64(0.02)},
    adam: {
        "learning_rate": np.float64(0.03),
        "beta1": np.float64(0.7),
        "beta2": np.float64(0.8),
        "epsilon": np.float64(0.02),
    },
}
SETTINGS[nesterov] = SETTINGS[sgd_momentum]
SETTINGS[adamw] = SETTINGS[adam] | {"weight_decay": np.float64(0.4)}

# The defaults, written out for PyTorch
DEFAULTS = {
    sgd: {"learning_rate": 1e-2},
    sgd_momentum: {"learning_rate": 1e-2, "momentum": 0.9},
    rmsprop: {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8},
    adam: {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
}
DEFAULTS[nesterov] = DEFAULTS[sgd_momentum]
DEFAULTS[adamw] = DEFAULTS[adam] | {"weight_decay": 1e-2}

every_rule = pytest.mark.parametrize("rule", RULES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def run(rule, w, gradients, settings):
    """Return w after a step with each gradient, and the configuration that was handed on."""
    config = dict(settings)
    for dw in gradients:
        w, config = rule(w, dw, config)
    return w, config


def explained(rule, settings):
    """What a rule has to do, as a sentence, and with which settings."""
    return f"{summary_of(rule)} Here {', '.join(f'{name} is {value}' for name, value in settings.items())}."


def optimizer_in_torch(rule, parameter, s):
    if rule is sgd:
        return torch.optim.SGD([parameter], lr=s["learning_rate"])
    if rule is sgd_momentum:  # torch keeps -v / lr, which is the same while the learning rate stays
        return torch.optim.SGD([parameter], lr=s["learning_rate"], momentum=s["momentum"])
    if rule is nesterov:
        return torch.optim.SGD([parameter], lr=s["learning_rate"], momentum=s["momentum"], nesterov=True)
    if rule is rmsprop:
        return torch.optim.RMSprop(
            [parameter], lr=s["learning_rate"], alpha=s["decay_rate"], eps=s["epsilon"]
        )
    betas = s["beta1"], s["beta2"]
    if rule is adamw:
        decay = s["weight_decay"]
        return torch.optim.AdamW(
            [parameter], lr=s["learning_rate"], betas=betas, eps=s["epsilon"], weight_decay=decay
        )
    return torch.optim.Adam([parameter], lr=s["learning_rate"], betas=betas, eps=s["epsilon"])


@every_dtype
@every_rule
@pytest.mark.parametrize("given_settings", [True, False], ids=["settings", "defaults"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (1, 3, 2), (5, 400)], ids=lambda shape: f"shape{shape}")
def test_rule_agrees_with_torch(rule, dtype, given_settings, shape):
    w, *gradients = (np.asarray(array) for array in draw_all([shape] * 6, dtype))
    settings = SETTINGS[rule] if given_settings else {}
    floats = {name: float(value) for name, value in (settings or DEFAULTS[rule]).items()}
    parameter = torch.tensor(w, requires_grad=True)
    optimizer = optimizer_in_torch(rule, parameter, floats)
    for dw in gradients:
        parameter.grad = torch.tensor(dw)
        optimizer.step()
    next_w, _ = run(rule, w, gradients, settings)
    expected, name = parameter.detach().numpy(), f"{rule.__name__} w after {len(gradients)} steps"
    assert_same(next_w, expected, dtype, name, explained(rule, settings or DEFAULTS[rule]))


def step_on_paper(rule, dw, **config):
    """Return the results of a step from w = 1: w and the configuration."""
    return rule(np.array([1.0]), np.array([dw]), config)


def test_sgd_on_paper():
    w, _ = step_on_paper(sgd, 4.0, learning_rate=0.5)
    assert_equal("sgd w", w, [-1], "1 - 0.5 * 4 = -1")


def test_momentum_on_paper():
    w, config = step_on_paper(sgd_momentum, 4.0, learning_rate=0.5, momentum=0.25, velocity=np.array([8.0]))
    rule = summary_of(sgd_momentum)
    v = f"{rule} Here v = 0.25 * 8 - 0.5 * 4 = 0."
    assert_equal("sgd_momentum config['velocity']", config["velocity"], [0], v)
    assert_equal("sgd_momentum w", w, [1], f"{v} w + v = 1 + 0 = 1.")
    w, _ = sgd_momentum(np.array([1.0]), np.array([4.0]), config)
    assert_equal("sgd_momentum w after a second step", w, [-1], f"{rule} Here v = 0 - 2 and w + v = 1 - 2.")


def test_nesterov_on_paper():
    w, config = step_on_paper(nesterov, 4.0, learning_rate=0.5, momentum=0.25, velocity=np.array([16.0]))
    assert config["velocity"] == [2]  # 0.25 * 16 - 0.5 * 4
    assert w == -0.5  # 1 - 0.5 * 4 + 0.25 * 2


def test_nesterovs_point_is_ahead_of_the_one_that_moves():
    """Its w is theta + mu v, where theta takes the steps of the original form: equations 3 and 4."""
    mu, lr, theta, v = 0.5, 0.25, 1.0, 0.0
    w, config = np.array(theta), {"learning_rate": lr, "momentum": mu}
    for _ in range(5):
        assert w == theta + mu * v
        v = mu * v - lr * 2 * (theta + mu * v)  # the gradient of theta^2
        theta += v
        w, config = nesterov(w, 2 * w, config)


def test_rmsprop_on_paper():
    settings = {"learning_rate": 0.5, "decay_rate": 0.75, "epsilon": 1}
    w, config = step_on_paper(rmsprop, 4.0, **settings, cache=np.array([0.0]))
    assert_equal("rmsprop config['cache']", config["cache"], [4], "0.75 * 0 + 0.25 * 4 ** 2 = 4")
    assert_close("rmsprop w", w, [1 / 3], "1 - 0.5 * 4 / (sqrt(4) + 1) = 1/3: epsilon is outside the root.")


def test_adam_on_paper():
    settings = {"learning_rate": 0.5, "beta1": 0.75, "beta2": 0.75, "epsilon": 1}
    w, config = step_on_paper(adam, 4.0, **settings)
    assert_equal("adam config['m']", config["m"], [1], "0.75 * 0 + 0.25 * 4 = 1")
    assert_equal("adam config['v']", config["v"], [4], "0.75 * 0 + 0.25 * 4 ** 2 = 4")
    assert_equal("adam config['t']", config["t"], 1, "It counts the steps.")
    correction = "Corrected for the first step (t = 1), m is 1 / 0.25 = 4 and v is 4 / 0.25 = 16"
    assert_close("adam w", w, [0.6], f"{correction}: 1 - 0.5 * 4 / (sqrt(16) + 1) = 0.6.")


def test_adamw_on_paper():
    settings = {"learning_rate": 0.5, "beta1": 0.75, "beta2": 0.75, "epsilon": 1, "weight_decay": 0.25}
    w, config = step_on_paper(adamw, 4.0, **settings)
    assert (config["m"], config["v"], config["t"]) == ([1], [4], 1)  # the decay is not in the moments
    np.testing.assert_allclose(w, 0.475)  # Adam's 0.6, less 0.5 * 0.25 * 1


def test_adams_first_step_has_the_length_of_the_learning_rate():
    dw = np.array([1e-3, -5.0, 1e4])
    rule = "The first step has the length of the learning rate, whatever the size of the gradient."
    assert_close("adam w after one step", adam(np.zeros(3), dw)[0], -1e-3 * np.sign(dw), rule, rtol=1e-4)


def test_adam_resumes_at_the_step_number_it_is_given():
    w, dw = draw_all([(4, 3), (4, 3)])
    expected, config = run(adam, w, [dw] * 3, SETTINGS[adam])
    halfway, config = run(adam, w, [dw] * 2, SETTINGS[adam])
    assert_equal("adam config['t'] after two steps", config["t"], 2, "It counts the steps.")
    restored = {name: np.copy(value) if name in ("m", "v") else value for name, value in config.items()}
    rule = "With m, v and t of two steps, the third step has to be the same as in one run of three."
    assert_equal("adam w after a resumed step", adam(halfway, dw, restored)[0], expected, rule)


@every_dtype
@every_rule
def test_everything_keeps_the_dtype_of_w(rule, dtype):
    for other in DTYPES:
        w, config = run(rule, draw((4, 3), dtype), [draw((4, 3), other)] * 2, SETTINGS[rule])
        results = {"w": w} | {f"config['{name}']": config[name] for name in STATE[rule]}
        for name, array in results.items():
            assert_dtype(f"{rule.__name__} {name}", array, dtype, "w and the state keep the dtype of w.")


@every_rule
def test_arrays_are_left_alone(rule):
    """The new w and the new state are arrays of their own."""
    w, dw, *states = draw_all([(4, 3)] * (2 + len(STATE[rule])))
    arrays = [w, dw, *map(np.abs, states)]
    for array in arrays:
        array.flags.writeable = False
    next_w, config = rule(w, dw, dict(zip(STATE[rule], arrays[2:], strict=True)))
    results = [next_w, *(config[name] for name in STATE[rule])]
    shared = any(np.shares_memory(result, array) for result in results for array in arrays)
    assert_true(not shared, f"{rule.__name__} returns an array that shares memory with an argument")
    assert_true(not np.array_equal(next_w, w), f"{rule.__name__} returns w as it was")


@every_rule
def test_config_is_the_one_that_was_given(rule):
    config = {}
    is_given = rule(*draw_all([(4, 3)] * 2), config)[1] is config
    assert_true(is_given, f"{rule.__name__} returns another dictionary than the config it was given")


@every_rule
def test_configuration_is_filled_in_and_not_shared_between_calls(rule):
    first, second = (rule(w, w.copy())[1] for w in draw_all([(4, 3), (2, 5)]))
    assert first is not second
    counts = {"t"} if rule in (adam, adamw) else set()
    expected = SETTINGS[rule].keys() | set(STATE[rule]) | counts
    got = f"It has {', '.join(sorted(first))}; expected {', '.join(sorted(expected))}."
    assert_true(first.keys() == expected, f"{rule.__name__} returns a config with other entries", got)
    for name in STATE[rule]:
        assert first[name].shape == (4, 3) and second[name].shape == (2, 5)
        assert not np.shares_memory(first[name], second[name])


@every_rule
@pytest.mark.parametrize("arrange", [np.asfortranarray, np.transpose, every_second, reversed_twice])
def test_any_memory_layout(rule, arrange):
    """Of w, of its gradients and of the state."""
    w, *gradients = draw_all([(5, 4)] * 3)
    expected, _ = run(rule, arrange(w).copy(), [arrange(dw).copy() for dw in gradients], SETTINGS[rule])
    state = {name: arrange(np.zeros(w.shape)) for name in STATE[rule]}
    arranged, _ = run(rule, arrange(w), [arrange(dw) for dw in gradients], SETTINGS[rule] | state)
    layout = "It has to be the same for arrays that are laid out differently in memory."
    assert_close(f"{rule.__name__} w", arranged, expected, layout, rtol=1e-12)


@validation
@every_rule
@pytest.mark.parametrize(
    "w, dw, message",
    [
        (np.ones(3, int), np.ones(3), "w must be an array of floats; got int64"),
        ([1.0, 2.0], np.ones(2), "w must be an array of floats; got list"),
        (np.ones((3, 2)), np.ones(2), r"dw must have shape \(3, 2\) \(that of w\); got \(2,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rule, w, dw, message):
    with pytest.raises(ValueError, match=message):
        rule(w, dw)


@validation
@every_rule
@pytest.mark.parametrize("learning_rate", [-0.1, np.nan])
def test_learning_rates_that_do_not_fit_are_refused(rule, learning_rate):
    with pytest.raises(ValueError, match=f"learning_rate must be in .*; got {learning_rate}"):
        rule(np.ones(3), np.ones(3), {"learning_rate": learning_rate})


@validation
@pytest.mark.parametrize(
    "rule, config, message",
    [
        (sgd, {"momentum": 0.9}, "config has the unknown entry 'momentum'; known are learning_rate$"),
        (sgd_momentum, {"lr": 0.1}, "unknown entry 'lr'; known are learning_rate, momentum, velocity"),
        (
            rmsprop,
            {"beta1": 0.9},
            "unknown entry 'beta1'; known are learning_rate, decay_rate, epsilon, cache",
        ),
        (adam, {"velocity": None}, "unknown entry 'velocity'; known are .*beta1, beta2, epsilon, t, m, v"),
        (sgd_momentum, {"momentum": 1.5}, r"momentum must be in \[0, 1\]; got 1.5"),
        (rmsprop, {"decay_rate": -0.5}, r"decay_rate must be in \[0, 1\]; got -0.5"),
        (rmsprop, {"epsilon": -1e-8}, r"epsilon must be in .*; got -1e-08"),
        (adam, {"beta1": 1}, r"beta1 must be in \[0, 1\); got 1"),
        (adam, {"beta2": 1.0}, r"beta2 must be in \[0, 1\); got 1.0"),
        (adam, {"epsilon": -1}, r"epsilon must be in .*; got -1"),
        (adam, {"t": -1}, "t must be an integer of at least 0; got -1"),
        (adam, {"t": True}, "t must be an integer of at least 0; got True"),
        (sgd_momentum, {"velocity": np.zeros(4)}, r"config\['velocity'\] must have shape \(3,\)"),
        (rmsprop, {"cache": np.zeros((3, 1))}, r"config\['cache'\] must have shape \(3,\)"),
        (adamw, {"weight_decay": -0.1}, r"weight_decay must be in \[0, inf\); got -0.1"),
        (adam, {"weight_decay": 0.1}, "unknown entry 'weight_decay'"),
        (adam, {"m": np.zeros(4)}, r"config\['m'\] must have shape \(3,\)"),
        (adam, {"v": np.zeros(4)}, r"config\['v'\] must have shape \(3,\)"),
    ],
)
def test_settings_that_do_not_fit_are_refused(rule, config, message):
    with pytest.raises(ValueError, match=message):
        rule(np.ones(3), np.ones(3), config)


@validation
@pytest.mark.parametrize("rule", [adam, adamw])
def test_a_refused_step_leaves_the_step_number_alone(rule):
    config = {"t": 4}
    with pytest.raises(ValueError, match="dw must have shape"):
        rule(np.ones(3), np.ones(4), config)
    assert config["t"] == 4
