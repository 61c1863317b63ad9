"""The FastAPI peer: one worker, uvloop and httptools, ONNX Runtime inside. `fastapi_peer.py MODEL PORT`."""

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Rows(BaseModel):
    x: list[list[float]]


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
app = FastAPI()


@app.post("/predict")
async def predict(rows: Rows) -> dict[str, list[list[float]]]:
    return {"y": session.run(None, {"x": np.array(rows.x, dtype=np.float32)})[0].tolist()}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), loop="uvloop", http="httptools", log_level="error")
