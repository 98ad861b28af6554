"""At most one maintenance run per repository."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from praefect.domain.errors import AlreadyExistsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from praefect.node.storage.repository import LocalRepository


class MaintenanceRunningError(AlreadyExistsError):
    """The repository is being tidied already."""

    def __init__(self) -> None:
        super().__init__("housekeeping already executing for repository")


class MaintenanceGuard:
    """Remembers which repositories are being tidied."""

    def __init__(self) -> None:
        self._running: set[Path] = set()

    @contextmanager
    def hold(self, repository: LocalRepository) -> Iterator[None]:
        """Claim a repository.

        Raises:
            MaintenanceRunningError: somebody has it.
        """
        if repository.path in self._running:
            raise MaintenanceRunningError
        self._running.add(repository.path)
        try:
            yield
        finally:
            self._running.discard(repository.path)
