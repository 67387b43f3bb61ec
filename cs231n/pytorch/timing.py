"""How long PyTorch's convolution takes, to compare with ours."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch.nn.functional import conv2d

from cs231n.timing import best_seconds


def time_convolution(x: NDArray[Any], w: NDArray[Any], b: NDArray[Any], conv_param: dict[str, int]) -> float:
    """Return the seconds of PyTorch's forward and backward pass; see `cs231n.timing.time_convolution`."""
    image, weight, bias = tensors = [torch.tensor(array, requires_grad=True) for array in (x, w, b)]

    def forward() -> torch.Tensor:
        return conv2d(image, weight, bias, stride=conv_param["stride"], padding=conv_param["pad"])

    dout = torch.ones_like(forward())
    return best_seconds(lambda: torch.autograd.grad(forward(), tensors, dout))
