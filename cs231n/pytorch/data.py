"""The chosen data set as torchvision data sets, and loaders that hand out whole minibatches.

Images stay bytes until a minibatch is made of them. A minibatch is then cut out of one tensor and transformed
as a whole, which costs a hundredth of what a Python call per image would, so that a loader needs no worker
processes. The transforms of `torchvision.transforms.v2` take minibatches as they take images; those that
draw random numbers draw once for all of what they get, which is why `RandomShiftAndFlip` is ours.
"""

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import VisionDataset
from torchvision.transforms import v2

from cs231n.data_utils import get_class_names, load_splits
from cs231n.validation import require_integer


class ImageDataset(VisionDataset):
    """Images and labels in memory; an item is an image and its label, as in torchvision's own data sets.

    - images: uint8 (N, 3, 32, 32); labels: int64 (N,); both NumPy arrays
    - classes: the names of the classes, in label order
    - transform: of one image, a uint8 tensor (3, 32, 32), such as torchvision's; None for the image as it is
    """

    def __init__(self, images, labels, classes, transform=None):
        super().__init__(transform=transform)
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)
        self.classes = classes

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        return image if self.transform is None else self.transform(image), int(self.labels[index])

    def __getitems__(self, indices):
        """A minibatch at once, images (n, ...) and labels (n,); a DataLoader prefers this to single items."""
        indices = torch.as_tensor(indices)
        images = self.images[indices]
        if self.transform is not None:
            images = torch.stack([self.transform(image) for image in images])
        return images, self.labels[indices]


def load_datasets(transform=None):
    """The chosen data set as {"train": ImageDataset, "val": ..., "test": ...}; prints which one it is.

    49,000 images for training, 1,000 for validation and 10,000 for testing: the same as in the other
    notebooks, but for more test images. `transform` as for `ImageDataset`.
    """
    classes = get_class_names()
    return {name: ImageDataset(*split, classes, transform) for name, split in load_splits().items()}


def make_loader(dataset, batch_size, transform=None, *, shuffle=False, sampler=None, device="cpu"):
    """A DataLoader of minibatches: images, after `transform` if there is one, and labels int64.

    - transform: of a whole minibatch, a uint8 tensor (n, 3, 32, 32)
    - shuffle, sampler: as for DataLoader; device: where the minibatches will go, "cuda" to make copies fast
    """
    require_integer("batch_size", batch_size, 1)

    def collate(batch):
        images, labels = batch
        return images if transform is None else transform(images), labels

    pinned = torch.device(device).type == "cuda"
    return DataLoader(dataset, batch_size, shuffle, sampler, collate_fn=collate, pin_memory=pinned)


def to_normalized_floats(dataset):
    """The transform from bytes to floats in which each channel of `dataset` has mean 0 and deviation 1."""
    values = torch.arange(256, dtype=torch.float64) / 255
    # How often each of the 256 bytes occurs tells the moments exactly, without a float per pixel.
    counts = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in dataset.images.unbind(1)])
    shares = counts.double() / counts.sum(1, keepdim=True)  # (3, 256)
    mean = shares @ values
    deviation = (shares @ values**2 - mean**2).sqrt()
    return v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean.tolist(), deviation.tolist())]
    )


class RandomShiftAndFlip(torch.nn.Module):
    """Shifts each image of a minibatch (N, C, H, W) by up to `most` pixels and mirrors every other one.

    Each image has its own random shift, and with probability 1/2 is mirrored left to right. What a shift
    brings in from beyond the border mirrors what is inside. Works on bytes and floats, on any device.
    """

    def __init__(self, most):
        super().__init__()
        self.most = require_integer("most", most, 0)

    def forward(self, images):
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

    def _shifted(self, image, size):
        """For each image the places (N, size) along one axis that its pixels are taken from."""
        shifts = torch.randint(-self.most, self.most + 1, (len(image), 1), device=image.device)
        places = (torch.arange(size, device=image.device) + shifts).abs()  # mirrored at the first pixel
        return (size - 1) - (size - 1 - places).abs()  # and at the last
