"""How worker processes start: forked, or spawned as on macOS and Windows."""

import multiprocessing
import sys


def spawns_processes() -> bool:
    """Return whether worker processes import everything anew and receive pickles.

    They do except on Linux, and on Linux too in a program that has called `multiprocessing.set_start_method("spawn")`.
    """
    return sys.platform != "linux" or multiprocessing.get_start_method(allow_none=True) == "spawn"
