"""What git accepts as the name of a reference or a branch.

Source: git-check-ref-format(1).
"""

from __future__ import annotations

import re

_BAD_REFERENCE = re.compile(rb"[\x00-\x20\x7f:?\[\\^~*]|\.\.|@\{")


def is_reference_name(name: bytes) -> bool:
    """Tell whether git would accept ``name`` as a reference below ``refs/``."""
    if not name.startswith(b"refs/") or _BAD_REFERENCE.search(name) or name.endswith((b"/", b".")):
        return False
    parts = name.split(b"/")
    return all(part and not part.startswith(b".") and not part.endswith(b".lock") for part in parts)


def is_branch_name(name: bytes) -> bool:
    """Tell whether git would accept ``name`` for a new branch."""
    return is_reference_name(b"refs/heads/" + name) and not name.startswith(b"-") and name != b"HEAD"
