"""Compare the speed of our layers with PyTorch's, on the same machine in the same run: `make bench`."""
