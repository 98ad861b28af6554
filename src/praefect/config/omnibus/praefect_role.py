"""Praefect's file out of a gitlab.rb."""

from collections.abc import Iterator
from typing import Final

from praefect.config.omnibus.convert import Values
from praefect.config.omnibus.draft import Draft
from praefect.config.omnibus.faults import GitlabRbError
from praefect.config.omnibus.known_keys import PRAEFECT_KEYS
from praefect.config.omnibus.settings import Branch, Leaf, Path, spell
from praefect.config.praefect_sections import StorageNodeConfig, VirtualStorageConfig

DEFAULT_LISTEN_ADDR: Final = "localhost:2305"
_VIRTUAL_STORAGES: Final = ("praefect", "virtual_storages")
_BESIDE_NODES: Final = ("default_replication_factor", "minimum_copies")


def draft_praefect(draft: Draft) -> None:
    """Fill the draft of Praefect's file.

    Raises:
        GitlabRbError: a setting cannot be used.
    """
    draft.take_keys({("praefect", key): target for key, target in PRAEFECT_KEYS.items()})
    _demand_tls(draft)
    _take_virtual_storages(draft)
    draft.take_configuration("praefect")
    draft.note_missing_token()
    if not any(draft.get(key) for key in ("listen_addr", "tls_listen_addr", "socket_path")):
        draft.set("listen_addr", DEFAULT_LISTEN_ADDR)
        draft.notes.append(
            f"no address to listen on is set: listen_addr is the package's default, {DEFAULT_LISTEN_ADDR}"
        )


def _demand_tls(draft: Draft) -> None:
    """The page: Praefect refuses to reach PostgreSQL over a network without encryption unless it is told to."""
    host = draft.get("database.host")
    if host and not host.startswith("/") and not draft.get("database.sslmode"):
        draft.set("database.sslmode", "require")
        draft.notes.append(
            'database.sslmode is "require", as the page has it: without encryption PostgreSQL is not talked to; '
            "praefect['database_sslmode'] says otherwise"
        )


def _take_virtual_storages(draft: Draft) -> None:
    branch = draft.take_hash(*_VIRTUAL_STORAGES)
    if branch is None:
        return
    storages = list(_virtual_storages(draft, branch))
    draft.put_back(branch, _VIRTUAL_STORAGES)
    draft.set("virtual_storage", storages)
    designated = [node["storage"] for storage in storages for node in storage["node"] if node.get("primary")]
    if designated:
        draft.set("failover.prefer_designated", True)
        draft.notes.append(
            f"failover.prefer_designated is set: {', '.join(designated)} is designated by 'primary' => true, "
            "new repositories get their primary there"
        )


def _virtual_storages(draft: Draft, branch: Branch) -> Iterator[Values]:
    for name, node in list(branch.children.items()):
        path: Path = (*_VIRTUAL_STORAGES, name)
        if isinstance(node, Leaf):
            raise GitlabRbError(node.place, f"{spell(path)}: a hash is expected")
        settings = draft.converter.section(VirtualStorageConfig, node, path, only=_BESIDE_NODES)
        nodes, place = node, path
        below = node.children.get("nodes")
        if isinstance(below, Branch) and not isinstance(below.children.get("address"), Leaf):
            nodes, place = below, (*path, "nodes")
        yield {"name": name, **settings, "node": list(_nodes(draft, nodes, place))}
        if nodes is not node and not nodes.children:
            node.children.pop("nodes")
        if not node.children:
            branch.children.pop(name)


def _nodes(draft: Draft, branch: Branch, path: Path) -> Iterator[Values]:
    for name, node in list(branch.children.items()):
        if isinstance(node, Leaf):
            continue  # no node; reported as not known
        values = draft.converter.section(StorageNodeConfig, node, (*path, name))
        if not node.children:
            branch.children.pop(name)
        yield {"storage": name, **values}
