"""The compiled protos say what the API table says, no more and no less."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from praefect.proto import lint_pb2 as typed_lint_pb2

ROOT = Path(__file__).resolve().parents[3]
lint_pb2: Any = typed_lint_pb2  # its extensions are declared as plain field descriptors
TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("api.json").read_text())
MODULES = sorted(path.stem for path in (ROOT / "src/praefect/proto").glob("*_pb2.py"))
FOREIGN = {"health_pb2", "reflection_pb2", "reflection_v1alpha_pb2", "rpc_status_pb2"}
FIELD_OPTIONS = ("storage", "repository", "target_repository", "additional_repository", "partition_id")


def _files() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    files = {}
    for module in set(MODULES) - FOREIGN:
        proto = descriptor_pb2.FileDescriptorProto()
        importlib.import_module(f"praefect.proto.{module}").DESCRIPTOR.CopyToProto(proto)
        files[proto.name] = proto
    return files


FILES = _files()


def _field(field: FieldDescriptorProto, oneofs: list[str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": field.name,
        "number": field.number,
        "type": FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower(),
        "label": FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower(),
    }
    if field.type_name:
        described["type_name"] = field.type_name.removeprefix(".")
    if options := {name: True for name in FIELD_OPTIONS if field.options.Extensions[getattr(lint_pb2, name)]}:
        described["options"] = options
    if field.HasField("oneof_index"):
        described["oneof"] = oneofs[field.oneof_index]
    if field.options.deprecated:
        described["deprecated"] = True
    if field.proto3_optional:
        described["proto3_optional"] = True
    if field.json_name not in {"", _default_json_name(field.name)}:
        described["json_name"] = field.json_name
    return described


def _default_json_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _enum(enum: descriptor_pb2.EnumDescriptorProto, scope: str, file: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": f"{scope}.{enum.name}",
        "file": file,
        "values": [[value.name, value.number] for value in enum.value],
    }
    if enum.reserved_range:
        described["reserved_ranges"] = [[reserved.start, reserved.end] for reserved in enum.reserved_range]
    if enum.reserved_name:
        described["reserved_names"] = list(enum.reserved_name)
    return described


class Walk:
    """Collects all messages and enums of a file in the table's form."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.enums: dict[str, dict[str, Any]] = {}

    def file(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        for enum in file.enum_type:
            self.enums[f"{file.package}.{enum.name}"] = _enum(enum, file.package, file.name)
        for message in file.message_type:
            self._message(message, file.package, file.name, parent=None)

    def _message(self, message: descriptor_pb2.DescriptorProto, scope: str, file: str, parent: str | None) -> None:
        name = f"{scope}.{message.name}"
        oneofs = [oneof.name for oneof in message.oneof_decl]
        described: dict[str, Any] = {
            "name": name,
            "file": file,
            "fields": [_field(field, oneofs) for field in message.field],
        }
        optional = {
            "parent": parent,
            "map_entry": message.options.map_entry,
            "deprecated": message.options.deprecated,
            "reserved_ranges": [[reserved.start, reserved.end - 1] for reserved in message.reserved_range],
            "reserved_names": list(message.reserved_name),
            "nested_messages": [f"{name}.{nested.name}" for nested in message.nested_type],
            "nested_enums": [f"{name}.{nested.name}" for nested in message.enum_type],
        }
        described.update({key: value for key, value in optional.items() if value})
        self.messages[name] = described
        for enum in message.enum_type:
            self.enums[f"{name}.{enum.name}"] = _enum(enum, name, file)
        for nested in message.nested_type:
            self._message(nested, name, file, parent=name)


WALK = Walk()
for _file in FILES.values():
    WALK.file(_file)


def _unordered(message: dict[str, Any]) -> dict[str, Any]:
    return {
        key: sorted(value) if key in {"nested_messages", "nested_enums"} else value for key, value in message.items()
    }


def test_table_is_whole() -> None:
    assert len(TABLE["services"]) == 21
    assert sum(len(service["methods"]) for service in TABLE["services"]) == 168
    assert len(TABLE["messages"]) == 494


def test_files_have_the_tables_names_packages_and_imports() -> None:
    compiled = {
        (file.name, file.package, file.syntax or "proto2", tuple(sorted(file.dependency))) for file in FILES.values()
    }
    assert compiled == {
        (file["name"], file["package"], file["syntax"], tuple(sorted(file["imports"]))) for file in TABLE["files"]
    }


def test_no_message_or_enum_is_missing_or_extra() -> None:
    assert set(WALK.messages) == {message["name"] for message in TABLE["messages"]}
    assert set(WALK.enums) == {enum["name"] for enum in TABLE["enums"]}


@pytest.mark.parametrize("file", sorted(FILES))
def test_messages_equal_the_table(file: str) -> None:
    for message in TABLE["messages"]:
        if message["file"] == file:
            assert _unordered(WALK.messages[message["name"]]) == _unordered(message)


def test_enums_equal_the_table() -> None:
    for enum in TABLE["enums"]:
        assert WALK.enums[enum["name"]] == enum


def test_extensions_equal_the_table() -> None:
    compiled = [
        {**_field(extension, []), "extendee": extension.extendee.removeprefix("."), "file": file.name}
        for file in FILES.values()
        for extension in file.extension
    ]
    for extension in compiled:
        extension["name"] = f"gitaly.{extension['name']}"
        extension.pop("json_name", None)
    by_number = {extension["number"]: extension for extension in compiled}
    assert len(by_number) == len(compiled)
    assert by_number == {extension["number"]: extension for extension in TABLE["extensions"]}


def _services() -> dict[str, tuple[str, descriptor_pb2.ServiceDescriptorProto]]:
    return {service.name: (file.name, service) for file in FILES.values() for service in file.service}


def test_services_equal_the_table() -> None:
    services = _services()
    assert set(services) == {service["name"] for service in TABLE["services"]}
    for wanted in TABLE["services"]:
        file, service = services[wanted["name"]]
        assert file == wanted["file"]
        assert service.options.Extensions[lint_pb2.intercepted] == wanted["intercepted"]
        assert [method.name for method in service.method] == [method["name"] for method in wanted["methods"]]


@pytest.mark.parametrize("service", TABLE["services"], ids=lambda service: service["name"])
def test_methods_equal_the_table(service: dict[str, Any]) -> None:
    compiled = {method.name: method for method in _services()[service["name"]][1].method}
    for wanted in service["methods"]:
        method = compiled[wanted["name"]]
        operation = method.options.Extensions[lint_pb2.op_type]
        declared = method.options.HasExtension(lint_pb2.op_type)
        assert {
            "request": method.input_type.removeprefix("."),
            "response": method.output_type.removeprefix("."),
            "client_streaming": method.client_streaming,
            "server_streaming": method.server_streaming,
            "operation": lint_pb2.OperationMsg.Operation.Name(operation.op).lower() if declared else None,
            "scope": lint_pb2.OperationMsg.Scope.Name(operation.scope_level).lower() if declared else None,
            "deprecated": method.options.deprecated,
        } == {
            key: wanted[key]
            for key in (
                "request",
                "response",
                "client_streaming",
                "server_streaming",
                "operation",
                "scope",
                "deprecated",
            )
        }


def test_generating_again_gives_the_committed_code(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools compiles the protos")
    subprocess.run([ROOT / "scripts/generate-protos", sys.executable, tmp_path], check=True)
    committed = ROOT / "src/praefect/proto"
    names = {path.name for path in committed.iterdir() if path.suffix in {".py", ".pyi"}} - {"__init__.py"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_text() == (committed / name).read_text(), name


_TOGETHER = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from grpc_health.v1 import health_pb2 as theirs
from praefect.proto import health_pb2 as ours
theirs.HealthCheckRequest.FromString(ours.HealthCheckRequest(service="x").SerializeToString())
"""


@pytest.mark.parametrize("ours_first", [True, False])
def test_descriptors_of_the_grpcio_packages_load_beside_ours(*, ours_first: bool) -> None:
    for package in ("grpc_health", "grpc_reflection", "google.rpc"):
        pytest.importorskip(package)
    ours = [f"praefect.proto.{module}" for module in sorted(FOREIGN)]
    theirs = ["grpc_health.v1.health_pb2", "grpc_reflection.v1alpha.reflection_pb2", "google.rpc.status_pb2"]
    order = [*ours, *theirs] if ours_first else [*theirs, *ours]
    subprocess.run([sys.executable, "-c", _TOGETHER, *order], check=True)
