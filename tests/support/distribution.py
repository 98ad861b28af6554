"""The distribution as users get it: built from the tree, installed with pip alone."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Distribution:
    """What was built."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True, slots=True)
class Installation:
    """A virtual environment with the wheel in it."""

    directory: Path

    def program(self, name: str) -> Path:
        """Return a program's path."""
        return self.directory / "bin" / name

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            [self.program(name), *arguments], capture_output=True, text=True, check=False, cwd=self.directory
        )


def build(directory: Path) -> Distribution:
    """Build both forms; skips the test where the build backend cannot be had."""
    backend = directory / "backend"
    venv.create(backend, with_pip=True)
    python = backend / "bin" / "python"
    requirement = "hatchling>=1.27"
    got = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    if got.returncode:
        pytest.skip(f"{requirement} cannot be installed")
    target = directory / "dist"
    subprocess.run([python, "-m", "hatchling", "build", "-d", target], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    (sdist,) = target.glob("*.tar.gz")
    return Distribution(wheel, sdist)


def install(wheel: Path, directory: Path) -> Installation:
    """Install a wheel into a fresh environment with pip alone; dependencies are those of the running one."""
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", wheel],
        check=True,
        capture_output=True,
    )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site_packages = directory / "lib" / version / "site-packages"
    # Named last, so that what was installed is found before what this environment has.
    (site_packages / "zz-dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return Installation(directory)
