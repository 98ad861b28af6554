"""The configured storages, as the stores need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from praefect.domain.repository import Storage, VirtualStorage


@dataclass(frozen=True, slots=True)
class Layout:
    """The storages of each virtual storage, in the order of the configuration."""

    storages: Mapping[VirtualStorage, Sequence[Storage]]

    @property
    def virtual_storages(self) -> list[VirtualStorage]:
        """The names of the virtual storages."""
        return list(self.storages)

    def pairs(self) -> tuple[list[VirtualStorage], list[Storage]]:
        """Return every storage with its virtual storage, as two lists of equal length."""
        return pairs(self.storages)


def pairs(storages: Mapping[VirtualStorage, Sequence[Storage]]) -> tuple[list[VirtualStorage], list[Storage]]:
    """Return the pairs of a mapping as two lists of equal length, sorted, as statements take them."""
    sorted_pairs = sorted((name, storage) for name, group in storages.items() for storage in group)
    return [name for name, _ in sorted_pairs], [storage for _, storage in sorted_pairs]
