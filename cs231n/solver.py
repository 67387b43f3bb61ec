"""The Solver: trains any model by minibatch gradient descent and remembers how it went.

A model is an object with `params`, a dictionary of arrays, and `loss(X, y=None)`, which returns scores
without y, and otherwise the loss and a dictionary of gradients under the names of the parameters. A list
`bn_params` of dictionaries, where a model has one, is saved in its checkpoints too.
"""

import math
import sys
import warnings
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cs231n import checkpoint, optim

UPDATE_RULES = {rule.__name__: rule for rule in (optim.sgd, optim.sgd_momentum, optim.rmsprop, optim.adam)}

# What a checkpoint holds, beside the `bn_params` that only some models have.
_PARTS = {"settings", "progress", "histories", "params", "best_params", "optim_configs", "random"}
_PROGRESS = ("iteration", "epoch", "best_val_acc")
_HISTORIES = ("loss_history", "train_acc_history", "val_acc_history")


class Solver:
    """Trains a model on a training set and keeps the parameters that do best on a validation set.

    - model: see the module's docstring
    - data: a dictionary with `X_train` (N, ...), `y_train` (N,), `X_val`, `y_val`

    Options:
    - update_rule: 'sgd', 'sgd_momentum', 'rmsprop' or 'adam'
    - optim_config: settings of the update rule, such as {'learning_rate': 1e-3}
    - lr_decay: the learning rate is multiplied by it after every epoch
    - batch_size: examples per minibatch, drawn with `np.random.choice`
    - num_epochs: passes over the training set, of max(N // batch_size, 1) iterations each
    - num_train_samples, num_val_samples: how many examples the accuracies are measured on; None for all
    - checkpoint_name: where to keep a checkpoint, `checkpoint_name`.npz, rewritten after every epoch
    - print_every: iterations between two updates of the loss in the progress bar
    - verbose: whether to show the progress bar

    After `train()`, `loss_history` holds a loss per iteration; `train_acc_history` and `val_acc_history`
    the accuracies at the first iteration, at every epoch's end and at the last iteration; `best_val_acc`
    and `best_params` the best of them, which are also in `model.params`.
    """

    def __init__(
        self,
        model,
        data,
        *,
        update_rule="sgd",
        optim_config=None,
        lr_decay=1.0,
        batch_size=100,
        num_epochs=10,
        num_train_samples=1000,
        num_val_samples=None,
        checkpoint_name=None,
        print_every=10,
        verbose=True,
    ):
        if update_rule not in UPDATE_RULES:
            raise ValueError(f"update_rule must be one of {', '.join(UPDATE_RULES)}; got {update_rule!r}")
        for name, value in {"batch_size": batch_size, "print_every": print_every}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value!r}")
        _check_data(data)
        self.model = model
        self.X_train, self.y_train = data["X_train"], data["y_train"]
        self.X_val, self.y_val = data["X_val"], data["y_val"]
        self.update_rule = update_rule
        self.lr_decay = lr_decay
        self.batch_size = batch_size
        self.num_epochs = num_epochs
        self.num_train_samples = num_train_samples
        self.num_val_samples = num_val_samples
        self.checkpoint_name = checkpoint_name
        self.print_every = print_every
        self.verbose = verbose
        self.optim_configs = {name: dict(optim_config or {}) for name in model.params}
        self._reset()

    def _reset(self):
        self.iteration = 0
        self.epoch = 0
        self.best_val_acc = -math.inf
        self.best_params = {}
        self.loss_history = []
        self.train_acc_history = []
        self.val_acc_history = []
        self._latest_params = None

    @property
    def iterations_per_epoch(self):
        return max(len(self.X_train) // self.batch_size, 1)

    def train(self):
        """Train until `num_epochs` are done and leave the best parameters in `model.params`.

        Ctrl-C, or a loss that is no longer finite (FloatingPointError), leaves the best so far there too.
        Called again, it goes on from where it stopped, which a larger `num_epochs` allows.
        """
        if self._latest_params is not None:
            self.model.params = self._latest_params
        num_iterations = self.num_epochs * self.iterations_per_epoch
        bar = tqdm(
            total=num_iterations,
            initial=self.iteration,
            disable=not self.verbose,
            file=sys.stdout,
            mininterval=0.5,
            bar_format="{percentage:3.0f}%|{bar:20}| {n}/{total} [{elapsed}<{remaining}]{postfix}",
        )
        try:
            with bar:
                while self.iteration < num_iterations:
                    self._iterate(bar, num_iterations)
        finally:
            self._latest_params = self.model.params
            if self.best_params:
                self.model.params = _copies(self.best_params)

    def _iterate(self, bar, num_iterations):
        """One iteration and, at the first, at an epoch's end and at the last, what belongs there."""
        self._step()
        first, last = self.iteration == 0, self.iteration == num_iterations - 1
        self.iteration += 1
        epoch_ends = self.iteration % self.iterations_per_epoch == 0
        if epoch_ends:
            self.epoch += 1
            for config in self.optim_configs.values():
                config["learning_rate"] *= self.lr_decay
        if first or epoch_ends or last:
            self._measure_accuracies()
        if epoch_ends and self.checkpoint_name:
            self._save_checkpoint()
        if first or epoch_ends or last or self.iteration % self.print_every == 0:
            bar.set_postfix_str(self._summary(), refresh=False)
        bar.update()

    def _step(self):
        """Draw a minibatch and move every parameter once."""
        batch = np.random.choice(len(self.X_train), self.batch_size)
        loss, grads = self.model.loss(self.X_train[batch], self.y_train[batch])
        if not math.isfinite(loss):
            raise FloatingPointError(self._divergence(loss))
        self.loss_history.append(float(loss))
        update = UPDATE_RULES[self.update_rule]
        params = self.model.params
        for name, w in params.items():
            params[name], self.optim_configs[name] = update(w, grads[name], self.optim_configs[name])

    def _divergence(self, loss):
        config = next(iter(self.optim_configs.values()))
        rate = config.get("learning_rate")
        rate = "its default learning rate" if rate is None else f"learning rate {rate:g}"
        return (
            f"the loss became {loss} at iteration {self.iteration + 1} with {self.update_rule} at {rate}. "
            "Try a learning rate ten times smaller, a smaller weight_scale, or inputs of a smaller scale. "
            "model.params holds the best parameters seen so far."
        )

    def _measure_accuracies(self):
        self.train_acc_history.append(self.check_accuracy(self.X_train, self.y_train, self.num_train_samples))
        val_acc = self.check_accuracy(self.X_val, self.y_val, self.num_val_samples)
        self.val_acc_history.append(val_acc)
        if val_acc > self.best_val_acc:
            self.best_val_acc = val_acc
            self.best_params = _copies(self.model.params)

    def _summary(self):
        return (
            f"epoch {self.epoch}/{self.num_epochs}, loss {self.loss_history[-1]:.3f}, "
            f"accuracy train {self.train_acc_history[-1]:.3f}, val {self.val_acc_history[-1]:.3f}"
        )

    def check_accuracy(self, X, y, num_samples=None, batch_size=100):
        """Share of the examples X (N, ...) whose highest score is that of their label y (N,).

        - num_samples: measure on so many examples, drawn from X without replacement; None for all
        - batch_size: examples per forward pass, which bounds the memory it takes
        """
        if num_samples is not None and num_samples < len(X):
            sample = np.random.choice(len(X), num_samples, replace=False)
            X, y = X[sample], y[sample]
        correct = 0
        for start in range(0, len(X), batch_size):
            scores = self.model.loss(X[start : start + batch_size])
            correct += np.count_nonzero(scores.argmax(axis=1) == y[start : start + batch_size])
        return float(correct / len(X))

    @property
    def checkpoint_path(self):
        return Path(f"{self.checkpoint_name}.npz")

    def _save_checkpoint(self):
        """Write the whole state; a disk that is full costs the checkpoint, not the training."""
        _, keys, position, has_gauss, cached_gaussian = np.random.get_state()
        state = {
            "settings": self._settings(),
            "progress": {name: getattr(self, name) for name in _PROGRESS},
            "histories": {name: getattr(self, name) for name in _HISTORIES},
            "params": self.model.params,
            "best_params": self.best_params,
            "optim_configs": self.optim_configs,
            "bn_params": {str(i): bn_param for i, bn_param in enumerate(self._bn_params)},
            "random": {"keys": keys, "rest": (position, has_gauss, cached_gaussian)},
        }
        try:
            checkpoint.save(self.checkpoint_path, state)
        except OSError as error:
            warnings.warn(f"no checkpoint after epoch {self.epoch}: {error}", RuntimeWarning, stacklevel=4)

    def resume(self):
        """Go back to the checkpoint: the next `train()` ends, bit for bit, as if it had not been stopped.

        The solver must have been made with the same model, data and options as the one that was stopped;
        `num_epochs` may be larger. Returns the solver. NumPy's global generator goes back as well.
        """
        if not self.checkpoint_name:
            raise ValueError("checkpoint_name must be given to resume; got None")
        state = checkpoint.load(self.checkpoint_path)
        self._check_state(state)
        self._reset()
        for name in _PROGRESS:
            setattr(self, name, state["progress"][name])
        for name in _HISTORIES:
            setattr(self, name, state["histories"][name].tolist())
        self.model.params = state["params"]
        self.best_params = state["best_params"]
        self.optim_configs = state["optim_configs"]
        for i, bn_param in enumerate(self._bn_params):
            bn_param.update(state["bn_params"][str(i)])
        position, has_gauss, cached_gaussian = state["random"]["rest"]
        keys = state["random"]["keys"]
        np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached_gaussian))
        return self

    @property
    def _bn_params(self):
        return getattr(self.model, "bn_params", [])

    def _settings(self):
        """What must be the same for a resumed run to be the run that was stopped."""
        return {
            "update_rule": self.update_rule,
            "batch_size": self.batch_size,
            "lr_decay": self.lr_decay,
            "num_train": len(self.X_train),
        }

    def _check_state(self, state):
        """Raise ValueError unless a checkpoint's state belongs to this solver's model, data and options."""
        if not state.keys() >= _PARTS:
            raise ValueError(f"{self.checkpoint_path} is not a checkpoint of a Solver")
        ours, theirs = self._settings(), state["settings"]
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise ValueError(
                    f"{self.checkpoint_path} was written with {name}={theirs.get(name)!r}; this solver has "
                    f"{value!r}. Make the solver with the same options, or delete the checkpoint."
                )
        ours, theirs = _shapes(self.model.params), _shapes(state["params"])
        if ours != theirs:
            name = min(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
            raise ValueError(
                f"{self.checkpoint_path} is of another model: its {name} is {theirs.get(name, 'missing')}, "
                f"this model's {ours.get(name, 'missing')}. Make the model with the same sizes and dtype."
            )


def _shapes(params):
    return {name: f"{param.dtype} {param.shape}" for name, param in params.items()}


def _copies(params):
    return {name: param.copy() for name, param in params.items()}


def _check_data(data):
    missing = [name for name in ("X_train", "y_train", "X_val", "y_val") if name not in data]
    if missing:
        raise ValueError(f"data must have X_train, y_train, X_val and y_val; {missing[0]} is missing")
    for part in ("train", "val"):
        X, y = data[f"X_{part}"], data[f"y_{part}"]
        if len(X) != len(y) or len(X) == 0:
            raise ValueError(
                f"X_{part} and y_{part} must hold as many examples, at least 1; got {len(X)} and {len(y)}"
            )
