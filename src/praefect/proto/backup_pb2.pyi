from praefect.proto import lint_pb2 as _lint_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class WriteBackupIDRequest(_message.Message):
    __slots__ = ("storage_name", "backup_id")
    STORAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    BACKUP_ID_FIELD_NUMBER: _ClassVar[int]
    storage_name: str
    backup_id: str
    def __init__(self, storage_name: _Optional[str] = ..., backup_id: _Optional[str] = ...) -> None: ...

class WriteBackupIDResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReadLatestBackupIDRequest(_message.Message):
    __slots__ = ("storage_name",)
    STORAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    storage_name: str
    def __init__(self, storage_name: _Optional[str] = ...) -> None: ...

class ReadLatestBackupIDResponse(_message.Message):
    __slots__ = ("backup_id",)
    BACKUP_ID_FIELD_NUMBER: _ClassVar[int]
    backup_id: str
    def __init__(self, backup_id: _Optional[str] = ...) -> None: ...
