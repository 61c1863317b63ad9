#!/usr/bin/env python3
"""Writes the golden vectors: frames as Google's protobuf encodes them, and an index of what they mean.

    proto/golden/make.py [DIRECTORY]      default: where this script lies

Needs `protoc` and the package `protobuf`; Tests/proto/run makes an environment for it.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

PROTO = pathlib.Path(__file__).resolve().parent.parent


def message_classes():
    """The classes of the schema, without generated code, so that any version of the package will do."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "set.binpb"
        subprocess.run(
            ["protoc", f"-I{PROTO}", f"--descriptor_set_out={path}", "needletail/v1/inference.proto"], check=True
        )
        files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    names = ["Request", "Response"]
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"needletail.v1.{n}")) for n in names]


Request, Response = message_classes()


def frame(payload):
    return struct.pack(">I", len(payload)) + payload


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def integers(*values):
    return struct.pack(f"<{len(values)}q", *values)


def tensor(name, kind, shape, data=b"", strings=()):
    return {"name": name, "type": kind, "shape": shape, "data": data, "strings": list(strings)}


U64, U32 = 2**64 - 1, 2**32 - 1

VERSION_LIVE = {
    "version": 2,
    "state": "LIVE",
    "digest": "ab" * 32,
    "signer": "release-2026",
    "since_ms": 1_790_000_000_000,
    "resident_bytes": 123_456,
    "traffic": {
        "requests": U64,
        "failed": 3,
        "rows": 4_000_000_000,
        "recent_requests": 60_000,
        "recent_failed": 1,
        "recent_rows": 61_000,
        "window_ms": 60_000,
        "share_ppm": 950_000,
        "p50_us": 42,
        "p99_us": U32,
    },
}
VERSION_REJECTED = {"version": 3, "state": "REJECTED", "reason": "bad_hash: section 2: SHA-256 differs"}
MODEL = {"model": "wine", "serving_version": 2, "versions": [VERSION_REJECTED, VERSION_LIVE]}

REQUESTS = {
    "predict-dense": dict(
        id=1,
        timeout_us=5000,
        predict=dict(
            model="digits", inputs=[tensor("features", "FLOAT32", [2, 3], floats(0.5, -1.25, 3, 0, 1e-3, 65504))]
        ),
    ),
    "predict-columns": dict(
        id=2,
        predict=dict(
            model="wine",
            version=7,
            outputs=["label", "probabilities"],
            routing_key="user-42",
            inputs=[
                tensor("alcohol", "FLOAT64", [2], struct.pack("<2d", 13.2, 12.1)),
                tensor("year", "INT64", [2, 1], integers(1999, -1)),
                tensor("organic", "BOOL", [2], b"\x01\x00"),
                tensor("colour", "STRING", [2], strings=[b"red", b""]),
            ],
        ),
    ),
    "predict-bulk": dict(
        id=4, predict=dict(model="digits", priority="BULK", inputs=[tensor("features", "FLOAT32", [1, 1], floats(2))])
    ),
    "predict-label": dict(
        id=300,
        predict=dict(
            model="a-model",
            label="canary",
            inputs=[tensor("features", "STRING", [1, 2], strings=[b"1.5", "größe".encode()])],
        ),
    ),
    "predict-version-zero": dict(id=4, predict=dict(model="m", version=0)),
    "predict-label-empty": dict(id=5, predict=dict(model="m", label="")),
    "predict-empty": dict(id=6, predict={}),
    "predict-nul-in-names": dict(
        id=7,
        predict=dict(
            model="wine\0x", label="a\0b", outputs=["label\0"], inputs=[tensor("alcohol\0", "FLOAT32", [1], floats(1))]
        ),
    ),
    "predict-extremes": dict(
        id=U64,
        timeout_us=U32,
        predict=dict(
            model="m" * 128,
            version=U64,
            inputs=[
                tensor(
                    "features",
                    "FLOAT32",
                    [1, 6],
                    floats(float("nan"), float("inf"), float("-inf"), -0.0, 3.4028234e38, 1e-45),
                )
            ],
        ),
    ),
    "predict-rank-eight": dict(
        id=8, predict=dict(model="m", inputs=[tensor("x", "UINT8", [1] * 7 + [U64]), tensor("y", "INT8", [1], b"\xff")])
    ),
    "health": dict(id=10, health={}),
    "metrics": dict(id=11, timeout_us=1, metrics={}),
    "list-models": dict(id=12, list_models={}),
    "describe-model": dict(id=13, describe_model=dict(model="wine")),
    "describe-model-version": dict(id=14, describe_model=dict(model="wine", version=2)),
    "describe-model-label": dict(id=15, describe_model=dict(model="wine", label="stable")),
    "events": dict(id=18, events=dict(after=U64, limit=U32)),
    "events-all": dict(id=19, events={}),
    "rollout": dict(id=20, rollout=dict(model="wine")),
    "rollout-undo": dict(id=21, rollout=dict(model="wine", action="ROLLOUT_UNDO")),
    "rollout-undo-from": dict(id=22, rollout=dict(model="wine", action="ROLLOUT_UNDO", from_version=U64, force=True)),
    "authenticate": dict(id=16, authenticate=dict(api_key="secret")),
    "no-call": dict(id=17),
    "server-info": dict(id=23, server_info={}),
    "predict-key": dict(id=29, predict=dict(model="wine", routing_key="user-42", key="order-8812")),
    "feedback": dict(
        id=30,
        feedback=dict(
            model="wine",
            outcomes=[
                dict(key="order-8812", label="größe"),
                dict(key="order-8813", row=U32, value=0.0),
                dict(key="order-8814", row=1, value=-1.25),
                dict(key="order-8815", label=""),
            ],
        ),
    ),
}

