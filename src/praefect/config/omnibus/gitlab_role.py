"""The gateway's file out of a gitlab.rb."""

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from praefect.config.gateway import GatewayStorageConfig
from praefect.config.omnibus.convert import Values
from praefect.config.omnibus.draft import Draft
from praefect.config.omnibus.faults import GitlabRbError, Place
from praefect.config.omnibus.gitaly_role import DEFAULT_SOCKET
from praefect.config.omnibus.package_secrets import shell_secret_beside
from praefect.config.omnibus.settings import Branch, Leaf, Path, node_of, spell
from praefect.config.omnibus.syntax import Sequence as Array

CERTIFICATES: Final = "/etc/gitlab/ssl"
_PORTS: Final = {"http": 80, "https": 443}
_DEFAULT: Final = "default"


def draft_gitlab(draft: Draft) -> None:
    """Fill the draft of the gateway's file.

    Raises:
        GitlabRbError: a setting cannot be used.
    """
    _take_address(draft)
    _take_secret(draft)
    _take_storages(draft)
    draft.take_configuration("gateway")
    if not draft.get("user"):
        draft.notes.append("gateway['configuration'] names no user: nobody can clone or push yet")


def _take_address(draft: Draft) -> None:
    node = draft.settings.children.get("external_url")
    text = draft.text("external_url")
    if not text or node is None:
        draft.notes.append("external_url is not set: the front door listens on 127.0.0.1:8080 only")
        return
    url = _url(text, node.place)
    https = url.scheme == "https" and not draft.is_off("nginx", "listen_https")
    draft.set("external_url", text)
    draft.set("listen_addr", f"{_host(draft)}:{_port(draft, url)}")
    certificate = draft.text("nginx", "ssl_certificate")
    key = draft.text("nginx", "ssl_certificate_key")
    if https:
        draft.set("tls.certificate_path", certificate or f"{CERTIFICATES}/{url.hostname}.crt")
        draft.set("tls.key_path", key or f"{CERTIFICATES}/{url.hostname}.key")


def _url(text: str, place: Place) -> SplitResult:
    try:
        url = urlsplit(text)
        usable = url.scheme in _PORTS and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise GitlabRbError(place, "external_url: an address that begins with http:// or https:// is expected")
    return url


def _host(draft: Draft) -> str:
    path = ("nginx", "listen_addresses")
    node = draft.settings.take(*path)
    if node is None:
        return "0.0.0.0"  # noqa: S104  # as the package's nginx does
    if not isinstance(node, Leaf) or not isinstance(node.expression, Array) or not node.expression.items:
        raise GitlabRbError(node.place, f"{spell(path)}: an array is expected")
    addresses = [draft.converter.text(node_of(item), path) for item in node.expression.items]
    if len(addresses) > 1:
        draft.notes.append(f"the front door listens on one address: of {spell(path)} it is the first")
    return "0.0.0.0" if addresses[0] in ("*", "") else addresses[0]  # noqa: S104


def _port(draft: Draft, url: SplitResult) -> int:
    path = ("nginx", "listen_port")
    node = draft.settings.take(*path)
    port = None if node is None else draft.converter.plain(node, path)
    if node is None or port is None:
        return url.port or _PORTS[url.scheme]
    if not str(port).isdecimal() or isinstance(port, bool) or not 0 < int(port) < 1 << 16:
        raise GitlabRbError(node.place, f"{spell(path)}: a port is expected")
    return int(port)


def _take_secret(draft: Draft) -> None:
    secret = draft.text("gitlab_shell", "secret_token") or shell_secret_beside(draft.settings.place.file)
    if secret:
        draft.set("secret", secret)


def _take_storages(draft: Draft) -> None:
    today = draft.take_hash("gitlab_rails", "repositories_storages")
    page = draft.take_hash("git_data_dirs")
    path: Path = ("git_data_dirs",)
    branch = page
    if today is not None:
        path, branch = ("gitlab_rails", "repositories_storages"), today
    token = draft.text("gitlab_rails", "gitaly_token")
    if branch is None:
        return
    local_address, local_token = _local_node(draft)
    storages = []
    for name, values in _storages(draft, branch, path):
        address = values.get("gitaly_address", local_address)
        secret = values.get("gitaly_token") or token or ("" if "gitaly_address" in values else local_token)
        storage = {"name": name, **values, "gitaly_address": _with_scheme(address)}
        storages.append({**storage, "gitaly_token": secret} if secret else storage)
    _weigh(draft, storages)
    draft.set("storage", storages)
    draft.put_back(branch, path)


def _storages(draft: Draft, branch: Branch, path: Path) -> Iterator[tuple[str, Values]]:
    for name, node in list(branch.children.items()):
        if isinstance(node, Leaf):  # the oldest spelling: name and path, on this machine
            branch.children.pop(name)
            yield name, {}
            continue
        node.take("path")
        yield name, draft.converter.section(GatewayStorageConfig, node, (*path, name), only=_TAKEN)
        if not node.children:
            branch.children.pop(name)


_TAKEN: Final = ("gitaly_address", "gitaly_token", "weight")


def _weigh(draft: Draft, storages: Sequence[Values]) -> None:
    """As in GitLab, new projects go to the default storage until somebody decides otherwise."""
    if len(storages) < 2 or any("weight" in storage for storage in storages):
        return
    names = [storage["name"] for storage in storages]
    if _DEFAULT not in names:
        return
    for storage in storages:
        storage["weight"] = 100 if storage["name"] == _DEFAULT else 0
    others = ", ".join(name for name in names if name != _DEFAULT)
    draft.notes.append(
        f"new projects go to the storage {_DEFAULT}, as in GitLab until it is told otherwise; "
        f"'weight' => 100 beside the gitaly_address of {others} says so here"
    )


def _local_node(draft: Draft) -> tuple[str, str]:
    """Address and secret of the node on this machine, of which the same file is the configuration."""
    values = {name: _of_gitaly(draft, name) for name in ("socket_path", "listen_addr")}
    token = draft.text("gitaly", "configuration", "auth", "token") or draft.text("gitaly", "auth_token")
    host, _, port = values["listen_addr"].removeprefix("tcp://").rpartition(":")
    if values["listen_addr"] and not values["socket_path"]:
        host = "127.0.0.1" if host in ("", "0.0.0.0", "[::]") else host  # noqa: S104
        return f"tcp://{host}:{port}", token
    return f"unix:{values['socket_path'] or DEFAULT_SOCKET}", token


def _of_gitaly(draft: Draft, name: str) -> str:
    return draft.text("gitaly", "configuration", name) or draft.text("gitaly", name)


def _with_scheme(address: str) -> str:
    return f"unix:{address}" if address.startswith("/") else address
