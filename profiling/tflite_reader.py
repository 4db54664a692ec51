"""The bytes of anybody's `.tflite` file -> its operators and tensors.

Nothing in a file is believed: every position is checked, what is read is bounded, and whatever is wrong ends in a
`UnreadableModel`. No tensor's data are looked at, and nothing is run.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from profiling.network import Shape

_T = TypeVar("_T")

_IDENTIFIER = b"TFL3"
_MOST_TABLES = 1_000_000  # operators, tensors, buffers: more than any model has, and read in seconds
_MOST_NUMBERS = 2**48  # of one tensor
# What the bindings raise where a position leads out of the file, or to what is something else.
_CORRUPT = (struct.error, IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError)


class UnreadableModel(ValueError):
    """A file cannot be described: `message` says what and where, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class ModelTensor:
    """A tensor.

    Attributes:
        name: As its maker called it.
        shape: As the file has it; -1 where it is known at run time only.
        type: Its name in the schema's `TensorType`.
        constant: Whether its data are in the file.
        open_axes: Axes that may be resized; the shape has what they are until then.
    """

    name: str
    shape: Shape
    type: str
    constant: bool = False
    open_axes: tuple[int, ...] = ()

    @property
    def numbers(self) -> int:
        """How many it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ModelOperator:
    """An operator; inputs and outputs are positions in `Model.tensors`.

    Attributes:
        code: Its name in the schema's `BuiltinOperator`; `CUSTOM:NAME` where it is nobody's but its maker's.
        inputs: -1 where an optional one is not given.
        outputs: What it computes.
        options: Those that sizes of windows depend on, by their names in the schema.
    """

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """The main graph of a file, in order of execution.

    Attributes:
        tensors: All of the graph.
        operators: Each reads what is constant, an input, or computed before.
        inputs, outputs: Positions of tensors.
        description: What the file says of itself, e.g. which converter wrote it.
    """

    tensors: tuple[ModelTensor, ...]
    operators: tuple[ModelOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str = ""


def read_file(path: Path) -> Model:
    """The model of a file. Raises UnreadableModel: it cannot be opened, or as `read_model`."""
    return read_model(file_bytes(path))


def file_bytes(path: Path) -> bytes:
    """A file's content. Raises UnreadableModel."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableModel(
            f"cannot be opened: {error.strerror or error}", "give the path of a .tflite file"
        ) from error


def read_model(data: bytes) -> Model:
    """The main graph.

    Raises:
        UnreadableModel: It is no `.tflite` file, damaged or incomplete, has no operators, or tensors of unknown shape.
    """
    if not data:
        raise UnreadableModel("is empty", "copy or convert it again")
    if data[4:8] != _IDENTIFIER:
        raise UnreadableModel("is no .tflite file: it does not begin as one does", "convert it to TFLite first")
    try:
        model = _Reader(data).model()
    except _CORRUPT as error:
        if isinstance(error, UnreadableModel):
            raise
        raise UnreadableModel(f"is damaged or incomplete ({error})", "copy or convert it again") from error
    _check_shapes(model)
    return model


