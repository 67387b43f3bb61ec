"""The ConvNet of the open-ended challenge: small enough to train on a CPU in minutes."""

import torch
from torch import Tensor, nn

WIDTHS = (32, 48, 128, 128)  # channels of the stem and of the three stages
SCORE_SCALE = 1 / 8  # keeps the first scores small, and with them the first steps


class ConvNet(nn.Module):
    """Map normalized images (N, 3, H, W) to scores (N, num_classes); H and W are at least 8.

    - width: factor on the number of channels of every layer
    """

    def __init__(self, num_classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        # The stem halves the image, and a convolution follows at half its size. Then come, twice, max
        # pooling, a convolution and a residual one; last, an affine layer on every channel's largest value.
        stem, first, second, third = (max(round(width * channels), 1) for channels in WIDTHS)
        self.layers = nn.Sequential(
            # Pool before the normalization, which leaves it and GELU a quarter of the work.
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
        self.to(memory_format=torch.channels_last)  # convolutions are faster in this format

    def forward(self, x: Tensor) -> Tensor:
        features = self.layers(x).amax(dim=(2, 3))
        scores: Tensor = self.scores(features)
        return SCORE_SCALE * scores


def conv_block(in_channels: int, out_channels: int, *before_norm: nn.Module) -> nn.Sequential:
    """Return a 3x3 convolution, batch normalization and GELU (Hendrycks and Gimpel, 2016).

    The convolution has no bias, because the normalization would subtract it again.
    """
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, *before_norm, nn.BatchNorm2d(out_channels), nn.GELU())


class Residual(nn.Module):
    """Compute x + block(x): the block learns a correction, and gradients can bypass it (He et al., 2015)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.block(x)
        return out
