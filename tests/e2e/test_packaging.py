"""What is shipped: wheel and source distribution, and the units of the service manager."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.distribution import ROOT, Distribution, Installation, build, install

pytestmark = pytest.mark.slow

UNITS = ("praefect.service", "praefect-node.service", "praefect-gateway.service")
MAX_EXPOSURE = 20
"""In tenths, as ``systemd-analyze security`` counts; above 50 is medium."""


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """The distribution, built from the tree."""
    return build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def installed(distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel in an environment of its own."""
    return install(distribution.wheel, tmp_path_factory.mktemp("venv"))


def _sources() -> set[str]:
    return {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "praefect").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_every_file_of_the_package(distribution: Distribution) -> None:
    with zipfile.ZipFile(distribution.wheel) as wheel:
        names = {name for name in wheel.namelist() if not name.partition("/")[0].endswith(".dist-info")}

    assert names == _sources()
    assert "praefect/py.typed" in names
    assert "praefect/datastore/schema.sql" in names
    assert sum(name.startswith("praefect/datastore/migrations/2") for name in names) > 60


def test_source_distribution_holds_what_a_build_needs(distribution: Distribution) -> None:
    with tarfile.open(distribution.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {f"src/{name}" for name in _sources()} <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "requirements/runtime.lock"} <= names
    assert {f"packaging/systemd/{unit}" for unit in UNITS} <= names


@pytest.mark.parametrize(
    ("program", "option", "output"),
    [
        ("praefect", "-version", "Praefect, version {}\n"),
        ("praefect-node", "-version", "praefect-node, version {}\n"),
    ],
)
def test_programs_run_from_the_installed_wheel(installed: Installation, program: str, option: str, output: str) -> None:
    result = installed.run(program, option)

    assert (result.returncode, result.stdout) == (0, output.format(metadata.version("praefect"))), result.stderr


def test_gateway_runs_from_the_installed_wheel(installed: Installation) -> None:
    result = installed.run("praefect-gateway", "--help")

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Usage: praefect-gateway")


def test_installed_modules_come_from_the_wheel(installed: Installation) -> None:
    result = installed.run("python", "-c", "import praefect.datastore.migrations as m; print(m.__file__)")

    assert Path(result.stdout.strip()).is_relative_to(installed.directory), result.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing (package systemd)")
class TestUnits:
    def _copies(self, directory: Path) -> list[Path]:
        """Return the units with a program that exists in place of the installed one."""
        copies = []
        for unit in UNITS:
            text = (ROOT / "packaging" / "systemd" / unit).read_text()
            copies.append(directory / unit)
            program = unit.removesuffix(".service")
            assert text.count(f"ExecStart=/opt/praefect/bin/{program} ") == 1
            copies[-1].write_text(text.replace(f"/opt/praefect/bin/{program}", "/bin/true"))
        return copies

    def test_units_are_valid(self, tmp_path: Path) -> None:
        result = subprocess.run(
            ["systemd-analyze", "verify", *self._copies(tmp_path)], capture_output=True, text=True, check=False
        )

        assert (result.returncode, result.stderr) == (0, "")

    def test_units_are_hardened(self, tmp_path: Path) -> None:
        for unit in self._copies(tmp_path):
            result = subprocess.run(
                ["systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", unit],
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stdout[-200:]
