"""A headless Chromium, the one of Debian's package."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

CHROMIUM = Path("/usr/bin/chromium")

needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="Debian's package chromium is not installed (apt-get install chromium)"
)


@asynccontextmanager
async def open_page(url: str) -> AsyncIterator[Page]:
    """Open a page; whatever it writes to its console, which includes refusals of its content policy, is a failure."""
    problems: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--no-proxy-server"])
        try:
            page = await browser.new_page(viewport={"width": 1100, "height": 760})
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on(
                "console",
                lambda message: problems.append(message.text) if "Failed to load" not in message.text else None,
            )
            await page.goto(url)
            yield page
        finally:
            await browser.close()
    assert problems == []


async def create_project(page: Page, path: str, token: str) -> None:
    """Fill in the form of the gateway's page and send it."""
    await page.get_by_label("path").fill(path)
    await page.get_by_label("access token").fill(token)
    await page.get_by_role("button", name="Create project").click()
