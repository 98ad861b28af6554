"""Which git is there and what it can do; found out once, at start."""

from __future__ import annotations

import re
from dataclasses import dataclass

_VERSION = re.compile(r"git version (\d+)\.(\d+)(?:\.(\d+))?(\S*)")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GitVersion:
    """A version of git."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @classmethod
    def parse(cls, output: str) -> GitVersion | None:
        """Read the output of ``git --version``, ``None`` if it is something else."""
        match = _VERSION.match(output)
        if match is None:
            return None
        return cls(major=int(match[1]), minor=int(match[2]), patch=int(match[3] or 0))


MINIMUM_VERSION = GitVersion(major=2, minor=39)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the found git can do that the oldest supported one cannot.

    Each falls back to a slower or longer way that gives the same result. Source: git's release notes.
    """

    nul_output: bool  # cat-file -Z
    stdin_pseudo_revisions: bool  # rev-list --stdin reads --all, --not and the like
    multi_pack_reuse: bool  # pack.allowPackReuse=multi
    exclude_refs: bool  # for-each-ref --exclude
    root_refs: bool  # for-each-ref --include-root-refs
    config_list: bool  # config list
    merge_base: bool  # merge-tree --merge-base
    attr_source: bool  # check-attr --source
    fetch_porcelain: bool  # fetch --porcelain
    symref_update: bool  # update-ref symref-update
    pack_refs_auto: bool  # pack-refs --auto
    last_modified: bool  # last-modified
    diff_pairs: bool  # diff-pairs
    ref_format: bool  # init --ref-format

    @classmethod
    def of(cls, version: GitVersion) -> Features:
        """Return what a version can do."""

        def since(minor: int) -> bool:
            return (version.major, version.minor) >= (2, minor)

        return cls(
            nul_output=since(42),
            stdin_pseudo_revisions=since(42),
            multi_pack_reuse=since(44),
            exclude_refs=since(42),
            root_refs=since(45),
            config_list=since(46),
            merge_base=since(40),
            attr_source=since(40),
            fetch_porcelain=since(41),
            symref_update=since(46),
            pack_refs_auto=since(45),
            last_modified=since(52),
            diff_pairs=since(49),
            ref_format=since(45),
        )
