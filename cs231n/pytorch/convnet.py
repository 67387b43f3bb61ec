"""The ConvNet of the open-ended challenge: small enough to be trained on a CPU in minutes."""

import torch
from torch import nn
from torch.nn.functional import conv2d, unfold

from cs231n.pytorch.data import to_normalized_floats

FIRST, SECOND, THIRD = 48, 128, 128  # channels at a half, a quarter and an eighth of the image's size
VARIANCE_FLOOR = 5e-4  # axes of less variance than this are noise, and stay small
WHITENING_IMAGES = 2000  # with nearly two million patches, enough for a covariance of 27 x 27
SCORE_SCALE = 1 / 8  # keeps the first scores small, and with them the first steps


class ConvNet(nn.Module):
    """Normalized images (N, 3, H, W) to scores (N, num_classes); H and W at least 7.

    A whitening layer and a convolution at half the size of the image; then twice max pooling, a convolution
    and a residual one; at last an affine layer on the largest value of every channel. Batch normalization
    and GELU (Hendrycks and Gimpel, 2016) follow each convolution.

    - images: some normalized training images (n, 3, H, W), to which the whitening is fitted
    - width: factor on the number of channels of every layer
    """

    def __init__(self, images, num_classes=10, width=1.0):
        super().__init__()
        first, second, third = (max(round(width * channels), 1) for channels in (FIRST, SECOND, THIRD))
        self.whitening = Whitening(images)
        self.layers = nn.Sequential(
            nn.GELU(),
            conv_block(self.whitening.out_channels, first),
            nn.MaxPool2d(2),
            conv_block(first, second),
            Residual(conv_block(second, second)),
            nn.MaxPool2d(2),
            conv_block(second, third),
            Residual(conv_block(third, third)),
        )
        self.scores = nn.Linear(third, num_classes)
        self.to(memory_format=torch.channels_last)  # in which convolutions are faster

    def forward(self, x):
        features = self.layers(self.whitening(x)).amax(dim=(2, 3))
        return SCORE_SCALE * self.scores(features)


def make_convnet(dataset, width=1.0):
    """The `ConvNet` for an `ImageDataset`, its training set."""
    images = to_normalized_floats(dataset)(dataset.images[:WHITENING_IMAGES])
    return ConvNet(images, len(dataset.classes), width)


def conv_block(in_channels, out_channels):
    """3x3 convolution, batch normalization, GELU; a bias before the normalization would be undone by it."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    # At first as many channels as can be go through unchanged (Zagoruyko and Komodakis, 2017).
    nn.init.dirac_(convolution.weight.data[:in_channels])
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.GELU())


class Residual(nn.Module):
    """x + block(x): the block learns what to add, and gradients have a way around it (He et al., 2015)."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return x + self.block(x)


class Whitening(nn.Module):
    """A fixed convolution, 3x3 at stride 2, whose outputs are uncorrelated and all of variance 1.

    Neighbouring pixels, and the three colours of one pixel, are nearly the same number. Their common
    brightness drowns what tells patches apart, and gradient descent is slow where inputs are correlated.
    So a patch is written in its principal axes, each divided by its standard deviation, and, since a ReLU
    or a GELU stops what is negative, with both signs. The bias is learned.
    """

    SIZE, STRIDE, PADDING = 3, 2, 1

    def __init__(self, images):
        super().__init__()
        filters = self._whitening_filters(images)
        self.register_buffer("weight", torch.cat([filters, -filters]))
        self.out_channels = len(self.weight)
        self.bias = nn.Parameter(torch.zeros(self.out_channels))

    def _whitening_filters(self, images):
        """The principal axes of the patches (C * 3 * 3 numbers each) of images (N, C, H, W), scaled."""
        patches = unfold(images, self.SIZE).movedim(1, -1).flatten(0, 1)
        covariance = (patches.T @ patches / len(patches)).double()  # the mean of normalized images is about 0
        variances, axes = torch.linalg.eigh(covariance)
        filters = (axes / (variances + VARIANCE_FLOOR).sqrt()).T
        return filters.float().reshape(-1, images.shape[1], self.SIZE, self.SIZE)

    def forward(self, x):
        return conv2d(x, self.weight, self.bias, self.STRIDE, self.PADDING)
