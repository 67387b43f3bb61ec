"""The layers that models are made of: those of `cs231n.layers`, in their compiled form if there is one."""

from contextlib import suppress

from cs231n.layers import *  # noqa: F403

with suppress(ImportError):  # in the learners' version, whose models use the layers that they write
    from cs231n.compiled_layers import *  # noqa: F403
