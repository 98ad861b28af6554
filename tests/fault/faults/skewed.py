"""Starts a program of ours with a time of day that can be set while it runs.

``python -m tests.fault.faults.skewed MODULE ARGUMENT…``: the skew is read, at every look at the clock, from the file
``clock-skew`` beside the configuration file that the arguments name. Tokens are made and judged by that clock; timers
and deadlines use another one.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_FORMAT = struct.Struct("d")


def skew_file(config: Path) -> Path:
    """Return where the skew of the process with a configuration file stands."""
    return config.parent / "clock-skew"


def set_skew(config: Path, seconds: float) -> None:
    """Set a clock forward, or back; written in place, as the process has the file mapped."""
    file = skew_file(config)
    if not file.exists():
        file.write_bytes(_FORMAT.pack(seconds))
        return
    with file.open("r+b") as opened:
        opened.write(_FORMAT.pack(seconds))


def skewed_clock(file: Path) -> Callable[[], float]:
    """Return a clock that is off by what the file says."""
    with file.open("rb") as opened:
        content = mmap.mmap(opened.fileno(), _FORMAT.size, access=mmap.ACCESS_READ)
    real = time.time

    def now() -> float:
        (seconds,) = _FORMAT.unpack_from(content)
        return real() + float(seconds)

    return now


def command(module: str) -> Sequence[str]:
    """Return the command line that starts a module so; its arguments follow."""
    return (sys.executable, "-m", "tests.fault.faults.skewed", module)


def main(arguments: Sequence[str]) -> None:
    """Become the module."""
    module, *rest = arguments
    config = next(Path(argument) for argument in rest if argument.endswith(".toml"))
    if not skew_file(config).exists():
        set_skew(config, 0.0)
    time.time = skewed_clock(skew_file(config))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
