from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ENGINES = ("httpunk", "h2")


@pytest.fixture(params=[(client, server) for client in ENGINES for server in ENGINES], ids="-".join)
def engines(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each engine against each; client first."""
    client, server = request.param
    return client, server


@pytest_asyncio.fixture(autouse=True)
async def no_error_leaves_a_callback() -> AsyncIterator[None]:
    """What a protocol's callback raises is only logged by asyncio; here it fails the test."""
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    yield
    assert not errors, errors
