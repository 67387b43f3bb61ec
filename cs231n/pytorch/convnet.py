"""The ConvNet of the open-ended challenge: small enough to be trained on a CPU in minutes."""

import torch
from torch import nn

WIDTHS = (32, 48, 128, 128)  # channels of the stem and of the three stages
SCORE_SCALE = 1 / 8  # keeps the first scores small, and with them the first steps


class ConvNet(nn.Module):
    """Normalized images (N, 3, H, W) to scores (N, num_classes); H and W at least 8.

    - width: factor on the number of channels of every layer
    """

    def __init__(self, num_classes=10, width=1.0):
        super().__init__()
        # A stem, which halves the image; a convolution at half its size; then twice max pooling, a
        # convolution and a residual one; at last an affine layer on the largest value of every channel.
        stem, first, second, third = (max(round(width * channels), 1) for channels in WIDTHS)
        self.layers = nn.Sequential(
            # Pooling before the normalization leaves it, and GELU, a quarter of the work.
            conv_block(3, stem, nn.MaxPool2d(2)),
            conv_block(stem, first),
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
        features = self.layers(x).amax(dim=(2, 3))
        return SCORE_SCALE * self.scores(features)


def conv_block(in_channels, out_channels, *before_norm):
    """3x3 convolution, batch normalization, GELU (Hendrycks and Gimpel, 2016).

    The convolution has no bias, since the normalization would take it away again.
    """
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, *before_norm, nn.BatchNorm2d(out_channels), nn.GELU())


class Residual(nn.Module):
    """x + block(x): the block learns what to add, and gradients have a way around it (He et al., 2015)."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return x + self.block(x)