class _Reader:
    """Walks the tables of a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = min(len(data), _MOST_TABLES)  # what may still be read: no table takes less than a byte

    def model(self) -> Model:
        """Main graph; what else there is (metadata, signatures, bodies of loops) is not read."""
        root = schema.Model.GetRootAs(self._data, 0)
        if not root.SubgraphsLength():
            raise ValueError("no graph")
        graph = root.Subgraphs(0)
        constant = self._each(root.BuffersLength(), lambda index: self._has_data(root.Buffers(index)))
        codes = self._each(root.OperatorCodesLength(), lambda index: _code(root.OperatorCodes(index)))
        tensors = self._each(graph.TensorsLength(), lambda index: self._tensor(graph.Tensors(index), constant))
        count = len(tensors)
        operators = self._each(
            graph.OperatorsLength(), lambda index: self._operator(graph.Operators(index), codes, count)
        )
        inputs, outputs = (self._indices(each, count) for each in (graph.InputsAsNumpy(), graph.OutputsAsNumpy()))
        if not operators:
            raise UnreadableModel("has no operators", "there is nothing to measure: convert it again")
        return Model(tensors, operators, inputs, outputs, (root.Description() or b"").decode(errors="replace"))

    def _each(self, count: int, read: Callable[[int], _T]) -> tuple[_T, ...]:
        self._left -= count
        if self._left < 0:
            raise ValueError("it would hold more than its size allows")
        return tuple(read(index) for index in range(count))

    def _has_data(self, buffer: Any) -> bool:
        """Whether a buffer is a constant's; all of it must be there."""
        if buffer.Size() > 1:  # behind the tables, as in files above 2 GB
            if buffer.Offset() + buffer.Size() > len(self._data):
                raise ValueError("a constant reaches beyond the end")
            return True
        return np.size(buffer.DataAsNumpy()) > 0 if buffer.DataLength() else False

    def _tensor(self, tensor: Any, constant: tuple[bool, ...]) -> ModelTensor:
        shape = self._ints(tensor.ShapeAsNumpy())
        signature = self._ints(tensor.ShapeSignatureAsNumpy())
        kind = tensor.Type()
        if kind not in _TYPES:
            raise ValueError(f"a tensor of type {kind}, which does not exist")
        if abs(math.prod(shape)) > _MOST_NUMBERS:
            raise ValueError(f"a tensor of shape {shape}")
        buffer = tensor.Buffer()
        return ModelTensor(
            (tensor.Name() or b"").decode(errors="replace"),
            shape,
            _TYPES[kind],
            constant[buffer] and not tensor.IsVariable(),
            tuple(axis for axis, size in enumerate(signature) if size < 0),
        )

    def _operator(self, operator: Any, codes: tuple[str, ...], tensors: int) -> ModelOperator:
        return ModelOperator(
            codes[operator.OpcodeIndex()],
            self._indices(operator.InputsAsNumpy(), tensors),
            self._indices(operator.OutputsAsNumpy(), tensors),
            _options(operator),
        )

    def _indices(self, values: Any, tensors: int) -> tuple[int, ...]:
        found = self._ints(values)
        if any(not -1 <= index < tensors for index in found):
            raise ValueError(f"it names tensors that are not there: {found[:4]}")
        return found

    def _ints(self, values: Any) -> tuple[int, ...]:
        """A vector of numbers; the bindings give 0 for none."""
        if isinstance(values, int):
            return ()
        self._left -= len(values) // 4
        if self._left < 0:
            raise ValueError("it would hold more than its size allows")
        return tuple(values.tolist())


def _named(table: type) -> dict[int, str]:
    """Number -> name of a table of the schema."""
    return {
        number: name for name, number in vars(table).items() if isinstance(number, int) and not name.startswith("_")
    }


_TYPES, _OPERATORS = _named(schema.TensorType), _named(schema.BuiltinOperator)
_OPTIONS = _named(schema.BuiltinOptions)
_WINDOW_FIELDS = ("StrideH", "StrideW", "FilterHeight", "FilterWidth", "AdjX", "AdjY")


def _code(code: Any) -> str:
    """Old files have the number in a byte; new ones in both places, or a marker in the byte."""
    number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
    if number == schema.BuiltinOperator.CUSTOM:
        return f"CUSTOM:{(code.CustomCode() or b'').decode(errors='replace')}"
    return _OPERATORS.get(number, f"OPERATOR {number}")


def _options(operator: Any) -> dict[str, int]:
    """The fields that sizes depend on."""
    table, name = operator.BuiltinOptions(), _OPTIONS.get(operator.BuiltinOptionsType())
    if table is None or not table.Bytes or name is None or name == "NONE":
        return {}
    options = getattr(schema, name)()
    options.Init(table.Bytes, table.Pos)
    return {each: int(getattr(options, each)()) for each in _WINDOW_FIELDS if hasattr(options, each)}


def _check_shapes(model: Model) -> None:
    """What is measured must be of one size, and that of the model as it is used.

    Runtimes run what may be resized at the sizes that the file has. For a leading axis (the batch) these are what is
    meant; images of 1 x 1, which converters write where they know no size, are not.
    """
    export = "convert it with a fixed input shape"
    for index in model.inputs:
        tensor = model.tensors[index]
        if tensor.open_axes not in ((), (0,)):
            raise UnreadableModel(
                f"input {tensor.name!r} has no fixed shape: axes {list(tensor.open_axes)} of {list(tensor.shape)} "
                "are open until run time",
                export,
            )
    for number, operator in enumerate(model.operators):
        for index in (*operator.inputs, *operator.outputs):
            if index >= 0 and min(model.tensors[index].shape, default=0) < 0:
                tensor = model.tensors[index]
                raise UnreadableModel(
                    f"operator {number} ({operator.code}): tensor {tensor.name!r} has no fixed shape: "
                    f"{list(tensor.shape)}",
                    export,
                )
