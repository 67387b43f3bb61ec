"""The ConvNet of the open-ended challenge: small enough for a CPU, good for 87 % on CIFAR-10 in minutes."""

from itertools import pairwise

from torch import nn

WIDTHS = (32, 48, 96, 192)
SCORE_SCALE = 0.125  # keeps the first scores, and so the first steps, small


def conv_block(in_channels, out_channels, *before_norm):
    """3x3 convolution, batch normalization, ReLU; the convolution's bias would be undone by the norm."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, *before_norm, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """x + block(x): the block learns what to add, and gradients have a way around it (He et al., 2015)."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return x + self.block(x)


class ConvNet(nn.Module):
    """Normalized images (N, 3, H, W) to scores (N, num_classes); H and W at least 8.

    A first convolution with max pooling behind it; three stages, each of a convolution and a residual one,
    at half, a quarter and an eighth of the image's size; an affine layer on each channel's largest value.

    - width: factor on the number of channels of every layer, which are WIDTHS
    """

    def __init__(self, num_classes=10, width=1.0):
        super().__init__()
        widths = [max(round(width * channels), 1) for channels in WIDTHS]
        # Pooling before the normalization leaves it, and ReLU, a quarter of the work.
        self.stem = conv_block(3, widths[0], nn.MaxPool2d(2))
        self.stages = nn.Sequential()
        for i, (before, channels) in enumerate(pairwise(widths)):
            if i > 0:
                self.stages.append(nn.MaxPool2d(2))
            self.stages.append(conv_block(before, channels))
            self.stages.append(Residual(conv_block(channels, channels)))
        self.scores = nn.Linear(widths[-1], num_classes)

    def forward(self, x):
        features = self.stages(self.stem(x)).amax(dim=(2, 3))
        return SCORE_SCALE * self.scores(features)
