"""The assignment in PyTorch: its data, a ConvNet of our own design, and training on one device or many."""
