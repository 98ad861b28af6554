"""Statements as a tree of settings, from which a role takes what it knows; what remains was meant for others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from praefect.config.omnibus.faults import GitlabRbError, Place
from praefect.config.omnibus.syntax import Assignment, Expression, Scalar, Statement, Table

Path = tuple[str, ...]
"""Keys from the root downwards; ``[0]`` is the first element of an array."""

_INDEX: Final = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is no hash."""

    place: Place
    expression: Expression


@dataclass(slots=True)
class Branch:
    """A hash; later assignments go into it."""

    place: Place
    children: dict[str, Leaf | Branch] = field(default_factory=dict)

    def take(self, *path: str) -> Leaf | Branch | None:
        """Remove what stands below a path and return it; hashes that become empty go too."""
        name, *rest = path
        child = self.children.get(name)
        if not rest:
            return self.children.pop(name, None)
        if not isinstance(child, Branch):
            return None
        taken = child.take(*rest)
        if taken is not None and not child.children:
            self.children.pop(name)
        return taken

    def put(self, path: Path, node: Leaf | Branch) -> None:
        """Set what stands below a path, as an assignment does.

        Raises:
            GitlabRbError: on the way stands a value that is no hash.
        """
        *parents, name = path
        branch: Branch = self
        for parent in parents:
            child = branch.children.get(parent)
            if child is None or (isinstance(child, Leaf) and _is_nil(child.expression)):
                child = branch.children[parent] = Branch(node.place)
            if isinstance(child, Leaf):
                raise GitlabRbError(
                    node.place, f"setting below ['{parent}'], which line {child.place.line} made no hash"
                )
            branch = child
        branch.children.pop(name, None)  # so that the order is that of the last assignments
        branch.children[name] = node

    def leaves(self, above: Path = ()) -> Iterator[tuple[Path, Place]]:
        """The paths of all values and empty hashes."""
        for name, node in self.children.items():
            path = (*above, name)
            if isinstance(node, Branch) and node.children:
                yield from node.leaves(path)
            else:
                yield path, node.place


def collect(statements: Iterable[Statement], file: str) -> Branch:
    """Make the tree: below the root the names of sections and of calls.

    Raises:
        GitlabRbError: assignments contradict each other.
    """
    root = Branch(Place(file, 1))
    for statement in statements:
        if isinstance(statement, Assignment):
            root.put((statement.root, *statement.path), node_of(statement.value, statement.place))
        else:
            root.put((statement.name,), node_of(statement.value, statement.place))
    return root


def node_of(expression: Expression, place: Place | None = None) -> Leaf | Branch:
    """A value as a part of the tree; ``place`` stands for it in messages, by default its own."""
    if not isinstance(expression, Table):
        return Leaf(place or expression.place, expression)
    branch = Branch(place or expression.place)
    for pair in expression.pairs:
        branch.put((pair.name,), node_of(pair.value, pair.place))
    return branch


def spell(path: Path) -> str:
    """Write a path as the file does: ``praefect['auth_token']``."""
    root, *keys = path
    return root + "".join(key if _INDEX.fullmatch(key) else f"['{key}']" for key in keys)


def _is_nil(expression: Expression) -> bool:
    return isinstance(expression, Scalar) and expression.value is None
