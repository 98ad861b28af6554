"""From a gitlab.rb to the config.toml of one role, and a report of what was done with which setting."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from praefect.config.decode import Decoder
from praefect.config.document import parse as parse_toml
from praefect.config.faults import ConfigError, Fault
from praefect.config.gateway import GatewayConfig, gateway_faults
from praefect.config.node import complete
from praefect.config.node_rules import node_faults
from praefect.config.node_sections import NodeConfig
from praefect.config.omnibus.changes import Change, compare
from praefect.config.omnibus.convert import Converter
from praefect.config.omnibus.draft import Draft
from praefect.config.omnibus.faults import Place
from praefect.config.omnibus.gitaly_role import draft_gitaly, missing_directories
from praefect.config.omnibus.gitlab_role import draft_gitlab
from praefect.config.omnibus.ignored_keys import find_ignored, suggestion
from praefect.config.omnibus.known_keys import Role
from praefect.config.omnibus.parser import parse
from praefect.config.omnibus.praefect_role import draft_praefect
from praefect.config.omnibus.replacing import Outcome, read_if_there, replace_file
from praefect.config.omnibus.settings import collect, spell
from praefect.config.omnibus.surroundings import Surroundings
from praefect.config.omnibus.toml_text import write_toml
from praefect.config.praefect_sections import PraefectConfig
from praefect.config.reading import read_file
from praefect.config.rules import NOT_SET
from praefect.config.startup_rules import startup_faults

FILE_NAME: Final = "config.toml"
HEADER: Final = "# Written by `praefect reconfigure` out of gitlab.rb, which replaces it: change gitlab.rb instead.\n"
_SECTIONS: Final[Mapping[Role, type[Any]]] = {
    Role.PRAEFECT: PraefectConfig,
    Role.GITALY: NodeConfig,
    Role.GITLAB: GatewayConfig,
}


class UnusableConfigError(ConfigError):
    """What the file says makes no configuration that the program would start with; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A setting that nobody knows."""

    place: Place
    setting: str
    suggestion: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was done.

    Attributes:
        path: the file of the role.
        outcome: what became of it.
        changes: the keys that differ from before, secrets masked.
        unknown: settings that nobody knows, and that therefore do nothing.
        ignored: for each reason the settings or sections that are left alone on purpose.
        notes: what the operator should know, a sentence each.
    """

    path: str
    outcome: Outcome
    changes: tuple[Change, ...]
    unknown: tuple[Unknown, ...]
    ignored: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        gitlab_rb: path of the file that is read.
        role: whose file is written.
        output: directory that it is written to.
        storage: for a node, the storage it has where the file names those of several; empty for all.
        environment: what ``ENV`` is.
    """

    gitlab_rb: str
    role: Role
    output: str
    storage: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)


def reconfigure(request: Request) -> Report:
    """Write the file of a role.

    Raises:
        ConfigError: the gitlab.rb cannot be read or used, or the file cannot be written; nothing has changed.
    """
    draft = _draft(request)
    section = _SECTIONS[request.role]
    text = HEADER + write_toml(section, draft.values)
    _judge(request, draft, text)
    path = Path(request.output) / FILE_NAME
    changes = compare(section, read_if_there(path), draft.values)
    outcome = replace_file(path, text.encode())
    unknown, ignored = _remaining(draft, request.role)
    return Report(
        path=str(path),
        outcome=outcome,
        changes=changes,
        unknown=unknown,
        ignored=ignored,
        notes=tuple(draft.notes),
    )


def _draft(request: Request) -> Draft:
    statements = parse(read_file(request.gitlab_rb), request.gitlab_rb)
    surroundings = Surroundings(request.environment)
    draft = Draft(
        settings=collect(statements, request.gitlab_rb),
        converter=Converter(surroundings),
        section=_SECTIONS[request.role],
    )
    match request.role:
        case Role.PRAEFECT:
            draft_praefect(draft)
        case Role.GITALY:
            draft_gitaly(draft, request.storage)
            missing = missing_directories(draft.values)
            if missing:
                draft.notes.append(f"the node starts once its storages exist: mkdir -p -m 0700 {' '.join(missing)}")
        case Role.GITLAB:
            draft_gitlab(draft)
    draft.notes += (f"{place}: environment variable {name} is not set" for name, place in surroundings.unset.items())
    return draft


def _judge(request: Request, draft: Draft, text: str) -> None:
    """Refuse what the program would refuse, except directories that are not there yet."""
    if draft.get("config_command"):
        return  # the rest comes from there
    faults = [fault for fault in _faults(request.role, text) if "doesn't exist" not in fault]
    if faults:
        lines = "".join(f"\n  {fault}" for fault in faults)
        raise UnusableConfigError(f"{request.gitlab_rb}: makes no usable configuration of a {request.role}:{lines}")


def _faults(role: Role, text: str) -> list[str]:
    decoder = Decoder(parse_toml(text.encode()))
    match role:
        case Role.PRAEFECT:
            return [str(fault) for fault in startup_faults(decoder.decode(PraefectConfig()))]
        case Role.GITALY:
            return [str(_with_section(fault)) for fault in node_faults(complete(decoder.decode(NodeConfig())))]
        case Role.GITLAB:
            config = decoder.decode(GatewayConfig())
            return gateway_faults(config, config.secret or config.secret_file)


def _with_section(fault: Fault) -> Fault:
    """Name the section where a node, as upstream's, leaves it out: in what is wrong with its storages."""
    of_storages = fault.path[0].startswith("[") if fault.path else fault.message == NOT_SET
    return Fault(("storage", *fault.path), fault.message) if of_storages else fault


def _remaining(draft: Draft, role: Role) -> tuple[tuple[Unknown, ...], Mapping[str, tuple[str, ...]]]:
    """Sort the settings that were not taken."""
    unknown: list[Unknown] = []
    ignored: dict[str, dict[str, None]] = {}
    for path, place in (*draft.settings.leaves(), *draft.converter.unknown):
        found = find_ignored(path, role)
        if found is None:
            unknown.append(Unknown(place=place, setting=spell(path), suggestion=suggestion(path)))
        else:
            ignored.setdefault(found.reason, {})[found.setting] = None
    unknown.sort(key=lambda one: one.place.line)
    return tuple(unknown), {reason: tuple(names) for reason, names in sorted(ignored.items())}
