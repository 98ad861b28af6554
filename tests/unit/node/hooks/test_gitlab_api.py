"""What can be said of the internal API without asking it: the token's bytes and the places URLs name."""

from __future__ import annotations

import pytest

from praefect.node.hooks.gitlab_api import GitlabApi, InternalApiSettings, make_token
from praefect.node.hooks.internal_api import InternalApiError, NotAllowedError, Unconfigured


def test_token_is_the_golden_one() -> None:
    assert make_token("secret", 1535671600) == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJpc3MiOiJnaXRsYWItc2hlbGwiLCJleHAiOjE1MzU2NzE2NjAsImlhdCI6MTUzNTY3MTYwMH0."
        "So8QU8Y7e_IJJwVYmNSr64-7G99KGE_Y2Ze4Gvzd90c"
    )


@pytest.mark.parametrize("url", ["", "ftp://x", "localhost:8080", "unix:/x"])
def test_urls_that_name_no_front_door(url: str) -> None:
    with pytest.raises(InternalApiError, match=r"gitlab\.url"):
        GitlabApi(InternalApiSettings(url=url, secret="s"))


def test_settings_do_not_show_secrets() -> None:
    settings = InternalApiSettings(url="http://x", secret="the secret", user="u", password="the password")
    assert "the secret" not in repr(settings)
    assert "the password" not in repr(settings)


async def test_missing_configuration_is_named() -> None:
    with pytest.raises(InternalApiError, match=r"gitlab\.url"):
        await Unconfigured().check()
    with pytest.raises(NotAllowedError, match=r"gitlab\.url"):
        await Unconfigured().pre_receive("project-1")
