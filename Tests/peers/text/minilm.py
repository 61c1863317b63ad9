"""MiniLM for the peers, from its safetensors: as ONNX with the patterns that PyTorch exports, and for CTranslate2.

Texts that stand alone are all of token type 0, whose row is added to each position here, as in a bundle.
"""

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

HEADS, LAYERS, EPSILON = 12, 6, 1e-12


def weights(folder: Path) -> dict[str, np.ndarray]:
    tensors = {name: value.astype(np.float32) for name, value in load_file(folder / "model.safetensors").items()}
    tensors["embeddings.position_embeddings.weight"] += tensors["embeddings.token_type_embeddings.weight"][0]
    return tensors


class Graph:
    """A graph of ONNX that grows node by node."""

    def __init__(self, tensors: dict[str, np.ndarray]):
        self.tensors, self.nodes, self.constants = tensors, [], {}

    def constant(self, value, kind=np.float32) -> str:
        array = np.asarray(value, dtype=kind)
        name = f"constant {len(self.constants)}"
        self.constants[name] = array
        return name

    def weight(self, name: str, transposed: bool = False) -> str:
        array = self.tensors[name]
        self.constants[name] = np.ascontiguousarray(array.T) if transposed else array
        return name

    def add(self, kind: str, *inputs: str, **attributes) -> str:
        name = f"{kind} {len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def dense(self, name: str, value: str) -> str:
        product = self.add("MatMul", value, self.weight(f"{name}.weight", transposed=True))
        return self.add("Add", product, self.weight(f"{name}.bias"))

    def norm(self, name: str, value: str) -> str:
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", value, scale, bias, axis=-1, epsilon=EPSILON)


def attention(graph: Graph, start: str, state: str, mask: str, width: int) -> str:
    shape = graph.constant([0, 0, HEADS, width // HEADS], np.int64)
    parts = []
    for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        split = graph.add("Reshape", graph.dense(f"{start}.self.{part}", state), shape)
        parts.append(graph.add("Transpose", split, perm=order))
    scores = graph.add("MatMul", parts[0], parts[1])
    scores = graph.add("Div", scores, graph.constant(math.sqrt(width // HEADS)))
    shares = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
    joined = graph.add("Transpose", graph.add("MatMul", shares, parts[2]), perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", joined, graph.constant([0, 0, width], np.int64))
    added = graph.add("Add", graph.dense(f"{start}.output.dense", joined), state)
    return graph.norm(f"{start}.output.LayerNorm", added)


def layer(graph: Graph, start: str, state: str, mask: str, width: int) -> str:
    state = attention(graph, f"{start}.attention", state, mask, width)
    inner = graph.dense(f"{start}.intermediate.dense", state)
    curve = graph.add("Erf", graph.add("Div", inner, graph.constant(math.sqrt(2))))
    curve = graph.add("Mul", inner, graph.add("Add", curve, graph.constant(1)))
    curve = graph.add("Mul", curve, graph.constant(0.5))
    added = graph.add("Add", graph.dense(f"{start}.output.dense", curve), state)
    return graph.norm(f"{start}.output.LayerNorm", added)


def pooled(graph: Graph, state: str, mask: str) -> str:
    """The mean over the tokens that are none of the padding, of length one."""
    share = graph.add("Cast", graph.add("Unsqueeze", mask, graph.constant([2], np.int64)), to=TensorProto.FLOAT)
    axis = graph.constant([1], np.int64)
    total = graph.add("ReduceSum", graph.add("Mul", state, share), axis, keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", share, axis, keepdims=0))
    length = graph.add("Sqrt", graph.add("ReduceSum", graph.add("Mul", mean, mean), axis, keepdims=1))
    return graph.add("Div", mean, length)


def write_onnx(folder: Path, path: Path) -> None:
    """Inputs `input_ids` and `attention_mask` of [batch, tokens]; output `embedding` of [batch, width]."""
    graph = Graph(weights(folder))
    width = graph.tensors["embeddings.word_embeddings.weight"].shape[1]
    ids, mask = "input_ids", "attention_mask"
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), ids, axis=0)
    count = graph.add("Slice", graph.add("Shape", ids), *(graph.constant([n], np.int64) for n in (1, 2)))
    begin = graph.constant([0], np.int64)
    places = graph.add("Slice", graph.weight("embeddings.position_embeddings.weight"), begin, count, begin)
    state = graph.norm("embeddings.LayerNorm", graph.add("Add", words, places))
    wide = graph.add(
        "Unsqueeze", graph.add("Unsqueeze", mask, graph.constant([1], np.int64)), graph.constant([2], np.int64)
    )
    wide = graph.add("Sub", graph.constant(1), graph.add("Cast", wide, to=TensorProto.FLOAT))
    wide = graph.add("Mul", wide, graph.constant(-10000))
    for index in range(LAYERS):
        state = layer(graph, f"encoder.layer.{index}", state, wide, width)
    graph.nodes[-1].output[0] = "hidden"
    answer = pooled(graph, "hidden", mask)
    graph.nodes.append(helper.make_node("Identity", [answer], ["embedding"]))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in (ids, mask)]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])]
    constants = [numpy_helper.from_array(value, name) for name, value in graph.constants.items()]
    made = helper.make_graph(graph.nodes, "minilm", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_ctranslate2(folder: Path, path: Path, tokens: list[str]) -> None:
    """The body alone: tokens are pooled by who asks."""
    from ctranslate2.specs import common_spec, transformer_spec

    tensors = weights(folder)

    def linear(spec, name):
        spec.weight, spec.bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]

    def norm(spec, name):
        spec.gamma, spec.beta = tensors[f"{name}.weight"], tensors[f"{name}.bias"]

    encoder = transformer_spec.TransformerEncoderSpec(
        LAYERS, HEADS, pre_norm=False, activation=common_spec.Activation.GELU, layernorm_embedding=True
    )
    model = transformer_spec.TransformerEncoderModelSpec(encoder)
    encoder.scale_embeddings = False
    # An encoder of one table of tokens has a list of it all the same in some versions.
    table = encoder.embeddings[0] if isinstance(encoder.embeddings, list) else encoder.embeddings
    table.weight = tensors["embeddings.word_embeddings.weight"]
    encoder.position_encodings.encodings = tensors["embeddings.position_embeddings.weight"]
    norm(encoder.layernorm_embedding, "embeddings.LayerNorm")
    for index, spec in enumerate(encoder.layer):
        start = f"encoder.layer.{index}"
        parts = [f"{start}.attention.self.{part}" for part in ("query", "key", "value")]
        joined = spec.self_attention.linear[0]
        joined.weight = np.concatenate([tensors[f"{part}.weight"] for part in parts])
        joined.bias = np.concatenate([tensors[f"{part}.bias"] for part in parts])
        linear(spec.self_attention.linear[1], f"{start}.attention.output.dense")
        norm(spec.self_attention.layer_norm, f"{start}.attention.output.LayerNorm")
        linear(spec.ffn.linear_0, f"{start}.intermediate.dense")
        linear(spec.ffn.linear_1, f"{start}.output.dense")
        norm(spec.ffn.layer_norm, f"{start}.output.LayerNorm")
    model.register_vocabulary(tokens)
    model.config.unk_token = "[UNK]"
    model.config.layer_norm_epsilon = EPSILON
    model.validate()
    model.optimize(quantization="int8")
    path.mkdir()
    model.save(str(path))
