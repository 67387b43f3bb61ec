"""Train a classifier with PyTorch: a recipe, its epochs, and the state from which a run can resume.

The notebook and the trainer, `cs231n.pytorch.train`, share this module. In a process group every process
works on its share of each minibatch and the gradients are averaged: any number of processes takes the same
steps.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import SyncBatchNorm
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset
from torchvision.transforms import v2

from cs231n.pytorch.data import ImageDataset, RandomShiftAndFlip, make_loader, to_normalized_floats
from cs231n.validation import require_integer, require_number

EVALUATION_BATCH = 500

Record = dict[str, float]


def pick_device() -> torch.device:
    """Return the device to train on: a CUDA GPU if there is one, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@dataclass(frozen=True)
class Recipe:
    """The settings of SGD with momentum and a learning rate that rises, then falls.

    - epochs: passes over the training set
    - batch_size: images per step, over all processes together
    - learning_rate: the peak, reached after the share `warmup` of all steps; from there it falls to zero
    - momentum: Nesterov momentum (Sutskever et al., 2013)
    - weight_decay: strength of the L2 penalty on weights; biases and normalization have none
    - label_smoothing: share of the target that is spread over all classes (Szegedy et al., 2016)
    - shift: largest shift of a training image in pixels, see `RandomShiftAndFlip`
    - seed: seed of the order of the images and of their shifts
    """

    epochs: int = 8
    batch_size: int = 128
    learning_rate: float = 0.3
    warmup: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    shift: int = 2
    seed: int = 231

    def __post_init__(self) -> None:
        for name, low in {"epochs": 1, "batch_size": 1, "shift": 0, "seed": 0}.items():
            require_integer(name, getattr(self, name), low)
        require_number("learning_rate", self.learning_rate, 0, math.inf, closed="neither")
        require_number("warmup", self.warmup, 0, 1, closed="neither")
        require_number("weight_decay", self.weight_decay, 0, math.inf, closed="left")
        for name in ("momentum", "label_smoothing"):
            require_number(name, getattr(self, name), 0, 1, closed="left")


