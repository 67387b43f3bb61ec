"""Whether a model's batch normalization has the running averages that go with its parameters."""

import warnings


def warn_of_lost_averages(params, bn_params, stacklevel):
    """Warn if the parameters come from a training whose running averages are not here.

    Before training every gamma is 1 and every beta 0. `stacklevel` is that of `warnings.warn`, as the caller
    would give it.
    """
    for i, bn_param in enumerate(bn_params, start=1):
        trained = (params[f"gamma{i}"] != 1).any() or params[f"beta{i}"].any()
        if trained and "running_mean" not in bn_param:
            warnings.warn(
                f"gamma{i} and beta{i} were trained, but bn_params has no running averages to go with "
                "them: params alone are not the whole model. Keep model.bn_params too, or use "
                "model.save(path) and load(path) of cs231n.saving.",
                stacklevel=stacklevel + 1,
            )
            return
