"""What the roles share: a configuration in the making."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from praefect.config.omnibus.convert import Converter, Values, get_value, key_at, merge, set_value
from praefect.config.omnibus.faults import GitlabRbError
from praefect.config.omnibus.settings import Branch, Leaf, Path, spell


@dataclass(slots=True, kw_only=True)
class Draft:
    """Values of one program's file while a role collects them.

    Attributes:
        settings: the tree; what is taken out of it is known.
        section: describes the file.
        values: what it will say, by the names of TOML.
        notes: what the operator should know, a sentence each.
    """

    settings: Branch
    converter: Converter
    section: type[Any]
    values: Values = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)

    def text(self, *path: str) -> str:
        """Take a setting that is a text; empty if it is not there."""
        node = self.settings.take(*path)
        return self.converter.text(node, path)

    def is_off(self, *path: str) -> bool:
        """Take a setting that is a switch; whether it says false."""
        node = self.settings.take(*path)
        return node is not None and self.converter.plain(node, path) is False

    def take_hash(self, *path: str) -> Branch | None:
        """Take a setting that is a hash; None if it is not there or nil.

        Raises:
            GitlabRbError: it is something else.
        """
        node = self.settings.take(*path)
        if isinstance(node, Leaf):
            if self.converter.plain(node, path) is not None:
                raise GitlabRbError(node.place, f"{spell(path)}: a hash is expected")
            return None
        return node

    def put_back(self, branch: Branch, path: Path) -> None:
        """Return what is left of a hash, for the report of what nobody knows."""
        if any(True for _ in branch.leaves()):
            self.settings.put(path, branch)

    def get(self, target: str) -> Any:
        """A value by its dotted name; None if it is not set."""
        return get_value(self.values, tuple(target.split(".")))

    def set(self, target: str, value: Any) -> None:
        """Set a value by its dotted name."""
        set_value(self.values, tuple(target.split(".")), value)

    def take_keys(self, keys: Mapping[Path, str]) -> None:
        """Take single settings, each for the key with that dotted name."""
        for path, target in keys.items():
            node = self.settings.take(*path)
            if node is None:
                continue
            value = self.converter.value(key_at(self.section, tuple(target.split("."))), node, path)
            if value is not None:
                self.set(target, value)
            if isinstance(node, Branch):
                self.put_back(node, path)

    def take_configuration(self, root: str) -> None:
        """Take the hash that has the keys of the file as they are."""
        path = (root, "configuration")
        branch = self.take_hash(*path)
        if branch is not None:
            merge(self.values, self.converter.section(self.section, branch, path))
            self.put_back(branch, path)

    def note_missing_token(self) -> None:
        """Say so if callers need no secret."""
        if not self.get("auth.token") and not self.get("auth.token_file"):
            self.notes.append("auth.token is not set: whoever reaches the address may read and write all repositories")
