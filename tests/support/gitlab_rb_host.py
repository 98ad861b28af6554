"""A host with a gitlab.rb, for tests of what becomes of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from praefect.config.faults import ConfigError
from praefect.config.omnibus.known_keys import Role
from praefect.config.omnibus.reconfigure import Report, Request, reconfigure

FILES = Path(__file__).parents[1] / "unit" / "config" / "omnibus" / "files"


class GitlabRbHost:
    """A directory with a gitlab.rb and the place that configurations are written to."""

    def __init__(self, directory: Path) -> None:
        self.gitlab_rb = directory / "gitlab.rb"
        self.output = directory / "etc"
        self.data = directory / "git-data"
        self.config = self.output / "config.toml"

    def take(self, name: str) -> GitlabRbHost:
        """Take one of the example files, with its data directory here."""
        return self.say((FILES / name).read_text().replace("/var/opt/gitlab/git-data", str(self.data)))

    def say(self, *lines: str) -> GitlabRbHost:
        """Make these lines the gitlab.rb."""
        self.gitlab_rb.write_text("\n".join(lines))
        return self

    def run(self, role: Role, storage: str = "", **environment: str) -> Report:
        """Write the configuration of a role."""
        return reconfigure(
            Request(
                gitlab_rb=str(self.gitlab_rb),
                role=role,
                output=str(self.output),
                storage=storage,
                environment=environment,
            )
        )

    def refusal(self, role: Role, storage: str = "", **environment: str) -> str:
        """Why that does not work, with the path of the gitlab.rb cut short."""
        with pytest.raises(ConfigError) as caught:
            self.run(role, storage, **environment)
        return str(caught.value).replace(str(self.gitlab_rb), "gitlab.rb")

    def values(self) -> dict[str, Any]:
        """What the written file says."""
        return tomllib.loads(self.config.read_text())
