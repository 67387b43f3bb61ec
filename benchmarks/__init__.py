"""How fast our layers are beside PyTorch's, on the same machine in the same run: `make bench`."""