class Training:
    """A model in training: call `train_epoch()` until `finished`; its state goes into a checkpoint.

    - model: an nn.Module that maps normalized images (N, 3, 32, 32) to scores (N, classes)
    - datasets: as `load_datasets` returns them, with "train" and "val"
    - recipe: a `Recipe`
    - device: where to train, such as the result of `pick_device`

    `records` holds a dictionary for every finished epoch: the mean loss, the accuracies and the seconds.
    """

    def __init__(
        self,
        model: nn.Module,
        datasets: Mapping[str, ImageDataset],
        recipe: Recipe,
        device: str | torch.device,
    ) -> None:
        self.model, self.datasets, self.recipe = model, datasets, recipe
        self.device = torch.device(device)
        self.rank, self.world_size = _place_in_group()
        self.records: list[Record] = []
        self.normalize = to_normalized_floats(datasets["train"])
        self.augment = v2.Compose([RandomShiftAndFlip(recipe.shift), self.normalize])
        self.sampler, self.loader = self._make_loader(datasets["train"])
        self.model.to(self.device)
        self._parallel = self._in_parallel(model)
        self.optimizer = _make_optimizer(model, recipe)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=recipe.learning_rate,
            total_steps=recipe.epochs * len(self.loader),
            pct_start=recipe.warmup,
            anneal_strategy="linear",
            cycle_momentum=False,
        )
        # In half precision, on a GPU, gradients are scaled up so that small ones do not vanish.
        self.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**10, enabled=self._is_cuda)

    def _make_loader(self, dataset: ImageDataset) -> tuple[DistributedSampler[Any], DataLoader[Any]]:
        """Return a sampler that gives each process its share of the images, and a loader of minibatches."""
        share, rest = divmod(self.recipe.batch_size, self.world_size)
        if rest or not share:
            raise ValueError(
                f"batch_size must be a multiple of the number of processes, {self.world_size}, which share "
                f"each minibatch; got {self.recipe.batch_size}"
            )
        seed = self.recipe.seed
        sampler: DistributedSampler[Any] = DistributedSampler(dataset, self.world_size, self.rank, seed=seed)
        return sampler, make_loader(dataset, share, sampler=sampler, device=self.device)

    def _in_parallel(self, model: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return model
        if self._is_cuda:  # on other devices each process keeps its own statistics of batch normalization
            model = SyncBatchNorm.convert_sync_batchnorm(model)
        return DistributedDataParallel(model)

    @property
    def _is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def finished(self) -> bool:
        """Return whether all epochs of the recipe are done."""
        return len(self.records) >= self.recipe.epochs

    def train_epoch(self, progress: Callable[[int], Any] | None = None) -> Record:
        """Train for one epoch, measure the validation accuracy, and return the epoch's new record.

        - progress: called after every step with the number of images in it

        Raises FloatingPointError if the loss is no longer finite.
        """
        started, epoch = monotonic(), len(self.records)
        torch.manual_seed(_seed(self.recipe.seed, epoch, self.rank))
        self.sampler.set_epoch(epoch)
        self._parallel.train()
        sums = torch.zeros(3, device=self.device)  # losses, correctly classified images, images
        for images, labels in self.loader:
            sums += self.step(images, labels)
            if progress:
                progress(len(images) * self.world_size)
        loss, correct, count = self._over_all_processes(sums).tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(self._divergence(epoch + 1))
        record = {"epoch": epoch + 1, "loss": loss / count, "train_accuracy": correct / count}
        record["val_accuracy"] = self.accuracy(self.datasets["val"])
        self.records.append(record | {"seconds": monotonic() - started})
        return self.records[-1]

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take a step on a minibatch; return its summed loss, correctly classified images and images."""
        images = self.augment(images.to(self.device, non_blocking=True))
        labels = labels.to(self.device, non_blocking=True)
        with self._half_precision():
            scores = self._parallel(images)
            loss = cross_entropy(scores, labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        correct = (scores.argmax(1) == labels).sum()
        return torch.stack([len(images) * loss.detach(), correct, torch.full_like(correct, len(images))])

    def accuracy(self, dataset: ImageDataset) -> float:
        """Return the share of images in `dataset` that are classified correctly; all processes take part."""
        part: Subset[Any] = Subset(dataset, range(self.rank, len(dataset), self.world_size))
        correct = self.predict(part).argmax(1) == dataset.labels[part.indices]
        counts = torch.tensor([correct.sum(), len(part)], dtype=torch.float32, device=self.device)
        correct_sum, count = self._over_all_processes(counts).tolist()
        return float(correct_sum / count)

    @torch.no_grad()
    def predict(self, dataset: Dataset[Any]) -> Tensor:
        """Return scores (N, classes) on the CPU: those of each image plus those of its mirror image."""
        self.model.eval()
        scores = []
        for images, _ in make_loader(dataset, EVALUATION_BATCH, device=self.device):
            images = self.normalize(images.to(self.device, non_blocking=True))
            with self._half_precision():
                both = self.model(images) + self.model(images.flip(-1))
            scores.append(both.float().cpu())
        return torch.cat(scores)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on, except the recipe, for a checkpoint."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {"records": self.records}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a state of `state_dict`; on a CPU the run ends bit for bit as if it had not stopped."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.records = list(state["records"])

    def _parts(self) -> dict[str, Any]:
        names = ("model", "optimizer", "schedule", "scaler")
        return {name: getattr(self, name) for name in names}

    def _half_precision(self) -> AbstractContextManager[Any]:
        return torch.autocast("cuda", torch.float16) if self._is_cuda else nullcontext()

    def _over_all_processes(self, sums: Tensor) -> Tensor:
        if self.world_size > 1:
            distributed.all_reduce(sums)
        return sums

    def _divergence(self, epoch: int) -> str:
        return (
            f"the loss is no longer finite in epoch {epoch}, at a learning rate of up to "
            f"{self.recipe.learning_rate:g}. Try one that is three times smaller."
        )


def _place_in_group() -> tuple[int, int]:
    """Return this process's number and the number of all processes: 0 and 1 without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Return an SGD that decays weights only: smaller scales or biases would change the normalization."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)


def _seed(*numbers: int) -> int:
    """Return a seed made from several numbers, so that every epoch of every process has its own."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
