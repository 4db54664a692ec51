"""Network and weights -> the bytes of a `.tflite` file.

The flatbuffer is written directly with the schema's bindings; no converter is involved. The same network and weights
give the same bytes: nothing in them depends on time, dictionary order or the names of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from profiling.network import Network, Shape
from profiling.tflite_graph import Graph, Operator, Options, Tensor, build_graph
from profiling.weights import Weights

_FILE_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_ALIGNMENT = 16  # of constant data, as the runtime's kernels want it
_TABLE_SIZE_GUESS = 512  # bytes a tensor or an operator takes; a wrong guess costs a copy, nothing else


def emit(network: Network, weights: Weights) -> bytes:
    """The `.tflite` file of a network, batch-norm already folded into the weights.

    Raises:
        ValueError: The weights are not the network's (`profiling.weights.check_weights`).
    """
    return _Writer(build_graph(network, weights)).file()


class _Writer:
    """Writes a graph as a flatbuffer: a table's vectors, strings and sub-tables go before the table."""

    def __init__(self, graph: Graph) -> None:
        tables = len(graph.tensors) + len(graph.operators) + len(graph.buffers)
        size = sum(len(data) + _ALIGNMENT for data in graph.buffers) + _TABLE_SIZE_GUESS * (tables + 1)
        self._graph = graph
        self._builder = flatbuffers.Builder(size)
        self._written: dict[Shape | Options, int] = {}  # equal shapes and equal options are written once

    def file(self) -> bytes:
        """The whole file."""
        builder, graph = self._builder, self._graph
        buffers = self._vector([self._buffer(data) for data in graph.buffers])
        codes = sorted({operator.code for operator in graph.operators})
        subgraphs = self._vector([self._subgraph(codes)])
        operator_codes = self._vector([self._operator_code(code) for code in codes])
        signatures = self._vector([self._signature()])
        description = builder.CreateString("DeviceNAG")
        schema.ModelStart(builder)
        schema.ModelAddVersion(builder, _SCHEMA_VERSION)
        schema.ModelAddOperatorCodes(builder, operator_codes)
        schema.ModelAddSubgraphs(builder, subgraphs)
        schema.ModelAddDescription(builder, description)
        schema.ModelAddBuffers(builder, buffers)
        schema.ModelAddSignatureDefs(builder, signatures)
        builder.Finish(schema.ModelEnd(builder), _FILE_IDENTIFIER)
        return bytes(memoryview(builder.Bytes)[builder.Head() :])

    def _subgraph(self, codes: Sequence[str]) -> int:
        builder, graph = self._builder, self._graph
        tensors = self._vector([self._tensor(tensor) for tensor in graph.tensors])
        operators = self._vector([self._operator(operator, codes) for operator in graph.operators])
        inputs, outputs = self._ints((graph.input,)), self._ints((graph.output,))
        name = builder.CreateString("main")
        schema.SubGraphStart(builder)
        schema.SubGraphAddTensors(builder, tensors)
        schema.SubGraphAddInputs(builder, inputs)
        schema.SubGraphAddOutputs(builder, outputs)
        schema.SubGraphAddOperators(builder, operators)
        schema.SubGraphAddName(builder, name)
        return int(schema.SubGraphEnd(builder))

    def _tensor(self, tensor: Tensor) -> int:
        builder = self._builder
        shape, name = self._ints(tensor.shape), builder.CreateString(tensor.name)
        schema.TensorStart(builder)
        schema.TensorAddShape(builder, shape)
        schema.TensorAddType(builder, tensor.type)
        schema.TensorAddBuffer(builder, tensor.buffer)
        schema.TensorAddName(builder, name)
        return int(schema.TensorEnd(builder))

    def _operator(self, operator: Operator, codes: Sequence[str]) -> int:
        builder = self._builder
        inputs, outputs = self._ints(operator.inputs), self._ints((operator.output,))
        options = None if operator.options is None else self._options(operator.options)
        schema.OperatorStart(builder)
        schema.OperatorAddOpcodeIndex(builder, codes.index(operator.code))
        schema.OperatorAddInputs(builder, inputs)
        schema.OperatorAddOutputs(builder, outputs)
        if operator.options is not None:
            schema.OperatorAddBuiltinOptionsType(builder, getattr(schema.BuiltinOptions, operator.options.table))
            schema.OperatorAddBuiltinOptions(builder, options)
        return int(schema.OperatorEnd(builder))

    def _operator_code(self, code: str) -> int:
        builder, number = self._builder, getattr(schema.BuiltinOperator, code)
        schema.OperatorCodeStart(builder)
        schema.OperatorCodeAddDeprecatedBuiltinCode(builder, number)  # read by runtimes before 2.4
        schema.OperatorCodeAddVersion(builder, 1)
        schema.OperatorCodeAddBuiltinCode(builder, number)
        return int(schema.OperatorCodeEnd(builder))

    def _buffer(self, data: bytes) -> int:
        builder = self._builder
        vector = None
        if data:
            # CreateByteVector cannot align and CreateNumpyVector copies once more: fill a started vector at once.
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))

    def _signature(self) -> int:
        builder, graph = self._builder, self._graph
        inputs = self._vector([self._tensor_map("input", graph.input)])
        outputs = self._vector([self._tensor_map("output", graph.output)])
        key = builder.CreateString("serving_default")
        schema.SignatureDefStart(builder)
        schema.SignatureDefAddInputs(builder, inputs)
        schema.SignatureDefAddOutputs(builder, outputs)
        schema.SignatureDefAddSignatureKey(builder, key)
        return int(schema.SignatureDefEnd(builder))

    def _tensor_map(self, name: str, tensor: int) -> int:
        builder = self._builder
        text = builder.CreateString(name)
        schema.TensorMapStart(builder)
        schema.TensorMapAddName(builder, text)
        schema.TensorMapAddTensorIndex(builder, tensor)
        return int(schema.TensorMapEnd(builder))

    def _options(self, options: Options) -> int:
        if options not in self._written:
            table: Any = getattr(schema, f"{options.table}T")()
            for name, value in options.fields:
                setattr(table, name, value)
            self._written[options] = table.Pack(self._builder)
        return self._written[options]

    def _ints(self, values: Shape) -> int:
        if values not in self._written:
            self._written[values] = self._builder.CreateNumpyVector(np.array(values, dtype=np.int32))
        return self._written[values]

    def _vector(self, tables: Sequence[int]) -> int:
        """A vector of tables that are already written."""
        self._builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self._builder.PrependUOffsetTRelative(table)
        return int(self._builder.EndVector())
