"""How a section describes its keys: default, sentence, and what TOML cannot say; read by the decoder and the docs.

A section is a frozen dataclass whose fields are made with :func:`setting`. A field's type decides what it takes:
``str``, ``bool``, ``int``, ``timedelta``, a ``StrEnum``, a section, or a tuple of any of these (``float`` included).
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeVar, get_args, get_origin

T = TypeVar("T")
_METADATA: Final = "setting"


class Integer(Enum):
    """The range of an integer key."""

    SIGNED = (-(2**63), 2**63 - 1, "int")
    UNSIGNED = (0, 2**64 - 1, "uint")
    UNSIGNED_32 = (0, 2**32 - 1, "uint32")

    def __init__(self, least: int, most: int, go_name: str) -> None:
        self.least = least
        self.most = most
        self.go_name = go_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is known of one key besides its type and default."""

    doc: str
    key: str | None = None  # spelling in TOML, where it differs from the field's name
    json_key: str | None = None  # spelling in the output of a config command, where it differs from the TOML key
    integer: Integer = Integer.SIGNED
    unit: str = ""  # what a number counts or measures
    secret: bool = False
    own: bool = False  # upstream has no such key
    noun: str = "value"  # what a value out of a closed set is called in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a section."""

    field: str
    toml: str
    json: str
    type: Any
    element: Any  # the type of a tuple's elements, else None
    default: Any
    setting: Setting

    @property
    def is_section(self) -> bool:
        """Whether the value is a table."""
        return self.element is None and dataclasses.is_dataclass(self.type)


def setting(default: T, doc: str, /, **facts: Any) -> T:
    """Declare one key of a section; ``facts`` are those of :class:`Setting`."""
    declared = Setting(doc=doc, **facts)
    value: T = field(default=default, repr=not declared.secret, metadata={_METADATA: declared})
    return value


def keys(section: type[Any]) -> tuple[Key, ...]:
    """All keys of a section, in order of definition; fields made without :func:`setting` are none."""
    return tuple(_keys(section))


def _keys(section: type[Any]) -> Iterator[Key]:
    for declared in dataclasses.fields(section):
        found = declared.metadata.get(_METADATA)
        if found is None:
            continue
        toml = found.key or declared.name
        element = get_args(declared.type)[0] if get_origin(declared.type) is tuple else None
        yield Key(
            field=declared.name,
            toml=toml,
            json=found.json_key or toml,
            type=declared.type,
            element=element,
            default=declared.default,
            setting=found,
        )
