from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.storage_node import StorageNode, storage_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[StorageNode]:
    async with storage_node(tmp_path / "storage") as running:
        yield running
