"""The steps of the compose file, run by hand: each container is a process, each volume a directory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from praefect.app.layout import free_ports

CONTAINER = Path(__file__).parents[2] / "packaging" / "container"


@dataclass(frozen=True, slots=True)
class Service:
    """What a container of the file runs."""

    name: str
    command: tuple[str, ...]


def services() -> Iterator[Service]:
    """Read the services of ``compose.yaml`` in their order."""
    text = (CONTAINER / "compose.yaml").read_text().partition("\nservices:\n")[2].partition("\nvolumes:")[0]
    for block in re.split(r"\n(?=  \S)", text.strip("\n")):
        name = block.strip().partition(":")[0]
        command = re.search(r"command: \[(.*)\]", block)
        assert command is not None, block
        yield Service(name, tuple(command[1].split(", ")))


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine in the place of all containers: an address is a port, a volume a directory."""

    directory: Path
    short_directory: Path
    """In the place of the containers' /tmp; its path leaves room for those of sockets."""
    ports: Mapping[tuple[str, int], int]

    def command(self, service: Service) -> tuple[str, ...]:
        """Return a service's command line, with its configuration file written below the directory."""
        return tuple(
            str(self._configuration(service.name, word)) if word.startswith("/etc/praefect/") else word
            for word in service.command
        )

    def volume(self, service: str) -> Path:
        """Return the directory that is a container's /var/lib/praefect."""
        path = self.directory / service
        (path / "repositories").mkdir(parents=True, exist_ok=True)
        return path

    def _configuration(self, service: str, name: str) -> Path:
        text = (CONTAINER / "config" / Path(name).name).read_text()
        for (host, port), real in self.ports.items():
            text = text.replace(f"{host}:{port}", f"127.0.0.1:{real}")
            if host == service:
                text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{real}")
        text = text.replace("/var/lib/praefect", str(self.volume(service)))
        temporary = self.short_directory / service
        temporary.mkdir(exist_ok=True)
        path = self.directory / f"{service}-{Path(name).name}"
        path.write_text(text.replace('"/tmp"', json.dumps(str(temporary))))
        return path


def make_machine(directory: Path, short_directory: Path) -> Machine:
    """Choose a port for each address that the configuration files name."""
    wanted = [("praefect", 2305), ("praefect", 9652), ("gateway", 8080)]
    wanted += [(f"gitaly-{number}", port) for number in (1, 2, 3) for port in (8075, 9236)]
    return Machine(directory, short_directory, dict(zip(wanted, free_ports(len(wanted)), strict=True)))
