"""Fetch CIFAR-10 into the data folder: `python -m cs231n.datasets`."""

import argparse
import sys
from collections.abc import Sequence

from cs231n.datasets import data_folder
from cs231n.datasets.batches import FOLDER_NAME, has_all_files
from cs231n.datasets.download import DownloadError, download_cifar10


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch CIFAR-10 unless it is there already, and print where it is; exit with status 1 on failure."""
    parser = argparse.ArgumentParser(
        prog="python -m cs231n.datasets",
        description="Fetch CIFAR-10 (170 MB) and unpack it into the data folder.",
        epilog="Environment variables: CS231N_DATA names the data folder, CS231N_CIFAR10_URL a "
        "mirror of the official archive.",
    )
    parser.parse_args(arguments)
    if has_all_files(data_folder() / FOLDER_NAME):
        print(f"CIFAR-10 is already in {data_folder() / FOLDER_NAME}")
        return
    try:
        folder = download_cifar10(data_folder())
    except DownloadError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped; nothing is left behind.")
    print(f"CIFAR-10 is in {folder}")


if __name__ == "__main__":
    main()
