"""``serve``: run the server, which is also what happens without a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import Arguments, Command, CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig, VirtualStorageConfig


def run(invocation: Invocation) -> int | None:
    """Serve until stopped."""
    import sys

    from praefect.config.serve_rules import logging_fault, serve_faults
    from praefect.observability import log

    config = invocation.load_config()
    fault = logging_fault(config.logging)
    if fault is not None:
        raise CommandError(fault)
    log.configure(config.logging.format, config.logging.level, sys.stdout)
    logger = log.get_logger()
    for message, fields in oddities(config):
        logger.warning(message, **fields)
    for text in serve_faults(config):
        logger.error("Praefect shutdown", error=text)
        return 1
    return _serve(config, lambda text: logger.error("Praefect shutdown", error=text))


def oddities(config: PraefectConfig) -> Iterator[tuple[str, dict[str, str]]]:
    """What a start warns of and goes on: message and fields of each line."""
    for warning in config.warnings:
        yield "configuration", {"problem": warning}
    if not config.failover.enabled and config.failover.election_strategy:
        strategy = config.failover.election_strategy
        yield "ignoring configured election strategy as failover is disabled", {"election_strategy": strategy}
    shared = [address for virtual in config.virtual_storages for address in _shared_addresses(virtual)]
    for address in shared:
        yield "more than one backend node is hosted at same address", {"conflicting_address": address}
    if shared:
        yield "your Praefect configuration may not offer actual redundancy", {}


def _shared_addresses(virtual: VirtualStorageConfig) -> Iterator[str]:
    """The addresses at which a virtual storage has a node already, once per further node."""
    seen: set[str] = set()
    for node in virtual.nodes:
        if node.address in seen:
            yield node.address
        seen.add(node.address)


def _serve(config: PraefectConfig, report: Callable[[str], None]) -> int | None:
    import asyncio

    from praefect.app import proxy
    from praefect.cli.version import version
    from praefect.domain.errors import PraefectError
    from praefect.observability import log
    from praefect.transport.grpc.status import leading_error

    try:
        asyncio.run(proxy.serve(config, version()))
    except (PraefectError, OSError, ExceptionGroup) as exc:
        error = leading_error(exc)
        if not isinstance(error, PraefectError | OSError):
            raise
        report(str(error))
        return 1
    log.get_logger().info("Praefect shutdown")
    return None


COMMAND = Command(
    name="serve",
    summary="start Praefect's server",
    description="Serves Git clients from the configured nodes until told to stop (SIGTERM or SIGINT).\n\n"
    "Example: praefect -config praefect.config.toml serve",
    arguments=Arguments.REFUSED_SILENTLY,
    run=run,
)
