"""The chosen data set as torchvision data sets, and loaders that hand out whole minibatches.

Images stay bytes until they become a minibatch. A minibatch is cut out of one tensor and transformed as a
whole. That takes a hundredth of the time of a Python call per image, so a loader needs no worker processes.
The transforms of `torchvision.transforms.v2` accept minibatches as well as images, but the random ones draw
once for a whole minibatch. That is why `RandomShiftAndFlip` is our own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.datasets import VisionDataset
from torchvision.transforms import v2

from cs231n.data_utils import get_class_names, load_splits
from cs231n.validation import require_integer

Transform = Callable[[Tensor], Tensor]


class ImageDataset(VisionDataset):  # type: ignore[misc]  # torchvision has no annotations
    """Images and labels in memory; an item is an image and its label, as in torchvision's own data sets.

    - images: uint8 (N, 3, 32, 32); labels: int64 (N,); both NumPy arrays
    - classes: the names of the classes, in label order
    - transform: applied to each image, a uint8 tensor (3, 32, 32), as in torchvision; None for no change
    """

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        classes: list[str],
        transform: Transform | None = None,
    ) -> None:
        super().__init__(transform=transform)
        self.images = torch.from_numpy(images)
        self.labels = torch.from_numpy(labels)
        self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        return image if self.transform is None else self.transform(image), int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return a minibatch: images (n, ...) and labels (n,). A DataLoader prefers this to single items."""
        rows = torch.as_tensor(indices)
        images = self.images[rows]
        if self.transform is not None:
            images = torch.stack([self.transform(image) for image in images])
        return images, self.labels[rows]


def load_datasets(transform: Transform | None = None) -> dict[str, ImageDataset]:
    """Return the chosen data set as {"train": ImageDataset, "val": ..., "test": ...}; print which one it is.

    It has 49,000 images for training, 1,000 for validation and 10,000 for testing. Only the number of test
    images differs from that in the other notebooks. `transform` is that of `ImageDataset`.
    """
    classes = get_class_names()
    return {name: ImageDataset(*split, classes, transform) for name, split in load_splits().items()}


def make_loader(
    dataset: Dataset[Any],
    batch_size: int,
    transform: Transform | None = None,
    *,
    shuffle: bool = False,
    sampler: Sampler[int] | None = None,
    device: str | torch.device = "cpu",
) -> DataLoader[Any]:
    """Return a DataLoader of minibatches: images, transformed if `transform` is given, and labels int64.

    - transform: applied to a whole minibatch, a uint8 tensor (n, 3, 32, 32)
    - shuffle, sampler: those of DataLoader
    - device: where the minibatches will be used; "cuda" makes the copies to a GPU fast
    """
    require_integer("batch_size", batch_size, 1)

    def collate(batch: Any) -> tuple[Tensor, Tensor]:
        images, labels = batch
        return images if transform is None else transform(images), labels

    pinned = torch.device(device).type == "cuda"
    return DataLoader(dataset, batch_size, shuffle, sampler, collate_fn=collate, pin_memory=pinned)


def to_normalized_floats(dataset: ImageDataset) -> Transform:
    """Return the transform to floats that gives each channel of `dataset` mean 0 and standard deviation 1."""
    values = torch.arange(256, dtype=torch.float64) / 255
    # The counts of the 256 byte values give the moments exactly, without a float per pixel.
    counts = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in dataset.images.unbind(1)])
    shares = counts.double() / counts.sum(1, keepdim=True)  # (3, 256)
    mean = shares @ values
    std = (shares @ values**2 - mean**2).sqrt()
    transform: Transform = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean.tolist(), std.tolist())]
    )
    return transform


class RandomShiftAndFlip(torch.nn.Module):
    """Shift each image of a minibatch (N, C, H, W) by up to `most` pixels and mirror about half of them.

    Each image has its own random shift and is mirrored left to right with probability 1/2. A shift fills the
    pixels beyond the border by reflection. Works on bytes and floats, on any device.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = require_integer("most", most, 0)

    def forward(self, images: Tensor) -> Tensor:
        N, _, H, W = images.shape
        if self.most >= min(H, W):
            raise ValueError(
                f"most must be less than the height and width of the images; got {self.most} for {(H, W)}"
            )
        image = torch.arange(N, device=images.device)
        rows, columns = (self._shifted(image, size) for size in (H, W))
        mirrored = torch.rand(N, 1, device=images.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
        moved = images[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
        return moved.movedim(-1, 1)

    def _shifted(self, image: Tensor, size: int) -> Tensor:
        """Return the indices (N, size) along one axis from which the pixels of each image come."""
        shifts = torch.randint(-self.most, self.most + 1, (len(image), 1), device=image.device)
        places = (torch.arange(size, device=image.device) + shifts).abs()  # mirrored at the first pixel
        return (size - 1) - (size - 1 - places).abs()  # and at the last
