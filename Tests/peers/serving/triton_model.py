"""The model of the Triton peer, for its Python backend: ONNX Runtime inside."""

import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, _arguments: object) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list) -> list:
        # The requests of one execution are one batch, as in Needletail.
        rows = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        answers = self.session.run(None, {"x": np.concatenate(rows)})[0]
        pieces = np.split(answers, np.cumsum([len(each) for each in rows])[:-1])
        return [triton.InferenceResponse([triton.Tensor("y", piece)]) for piece in pieces]