STATUSES = [
    ("INVALID_ARGUMENT", "features: expected shape [rows, 13], found [2, 12]"),
    ("NOT_FOUND", 'model "vine": not found, did you mean "wine"?'),
    ("UNAUTHENTICATED", "authenticate first"),
    ("PERMISSION_DENIED", 'this key may not predict with "wine"'),
    ("DEADLINE_EXCEEDED", "budget of 5000 µs spent before the call ran"),
    ("OVERLOADED", "queue full: 512 of 512"),
    ("UNAVAILABLE", "the server is stopping"),
    ("INTERNAL", "the plan failed"),
    ("UNIMPLEMENTED", "unknown call"),
]

RESPONSES = {
    "predict-answer": dict(
        id=1,
        predict=dict(
            model="wine",
            version=2,
            outputs=[
                tensor("probabilities", "FLOAT32", [2, 3], floats(0.1, 0.2, 0.7, 1, 0, 0)),
                tensor("class", "INT64", [2], integers(2, 0)),
                tensor("label", "STRING", [2], strings=[b"barolo", b"barbera"]),
            ],
            timing=dict(queue_us=12, compute_us=340, batch_rows=5),
        ),
    ),
    "predict-answer-regression": dict(
        id=U64,
        predict=dict(
            model="diabetes",
            version=U64,
            outputs=[tensor("prediction", "FLOAT32", [1], floats(151.5))],
            timing=dict(queue_us=U32, compute_us=U32, batch_rows=U32),
        ),
    ),
    "predict-answer-no-time": dict(id=3, predict=dict(model="m", version=1, timing={})),
    "health-answer": dict(id=10, health=dict(live=True, ready=True, models=[MODEL])),
    "health-answer-default": dict(id=10, health={}),
    "metrics-answer": dict(id=11, metrics=dict(text='# HELP a b\n# TYPE a counter\na{model="ü"} 1\n')),
    "list-models-answer": dict(
        id=12,
        list_models=dict(
            models=[MODEL, dict(model="empty")], problems=[dict(path="wine/007.ntb", reason="not a version")]
        ),
    ),
    "describe-model-answer": dict(
        id=13,
        describe_model=dict(
            model="wine",
            version=2,
            state="LIVE",
            task="classification",
            inputs=[
                dict(name="alcohol", type="FLOAT32", shape=[0], optional=True, description="per cent by volume"),
                dict(name="colour", type="STRING", shape=[0], categories=["red", "", "white"]),
            ],
            outputs=[
                dict(name="probabilities", type="FLOAT32", shape=[0, 3]),
                dict(name="label", type="STRING", shape=[0]),
            ],
            labels=["barolo", "grignolino", "barbera"],
            digest="cd" * 32,
            signer="release-2026",
            created_ms=1_790_000_000_000,
            metrics={"accuracy": 0.975, "bias": 0.0, "log_loss": -1e-300},
            lineage={"seed": "7", "parent": ""},
            precision="int8",
            isa="avx2",
            resident_bytes=4096,
            plan=["quantise 13", "dense 13→3"],
            status=VERSION_LIVE,
            plan_choice="int8 on avx2: 1.2 µs for 1 row; fp32 on avx2: 1.9 µs for 1 row",
            value_rules=dict(missing=["NA", "?", "-999"]),
        ),
    ),
    # Rules without a word differ from no rules.
    "describe-model-answer-no-words": dict(id=13, describe_model=dict(value_rules={})),
    "describe-model-answer-default": dict(id=13, describe_model={}),
    "events-answer": dict(
        id=18,
        events=dict(
            oldest=7,
            newest=U64,
            began_ms=1_790_000_000_000,
            events=[
                dict(
                    sequence=7,
                    time_ms=1_790_000_001_234,
                    kind="version",
                    severity="warning",
                    message="model version rejected",
                    model="wine",
                    version=3,
                    facts=[dict(name="state", value="rejected"), dict(name="reason", value="<b>\u202e\0")],
                ),
                dict(sequence=8, kind="server", severity="notice", facts=[dict(name="empty")]),
                {},
            ],
        ),
    ),
    "events-answer-default": dict(id=19, events={}),
    "rollout-answer": dict(
        id=20,
        rollout=dict(
            model="wine",
            serving_version=3,
            arms=[
                dict(
                    version=4,
                    labels=["canary", "next"],
                    share_ppm=50_000,
                    requests=U64,
                    failed=3,
                    rows=9,
                    nan_outputs=1,
                    compute_ns=12_345,
                ),
                dict(version=3, labels=["stable"], share_ppm=950_000),
                {},
            ],
            set_aside=[dict(version=5, cause="guard_nan", reason='nan_rate: "0"', since_ms=1_790_000_000_000), {}],
            shadow=dict(version=4, rows=U64, flips=2, skipped=7, nan_outputs=1, max_difference=1e-300, compute_ns=9),
            file="serve: 3\n",
            problem="rollout.yaml:1: not YAML",
            durable=True,
        ),
    ),
    "rollout-answer-default": dict(id=21, rollout=dict(shadow={})),
    "rollout-answer-labels": dict(
        id=22,
        rollout=dict(
            model="wine",
            serving_version=3,
            shadow=dict(version=4, problem='no rows of version 3: feature "x"'),
            state_problem="rollout.json: no space left on device",
            labels=[
                dict(name="canary", version=4, state="REJECTED", reason='golden sample "0"'),
                dict(name="stable", version=3, answering_version=3, state="LIVE"),
                {},
            ],
        ),
    ),
    "server-info-answer": dict(
        id=23,
        server_info=dict(
            name="needletail",
            version="1.2.3",
            isa="avx2",
            features=["bulk", "error_detail", ""],
            limits=dict(
                request_bytes_max=16 << 20,
                answer_bytes_max=64 << 20,
                rows_max=4096,
                calls_in_flight_max=4095,
                other_calls_in_flight_max=16,
                tensors_max=16_384,
                dimensions_max=8,
                output_names_max=63,
                routing_key_bytes_max=256,
                text_bytes_max=65_535,
                output_bytes_max=U64,
                idle_ms=300_000,
            ),
        ),
    ),
    "server-info-answer-default": dict(id=24, server_info=dict(limits={})),
    "feedback-answer": dict(
        id=30,
        feedback=dict(
            joined=1,
            unknown=2,
            late=3,
            duplicate=4,
            contradictory=5,
            invalid=U32,
            problems=[dict(index=1, result="unknown", message="outcomes[1]: expected a name"), {}],
        ),
    ),
    "feedback-answer-default": dict(id=31, feedback={}),
    # Details of an error: of a cell of the first row, of another row, of a limit, and of nothing.
    "status-detail-first-row": dict(
        id=25,
        status=dict(
            code="INVALID_ARGUMENT",
            message='feature "größe", row 0: expected a value, found none',
            detail=dict(field="größe", row=0),
        ),
    ),
    "status-detail-row": dict(id=26, status=dict(code="INVALID_ARGUMENT", message="row 9, text", detail=dict(row=U64))),
    "status-detail-limit": dict(
        id=27,
        status=dict(
            code="INVALID_ARGUMENT",
            message='input "features": expected at most 4096 rows, found 4097',
            detail=dict(field="features", limit=dict(name="rows_max", maximum=4096, found=4097)),
        ),
    ),
    "status-detail-overloaded": dict(
        id=28,
        status=dict(
            code="OVERLOADED",
            message="16 in flight",
            retry_after_us=10_000,
            detail=dict(limit=dict(name="other_calls_in_flight_max", maximum=U64)),
        ),
    ),
    "authenticate-answer": dict(id=16, authenticate=dict(principal="ci")),
    "go-away": dict(go_away=dict(last_id=41)),
    "go-away-zero": dict(go_away={}),
    "error-without-id": dict(status=dict(code="INVALID_ARGUMENT", message="Request: byte 0 of 1: number cut off")),
}
for code, text in STATUSES:
    name = "status-" + code.lower().replace("_", "-")
    retry = {"retry_after_us": 2500} if code == "OVERLOADED" else {}
    RESPONSES[name] = dict(id=99, status=dict(code=code, message=text, **retry))

