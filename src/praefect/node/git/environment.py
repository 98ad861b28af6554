"""The environment git runs in: an allow-list of ours and fixed values; nothing else is inherited."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from praefect.node.git.command import ConfigPair

KEPT_VARIABLES = (
    "HOME",
    "PATH",
    "LD_LIBRARY_PATH",
    "TZ",
    "GIT_EXEC_PATH",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_TRACE",
    "GIT_TRACE_PACK_ACCESS",
    "GIT_TRACE_PACKET",
    "GIT_TRACE_PERFORMANCE",
    "GIT_TRACE_SETUP",
    "all_proxy",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
)

FIXED_VARIABLES = {
    "LANG": "en_US.UTF-8",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "XDG_CONFIG_HOME": "/dev/null",
}


def base_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what every git process gets of ``inherited``, with the fixed values."""
    kept = {name: inherited[name] for name in KEPT_VARIABLES if name in inherited}
    return {**kept, **FIXED_VARIABLES}


def config_environment(pairs: Sequence[ConfigPair]) -> dict[str, str]:
    """Return variables that give git configuration which must not be seen in its arguments."""
    if not pairs:
        return {}
    environment = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for index, (key, value) in enumerate(pairs):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment


def protocol_environment(git_protocol: str) -> dict[str, str]:
    """Return the variable that selects git's wire protocol, for the values git defines."""
    return {"GIT_PROTOCOL": git_protocol} if git_protocol in ("version=1", "version=2") else {}
