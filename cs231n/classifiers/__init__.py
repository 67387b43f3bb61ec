"""Models: networks put together from layers, each with `params` and `loss(X, y)`."""
