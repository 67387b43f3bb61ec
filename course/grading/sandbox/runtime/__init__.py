"""The code inside a worker process. It runs from a copy, so it cannot import this repository."""