HEALTH = Request(id=10, health={}).SerializeToString()
PREDICT = Request(**REQUESTS["predict-columns"]).SerializeToString(deterministic=True)

# Unknown fields of every wire type, at every level: ignored.
UNKNOWN = b"\xa2\x06\x03abc" + b"\xa8\x06\x96\x01" + b"\xb1\x06" + b"\0" * 8 + b"\xbd\x06" + b"\0" * 4


def delimited(number, payload):
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


# Valid, but not as an encoder would write them: what a decoder has to make of them.
UNUSUAL = {
    "unknown-fields": (
        UNKNOWN
        + b"\x08\x09"
        + delimited(
            3,
            UNKNOWN
            + delimited(1, b"m")
            + delimited(
                4, UNKNOWN + delimited(1, b"x") + b"\x10\x01" + delimited(3, b"\x01") + delimited(4, floats(1))
            ),
        )
        + UNKNOWN
    ),
    "unknown-call": b"\x08\x09" + delimited(15, b"\x08\x01"),
    "known-field-wrong-wire-type": b"\x08\x09" + b"\x18\x01" + delimited(1, b"zz"),
    "unknown-data-type": b"\x08\x09" + delimited(3, delimited(4, delimited(1, b"x") + b"\x10\x63")),
    "shape-not-packed": b"\x08\x09" + delimited(3, delimited(4, delimited(1, b"x") + b"\x10\x01\x18\x02\x18\x03")),
    "last-call-wins": b"\x08\x09" + delimited(3, delimited(1, b"m")) + delimited(4, b""),
    "split-call-is-merged": (
        b"\x08\x09"
        + delimited(3, delimited(1, b"m") + delimited(5, b"a"))
        + delimited(3, b"\x10\x07" + delimited(5, b"b"))
    ),
    "call-cleared-between": (
        b"\x08\x09"
        + delimited(3, delimited(1, b"m") + delimited(5, b"a"))
        + delimited(4, b"")
        + delimited(3, delimited(5, b"b"))
    ),
    "last-selector-wins": b"\x08\x09" + delimited(3, delimited(3, b"canary") + b"\x10\x07"),
    "fields-out-of-order": delimited(3, delimited(1, b"m")) + b"\x10\x05" + b"\x08\x09",
    "varint-overlong": b"\x08\x89\x80\x80\x00" + delimited(4, b""),
}

