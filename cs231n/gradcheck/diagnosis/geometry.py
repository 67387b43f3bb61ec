"""The stride and the padding of the layer under test: found by trial where nobody said them."""

from typing import NamedTuple

from cs231n.gradcheck.diagnosis.causes import Observed
from cs231n.gradcheck.diagnosis.convolution import convolution_of
from cs231n.gradcheck.diagnosis.pooling import pooling_of


class Geometry(NamedTuple):
    """How far apart the windows of a layer begin, and how many zeros surround an image."""

    stride: int = 1
    pad: int = 0


def geometry_of(observed: Observed) -> Geometry:
    """Return the geometry of a convolution or a max pooling; of another layer, what its settings say."""
    convolution = convolution_of(observed)
    if convolution is not None:
        return Geometry(convolution.stride, convolution.pad)
    pooling = pooling_of(observed)
    if pooling is not None:
        return Geometry(pooling.stride)
    return Geometry(observed.integer("stride") or 1, observed.integer("pad") or 0)
