"""The committed message classes are those of the schema."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from needletail.v1 import inference_pb2 as pb

PROTO = Path(__file__).resolve().parents[3] / "proto"


@pytest.mark.skipif(shutil.which("protoc") is None, reason="needs protoc")
def test_message_classes_agree_with_the_schema(tmp_path: Path) -> None:
    output = tmp_path / "schema.binpb"
    subprocess.run(
        ["protoc", f"-I{PROTO}", f"--descriptor_set_out={output}", "needletail/v1/inference.proto"], check=True
    )
    [expected] = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file
    found = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(found)
    # protoc fills in the names that JSON uses; the runtime leaves them out.
    for message in (expected, found):
        _without_json_names(message)
    assert found == expected, (
        "regenerate: protoc -Iproto --python_out=clients/python/src --pyi_out=clients/python/src "
        "needletail/v1/inference.proto"
    )


def _without_json_names(file: descriptor_pb2.FileDescriptorProto) -> None:
    pending = list(file.message_type)
    while pending:
        message = pending.pop()
        pending += message.nested_type
        for field in message.field:
            field.ClearField("json_name")
