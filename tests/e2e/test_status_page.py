"""The gateway's page in a real browser: it shows the cluster, and creates a project that can be cloned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support.browser import create_project, needs_chromium, open_page
from tests.support.cluster import ClusterClient
from tests.support.git_client import git

pytestmark = [pytest.mark.slow, needs_chromium, pytest.mark.asyncio(loop_scope="module")]


async def test_a_project_with_a_readme_is_created_on_the_page(shared: ClusterClient, tmp_path: Path) -> None:
    cluster = shared.cluster
    async with open_page(cluster.url) as page:
        await expect(page.locator("#storages .ok")).to_have_text("reachable")
        await create_project(page, "team/app", cluster.secrets.access_token)
        await expect(page.locator("#result")).to_have_text(f"Created: git clone {cluster.url}/team/app.git")
        row = page.locator("#projects tr", has_text="team/app")
        await expect(row.locator(".pill.ok")).to_have_count(3)
        await expect(row.locator(".pill", has_text="★")).to_have_count(1)
        if picture := os.environ.get("PRAEFECT_SCREENSHOT"):
            await page.get_by_label("access token").fill("")
            await page.screenshot(path=picture)
    work = await shared.clone("team/app", tmp_path)
    assert (work / "README.md").read_text() == "# team/app\n"
    assert (await git(work, "log", "--format=%s")).ok().output == "Initial commit"


async def test_the_page_says_why_nothing_was_created(shared: ClusterClient) -> None:
    async with open_page(shared.cluster.url) as page:
        await create_project(page, "other/app", "wrong token")
        await expect(page.locator("#result.bad")).to_have_text("401 Unauthorized")
        await create_project(page, "api/app", shared.cluster.secrets.access_token)
        await expect(page.locator("#result.bad")).to_contain_text('path must not begin with "api"')
        assert "token" not in page.url


async def test_a_lost_node_and_a_lost_praefect_are_seen_on_the_page(own: ClusterClient) -> None:
    await own.create_project("app")
    async with open_page(own.cluster.url) as page:
        row = page.locator("#projects tr", has_text="app.git")
        await expect(row.locator(".pill.ok")).to_have_count(3)
        own.cluster.child("gitaly-2").kill()
        await expect(row.locator(".pill.bad")).to_contain_text("gitaly-2, down", timeout=30_000)
        await own.create_project("behind")
        await expect(page.locator("#repairs")).to_have_text("5 replicas are current, 1 are behind", timeout=30_000)
        own.cluster.child("praefect").kill()
        await expect(page.locator("#storages .bad")).to_contain_text("14:", timeout=30_000)
        await create_project(page, "late", own.cluster.secrets.access_token)
        await expect(page.locator("#result.bad")).to_contain_text("14:", timeout=30_000)
