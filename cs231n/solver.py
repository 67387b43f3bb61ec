"""The Solver: trains any model by minibatch gradient descent and remembers how it went.

A model is an object with `params`, a dictionary of arrays, and `loss(X, y=None)`, which returns scores
without y, and otherwise the loss and a dictionary of gradients under the names of the parameters. Where a
model has `bn_params`, a list of dictionaries with running averages, they are kept along with the parameters.
"""

import math
import sys
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cs231n import checkpoint
from cs231n.validation import require_choice, require_integer, require_number

try:
    from cs231n import fast_optim as rules
except ImportError:  # not in the learners' version, whose Solver uses the rules that they write
    from cs231n import optim as rules

UPDATE_RULES = {rule.__name__: rule for rule in (rules.sgd, rules.sgd_momentum, rules.rmsprop, rules.adam)}

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
        require_choice("update_rule", update_rule, UPDATE_RULES)
        counts = {"batch_size": batch_size, "num_epochs": num_epochs, "print_every": print_every}
        samples = {"num_train_samples": num_train_samples, "num_val_samples": num_val_samples}
        for name, value in (counts | samples).items():
            if not (value is None and name in samples):
                require_integer(name, value, 1)
        self.model = model
        self.X_train, self.y_train = _examples(data, "X_train", "y_train")
        self.X_val, self.y_val = _examples(data, "X_val", "y_val")
        self.update_rule = update_rule
        self.optim_config = dict(optim_config or {})
        self.lr_decay = require_number("lr_decay", lr_decay, 0, math.inf)
        self.batch_size = batch_size
        self.num_epochs = num_epochs
        self.num_train_samples = num_train_samples
        self.num_val_samples = num_val_samples
        self.checkpoint_name = checkpoint_name
        self.print_every = print_every
        self.verbose = verbose
        self._reset()

    def _reset(self):
        self.optim_configs = {name: dict(self.optim_config) for name in self.model.params}
        self.iteration = 0
        self.epoch = 0
        self.best_val_acc = -math.inf
        self.best_params = {}
        self._best_bn_params = []
        self.loss_history = []
        self.train_acc_history = []
        self.val_acc_history = []
        self._latest = None  # the model's params and bn_params where training stopped

    @property
    def iterations_per_epoch(self):
        return max(len(self.X_train) // self.batch_size, 1)

    def train(self):
        """Train until `num_epochs` are done and leave the best parameters in `model.params`.

        Ctrl-C, or a loss that is no longer finite (FloatingPointError), leaves the best so far there too.
        Called again, it goes on from where it stopped, which a larger `num_epochs` allows.
        """
        if self._latest:
            self._put_into_model(*self._latest)
        if not self.best_params:
            self._keep_as_best()
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
                self._measure_where_due()  # what an interruption may have left out
                while self.iteration < num_iterations:
                    self._step()
                    measured = self._measure_where_due()
                    if measured or self.iteration % self.print_every == 0:
                        bar.set_postfix_str(self._summary(), refresh=False)
                    bar.update()
        finally:
            self._latest = self.model.params, deepcopy(self._bn_params)
            self._put_into_model(_copies(self.best_params), deepcopy(self._best_bn_params))

    def _step(self):
        """Draw a minibatch and move every parameter once; at an epoch's end, lower the learning rate."""
        batch = np.random.choice(len(self.X_train), self.batch_size)
        loss, grads = self.model.loss(self.X_train[batch], self.y_train[batch])
        if not math.isfinite(loss):
            raise FloatingPointError(self._divergence(loss))
        update = UPDATE_RULES[self.update_rule]
        params = self.model.params
        for name, w in params.items():
            params[name], self.optim_configs[name] = update(w, grads[name], self.optim_configs[name])
        self.loss_history.append(float(loss))
        self.iteration += 1
        if self._is_at_epoch_end():
            self.epoch += 1
            for config in self.optim_configs.values():
                config["learning_rate"] = float(config["learning_rate"]) * self.lr_decay

    def _is_at_epoch_end(self):
        return self.iteration > 0 and self.iteration % self.iterations_per_epoch == 0

    def _divergence(self, loss):
        config = next(iter(self.optim_configs.values()))
        rate = config.get("learning_rate")
        rate = "its default learning rate" if rate is None else f"learning rate {rate:g}"
        return (
            f"the loss became {loss} at iteration {self.iteration + 1} with {self.update_rule} at {rate}. "
            "Try a learning rate ten times smaller, a smaller weight_scale, or inputs of a smaller scale. "
            "model.params holds the best parameters seen so far."
        )

    def _measure_where_due(self):
        """After the first iteration and at an epoch's end, measure the accuracies; then save a checkpoint.

        Returns whether there was anything to do. What is due is told from how much was measured before,
        so that a measurement that Ctrl-C cut short is made when training goes on.
        """
        first_is_apart = self.iteration > 0 and self.iterations_per_epoch > 1
        if len(self.val_acc_history) >= self.epoch + first_is_apart:
            return False
        self._measure_accuracies()
        if self.checkpoint_name and self._is_at_epoch_end():
            self._save_checkpoint()
        return True

    def _measure_accuracies(self):
        train_acc = self.check_accuracy(self.X_train, self.y_train, self.num_train_samples)
        val_acc = self.check_accuracy(self.X_val, self.y_val, self.num_val_samples)
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        if val_acc > self.best_val_acc and _all_finite(self.model.params):
            self.best_val_acc = val_acc
            self._keep_as_best()

    def _keep_as_best(self):
        self.best_params = _copies(self.model.params)
        self._best_bn_params = deepcopy(self._bn_params)

    def _put_into_model(self, params, bn_params):
        self.model.params = params
        for ours, theirs in zip(self._bn_params, bn_params, strict=True):
            ours.clear()
            ours.update(theirs)

    @property
    def _bn_params(self):
        return getattr(self.model, "bn_params", [])

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
        X, y = _examples({"X": X, "y": y}, "X", "y")
        require_integer("batch_size", batch_size, 1)
        if num_samples is not None:
            require_integer("num_samples", num_samples, 1)
            if num_samples < len(X):
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
            "bn_params": _numbered(self._bn_params),
            "best_bn_params": _numbered(self._best_bn_params),
            "random": {"keys": keys, "rest": (position, has_gauss, cached_gaussian)},
        }
        try:
            checkpoint.save(self.checkpoint_path, state)
        except OSError as error:
            warnings.warn(f"no checkpoint after epoch {self.epoch}: {error}", RuntimeWarning, stacklevel=4)

    def resume(self):
        """Go back to the checkpoint: the next `train()` ends, bit for bit, as if it had not been stopped.

        The solver must have been made with the same model, data and options as the one that was stopped;
        `num_epochs` may be larger. Returns the solver. NumPy's global generator goes back as well. Raises
        FileNotFoundError where there is no checkpoint, and ValueError where it is damaged or of another run.
        """
        if not self.checkpoint_name:
            raise ValueError("checkpoint_name must be given to resume; got None")
        state = checkpoint.load(self.checkpoint_path)
        try:
            self._check_settings(state["settings"])
            self._check_params(state["params"])
            self._check_params(state["best_params"])
            self._restore(state)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{self.checkpoint_path} is not a checkpoint of a Solver: {error!r}") from error
        return self

    def _restore(self, state):
        """Take over a checkpoint's state: first all that may be missing from a damaged one, then the rest."""
        progress = {name: state["progress"][name] for name in _PROGRESS}
        histories = {name: state["histories"][name].tolist() for name in _HISTORIES}
        optim_configs = {name: state["optim_configs"][name] for name in self.model.params}
        numbers = [str(i) for i in range(len(self._bn_params))]
        bn_params = [state["bn_params"][number] for number in numbers]
        best_bn_params = [state["best_bn_params"][number] for number in numbers]
        position, has_gauss, cached_gaussian = state["random"]["rest"]
        random_state = ("MT19937", state["random"]["keys"], int(position), int(has_gauss), cached_gaussian)
        np.random.set_state(random_state)
        self._reset()
        vars(self).update(progress | histories)
        self.best_params, self._best_bn_params = state["best_params"], best_bn_params
        self.optim_configs = optim_configs
        self._put_into_model(state["params"], bn_params)

    def _settings(self):
        """What must be the same for a resumed run to be the run that was stopped."""
        settings = {
            "update_rule": self.update_rule,
            "batch_size": self.batch_size,
            "lr_decay": self.lr_decay,
            "num_train": len(self.X_train),
            "num_val": len(self.X_val),
            "num_train_samples": min(self.num_train_samples or math.inf, len(self.X_train)),
            "num_val_samples": min(self.num_val_samples or math.inf, len(self.X_val)),
        }
        numbers = {name: value for name, value in self.optim_config.items() if np.isscalar(value)}
        return settings | {f"optim_config[{name!r}]": value for name, value in numbers.items()}

    def _check_settings(self, theirs):
        """Raise ValueError unless a checkpoint was written under this solver's options."""
        ours = self._settings()
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                raise ValueError(
                    f"{self.checkpoint_path} was written with {name}={theirs.get(name)!r}; this solver has "
                    f"{ours.get(name)!r}. Make the solver with the same options, or delete the checkpoint."
                )

    def _check_params(self, theirs):
        """Raise ValueError unless a checkpoint's parameters have the model's names, shapes and dtypes."""
        ours, theirs = _shapes(self.model.params), _shapes(theirs)
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


def _all_finite(params):
    return all(np.isfinite(param).all() for param in params.values())


def _numbered(items):
    return {str(i): item for i, item in enumerate(items)}


def _examples(data, X_name, y_name):
    """The images and labels under these names as arrays, checked to belong together."""
    for name in (X_name, y_name):
        if name not in data:
            raise ValueError(f"data must have X_train, y_train, X_val and y_val; {name} is missing")
    X, y = np.asarray(data[X_name]), np.asarray(data[y_name])
    if X.ndim == 0 or len(X) == 0 or y.shape != (len(X),):
        raise ValueError(
            f"{X_name} must have shape (N, ...) with N at least 1 and {y_name} shape (N,); "
            f"got {X.shape} and {y.shape}"
        )
    return X, y