# NAME: (bytes, reaction of a server, why).
MALFORMED = {
    "frame-length-zero": (b"\0\0\0\0", "close", "a frame holds at least one byte"),
    "frame-length-beyond-maximum": (b"\x04\0\0\x01", "close", "64 MiB and 1: refused at byte four"),
    "frame-is-http": (b"GET / HTTP/1.1\r\n\r\n", "close", "read as a length, `GET ` is 1.2 GB"),
    "frame-is-tls": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "close", "a TLS ClientHello"),
    "frame-cut-short": (frame(HEALTH)[:-1], "wait", "the rest may still arrive; silence is a stalled peer"),
    "request-garbage": (frame(b"\xff" * 12), "INVALID_ARGUMENT", "id 0: nothing could be read"),
    "request-field-number-zero": (frame(b"\x08\x09\x02\x00"), "INVALID_ARGUMENT", "the id before it is found"),
    "request-length-beyond-end": (frame(b"\x08\x09\x1a\x05m"), "INVALID_ARGUMENT", "field 3 claims 5 bytes of 1"),
    "request-length-huge": (
        frame(b"\x08\x09\x1a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        "INVALID_ARGUMENT",
        "a length of 2^63 - 1",
    ),
    "request-varint-cut": (frame(b"\x08\x09\x10\x80"), "INVALID_ARGUMENT", "a number without its last byte"),
    "request-varint-too-long": (frame(b"\x08\x09\x10" + b"\x80" * 10 + b"\0"), "INVALID_ARGUMENT", "11 bytes"),
    "request-group": (frame(b"\x08\x09\xa3\x06\xa4\x06"), "INVALID_ARGUMENT", "proto3 has no groups"),
    "request-predict-cut": (
        frame(b"\x08\x09" + delimited(3, delimited(4, b"\x0a\x05x"))),
        "INVALID_ARGUMENT",
        "fault inside a tensor",
    ),
    "request-shape-cut": (
        frame(b"\x08\x09" + delimited(3, delimited(4, delimited(3, b"\x80")))),
        "INVALID_ARGUMENT",
        "fault in a shape",
    ),
    "request-rank-nine": (
        frame(b"\x08\x09" + delimited(3, delimited(4, delimited(3, b"\x01" * 9)))),
        "INVALID_ARGUMENT",
        "at most 8 dimensions",
    ),
}


def build(cls, fields):
    return cls(**fields)


def as_json(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def main():
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    index = []

    def write(name, data, **entry):
        (directory / f"{name}.bin").write_bytes(data)
        index.append({"name": name, **entry})

    for kind, cls, vectors in (("request", Request, REQUESTS), ("response", Response, RESPONSES)):
        for name, fields in vectors.items():
            message = build(cls, fields)
            write(
                name,
                frame(message.SerializeToString(deterministic=True)),
                kind=kind,
                canonical=True,
                message=as_json(message),
            )
    for name, payload in UNUSUAL.items():
        write(name, frame(payload), kind="request", canonical=False, message=as_json(Request.FromString(payload)))
    for name, (data, reaction, why) in MALFORMED.items():
        write(name, data, kind="malformed", reaction=reaction, why=why)
    two = frame(HEALTH) + frame(PREDICT)
    write("two-frames", two, kind="stream", frames=["health", "predict-columns"])
    text = json.dumps(index, indent=1, ensure_ascii=False, sort_keys=False)
    (directory / "index.json").write_text(text + "\n", encoding="utf-8")


main()
