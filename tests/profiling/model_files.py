"""`.tflite` files as others make them, for tests: any operator, any type, custom ones, open shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Made:
    """A tensor of a made-up file: constants have `data`."""

    shape: Shape
    type: str = "FLOAT32"
    data: bytes = b""
    signature: Shape = ()


@dataclass(frozen=True)
class Op:
    """An operator of one; `code` may be `CUSTOM:NAME`."""

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


def constant(shape: Shape, kind: str = "FLOAT32", size: int = 4) -> Made:
    """A constant of zeros."""
    count = size
    for each in shape:
        count *= each
    return Made(shape, kind, bytes(count))


def model_file(tensors: list[Made], operators: list[Op], inputs: tuple[int, ...], outputs: tuple[int, ...]) -> bytes:
    """The bytes of a model."""
    model = schema.ModelT()
    model.version, model.description, model.buffers, model.operatorCodes = 3, "made up", [schema.BufferT()], []
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    for index, made in enumerate(tensors):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = f"tensor{index}", list(made.shape), 0
        tensor.type = getattr(schema.TensorType, made.type)
        tensor.shapeSignature = list(made.signature) or None
        if made.data:
            buffer = schema.BufferT()
            buffer.data = list(made.data)
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
    codes = list(dict.fromkeys(each.code for each in operators))
    for name in codes:
        code = schema.OperatorCodeT()
        kind, _, custom = name.partition(":")
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = custom or None
        model.operatorCodes.append(code)
    for each in operators:
        operator = schema.OperatorT()
        operator.opcodeIndex = codes.index(each.code)
        operator.inputs, operator.outputs = list(each.inputs), list(each.outputs)
        if each.options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, each.options)
            operator.builtinOptions = getattr(schema, f"{each.options}T")()
            for name, value in each.fields.items():
                setattr(operator.builtinOptions, name, value)
        graph.operators.append(operator)
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
