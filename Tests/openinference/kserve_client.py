"""kserve_client.py ADDRESS EXPECTED.json: KServe's own client, unmodified, against a server that runs.

EXPECTED.json holds rows for the model `sums`, columns for the model `orders`, and what the binary protocol answers:
KServe's package wants dependencies of its own.
"""

import asyncio
import json
import logging
import sys

import httpx
import numpy
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

failures = []


def expect(holds, what, found=""):
    print(f"{'ok     ' if holds else 'FAILED '} KServe: {what}" + ("" if holds else f": found {found!r}"))
    if not holds:
        failures.append(what)


def tensor(name, array, kind, binary):
    made = InferInput(name=name, shape=list(array.shape), datatype=kind)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


async def check(base, expected):
    rows = numpy.array(expected["rows"], dtype=numpy.float32)
    wanted = numpy.array(expected["prediction"], dtype=numpy.float32)
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=10)) as client:
        expect(await client.is_server_live(base) and await client.is_server_ready(base), "live and ready")
        expect(await client.is_model_ready(base, "sums"), "a model is ready")
        expect(not await client.is_model_ready(base, "none"), "a model that does not exist is not ready")
        for binary_in in (False, True):
            for binary_out in (False, True):
                request = InferRequest(
                    model_name="sums",
                    request_id="r1",
                    infer_inputs=[tensor("features", rows, "FP32", binary_in)],
                    request_outputs=[RequestedOutput("prediction", {"binary_data": binary_out})],
                )
                answer = await client.infer(base, request, model_name="sums")
                found = answer.outputs[0].as_numpy().astype(numpy.float32)
                same = found.tobytes() == wanted.tobytes() and answer.id == "r1"
                expect(same, f"the same bits, bytes in {binary_in}, bytes out {binary_out}", answer)

        shops = numpy.array(expected["shop"], dtype=object)
        sizes = numpy.array(expected["size"], dtype=numpy.float32)
        for binary in (False, True):
            inputs = [tensor("shop", shops, "BYTES", binary), tensor("size", sizes, "FP32", binary)]
            answer = await client.infer(base, InferRequest("orders", inputs), model_name="orders")
            outputs = {output.name: output for output in answer.outputs}
            labels = [v.decode() if isinstance(v, bytes) else v for v in outputs["label"].data]
            expect(labels == expected["label"], f"text in and labels out, as bytes {binary}", labels[:3])

        request = InferRequest("sums", [tensor("features", rows[:, :5], "FP32", False)])
        try:
            await client.infer(base, request, model_name="sums")
            expect(False, "an error that says what was expected")
        except httpx.HTTPStatusError as error:
            expect("expected 6 columns" in str(error), "an error that says what was expected", str(error))
        many = [client.infer(base, InferRequest("sums", [tensor("features", rows, "FP32", True)]), model_name="sums")
                for _ in range(32)]  # fmt: skip
        found = {answer.outputs[0].as_numpy().astype(numpy.float32).tobytes() for answer in await asyncio.gather(*many)}
        expect(found == {wanted.tobytes()}, "32 calls at once")


logging.disable(logging.CRITICAL)  # The client logs the errors that are expected here.
with open(sys.argv[2], encoding="utf-8") as file:
    asyncio.run(check(f"http://{sys.argv[1]}", json.load(file)))
sys.exit(bool(failures))
