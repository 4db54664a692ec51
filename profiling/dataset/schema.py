"""The set's columns in Parquet: types, and the way from rows to record batches and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from profiling.dataset.row import DatasetRow, dump
from profiling.records import Block

SCHEMA_VERSION = 1

_TEXT, _REAL, _SMALL, _LARGE = pa.string(), pa.float64(), pa.int32(), pa.int64()

# Column -> field of `Block`; the columns say the units.
_BLOCK_FIELDS = {
    "index": ("index", _SMALL),
    "runs_count": ("runs", _SMALL),
    "statistic": ("statistic", _TEXT),
    "value_ms": ("value_ms", _REAL),
    "min_ms": ("min_ms", _REAL),
    "p5_ms": ("p5_ms", _REAL),
    "mean_ms": ("mean_ms", _REAL),
    "p95_ms": ("p95_ms", _REAL),
    "max_ms": ("max_ms", _REAL),
    "std_ms": ("std_ms", _REAL),
    "init_ms": ("init_ms", _REAL),
    "first_ms": ("first_ms", _REAL),
    "started_at_unix_s": ("started_at", _REAL),
    "duration_s": ("duration_s", _REAL),
    "status": ("status", _TEXT),
    "reason": ("reason", _TEXT),
}

# Of a block's conditions, what most readers look for; `conditions_json` has all of them.
_BLOCK_EXTRACTS = {"temp_c": _REAL, "battery_c": _REAL, "frequency_khz": _REAL}

BLOCK_TYPE = pa.struct(
    [
        *(pa.field(column, kind) for column, (_, kind) in _BLOCK_FIELDS.items()),
        *(pa.field(column, kind) for column, kind in _BLOCK_EXTRACTS.items()),
        pa.field("conditions_json", _TEXT),
    ]
)

COLUMNS: tuple[tuple[str, Any, str], ...] = (
    ("schema_version", _SMALL, "what the columns mean; this description is of version 1"),
    ("source_id", _TEXT, "the run that the row comes from, see `sources` in `dataset.json`"),
    ("space", _TEXT, "kind of the search space; null for model files"),
    ("architecture", _TEXT, "the architecture in its space's notation, or the name of the model file"),
    ("slots", pa.list_(_SMALL), "the architecture as choices; empty for model files"),
    ("input_shape", pa.list_(_SMALL), "batch, height, width, channels; empty where unknown"),
    ("classes_count", _SMALL, "outputs of the classifier"),
    ("network_options_json", _TEXT, "sizes that the space builds its networks with"),
    ("precision", _TEXT, "`float32`, `float16` (weights only), `int8` (full-integer), or `original`: a file as it is"),
    ("artifact_sha256", _TEXT, "of the `.tflite` that ran; null where a latency was looked up in a table"),
    ("artifact_bytes", _LARGE, "its size"),
    ("parameters_count", _LARGE, "of the network"),
    ("multiply_adds_count", _LARGE, "of the network, for one inference"),
    ("output_error_ratio", _REAL, "distance of the artifact's outputs from the float32 model's, relative"),
    ("purpose", _TEXT, "`search` or `verify` by a campaign; `collect`, or `overlap`: the same on several phones"),
    ("replicate_index", _SMALL, "which of several phones of a kind, from 0"),
    ("device", _TEXT, "what latencies are called by: the phones' model, a host's name"),
    ("device_kind", _TEXT, "`adb` (a phone), `host`, `virtual`, `table`, `lut`; null where no device answered"),
    ("device_model", _TEXT, "marketing or processor name"),
    ("serial_hash", _TEXT, "which phone: salted by the lab that measured, so not comparable between labs"),
    ("device_epoch", _TEXT, "build of its system: latencies of different epochs are not comparable"),
    ("device_abi", _TEXT, "e.g. `arm64-v8a`"),
    ("device_properties_json", _TEXT, "processor, cores, memory, version of the system, runner"),
    ("runtime", _TEXT, "what executed the artifact"),
    ("runtime_sha256", _TEXT, "of its file, where it is one file"),
    ("delegate", _TEXT, "`cpu` (XNNPACK), `none` (built-in kernels), `gpu`, `nnapi`, ..."),
    ("threads_count", _SMALL, "of the interpreter"),
    ("affinity_cpus", pa.list_(_SMALL), "CPUs it was pinned to by request; empty: the device's own choice"),
    ("clock", _TEXT, "`wall`, or `cpu`: time that the one thread had a CPU"),
    ("target_half_width_ratio", _REAL, "relative half-width of the interval that was aimed at"),
    ("latency_ms", _REAL, "the estimate: exp of the mean log value of the usable blocks; null for failures"),
    ("ci_low_ms", _REAL, "lower end of its 95 % interval (Student's t over blocks)"),
    ("ci_high_ms", _REAL, "upper end"),
    ("standard_error_log", _REAL, "standard error of log latency"),
    ("grade", _TEXT, "`A` quiet and as narrow as asked for, `B` usable, `C` noisy or few blocks, `F` no estimate"),
    ("grade_reasons", pa.list_(_TEXT), "why it is not `A`"),
    ("failure_kind", _TEXT, "`model`, `infrastructure`, `timeout`, `user`; null for measurements"),
    ("failure_code", _TEXT, "e.g. `unsupported_operator`, `crash`, `deadline`"),
    ("failure_detail", _TEXT, "one sentence, for failures of models"),
    ("drift_suspect", pa.bool_(), "the phone's reference model drifted around this measurement"),
    ("reference_log_ratio", _REAL, "last reference before it, over what the phone's chart expected, as a log ratio"),
    ("measured_at_unix_s", _REAL, "when the result arrived"),
    ("blocks", pa.list_(BLOCK_TYPE), "every block (one process that ran the artifact many times), rejected ones too"),
)

SCHEMA = pa.schema([pa.field(name, kind) for name, kind, _ in COLUMNS])

TEXT_COLUMNS = frozenset(field.name for field in SCHEMA if field.type == _TEXT)
_LIST_COLUMNS = frozenset(field.name for field in SCHEMA if pa.types.is_list(field.type))


def to_batch(rows: Iterable[DatasetRow]) -> Any:
    """A record batch of the schema."""
    return pa.RecordBatch.from_pylist([_cells(row) for row in rows], schema=SCHEMA)


def row_of(cells: Mapping[str, Any]) -> DatasetRow:
    """The row with these cells, as `pyarrow` gives them."""
    values = {name: value for name, value in cells.items() if name not in ("schema_version", "blocks")}
    for name in TEXT_COLUMNS:
        values[name] = values[name] or ""
    for name in _LIST_COLUMNS - {"blocks"}:
        values[name] = tuple(values[name] or ())
    return DatasetRow(**values, blocks=tuple(_block_of(block) for block in cells["blocks"] or ()))


def _cells(row: DatasetRow) -> dict[str, Any]:
    cells = dict(vars(row))
    for name in TEXT_COLUMNS - {"schema_version"}:
        cells[name] = cells[name] or None
    cells["schema_version"] = SCHEMA_VERSION
    cells["blocks"] = [_block_cells(block) for block in row.blocks]
    return cells


def _block_cells(block: Block) -> dict[str, Any]:
    cells = {column: getattr(block, name) for column, (name, _) in _BLOCK_FIELDS.items()}
    cells["reason"] = cells["reason"] or None
    after = block.conditions.get("after")
    after = after if isinstance(after, Mapping) else {}
    return {
        **cells,
        "temp_c": _number(after.get("temp_c")),
        "battery_c": _number(after.get("battery_c")),
        # The fastest processor: which of them the threads ran on is known only where they were pinned.
        "frequency_khz": _largest(after.get("frequency_khz", block.conditions.get("frequency_khz"))),
        "conditions_json": dump(block.conditions),
    }


def _block_of(cells: Mapping[str, Any]) -> Block:
    values = {name: cells[column] for column, (name, _) in _BLOCK_FIELDS.items()}
    values["reason"] = values["reason"] or ""
    return Block(**values, conditions=json.loads(cells["conditions_json"] or "{}"))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _largest(values: Any) -> float | None:
    numbers = [number for value in values if (number := _number(value)) is not None] if isinstance(values, list) else []
    return max(numbers, default=None)
