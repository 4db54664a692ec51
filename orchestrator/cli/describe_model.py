"""`nag describe MODEL.tflite`: what each operator of anybody's file takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_WIDTH = 120  # where nobody looks at a terminal


def describe_model(path: Path, *, as_json: bool) -> None:
    """Operators, shapes, multiply-adds and bytes of a file. Raises DataError: it cannot be described."""
    from orchestrator.errors import DataError
    from orchestrator.predict.latency.models import read_one
    from profiling.tflite_reader import UnreadableModel

    try:
        model = read_one(path)
    except UnreadableModel as error:
        raise DataError(f"{path} {error.message}", error.hint) from error
    layers: list[dict[str, Any]] = [
        {
            "operation": layer.code,
            "kind": layer.kind,
            "output_shape": list(layer.output_shape),
            "multiply_adds": layer.multiply_adds,
            "bytes_read": round(layer.bytes_read),
            "bytes_written": round(layer.bytes_written),
            "weight_bytes": round(layer.weight_bytes),
            "integer": layer.integer,
            "priced": layer.priced,
            "waits_for": list(layer.waits_for),
        }
        for layer in model.layers
    ]
    values = {
        "model": str(path),
        "artifact_sha256": model.sha256,
        "artifact_bytes": model.size_bytes,
        "multiply_adds": model.multiply_adds,
        **{name: sum(layer[name] for layer in layers) for name in ("bytes_read", "bytes_written", "weight_bytes")},
        "unpriced": dict(model.unpriced),
        "layers": layers,
    }
    if as_json:
        print(json.dumps(values, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(f"[bold]{path}[/]", highlight=False)
    console.print(
        f"{len(layers)} operators, {model.multiply_adds / 1e6:,.2f} M multiply-adds, {model.size_bytes:,} bytes "
        f"(sha256 {model.sha256})",
        soft_wrap=True,
    )
    table = Table("operator", "kind", "output", box=None, pad_edge=False)
    for name in ("multiply-adds", "bytes read", "written", "weights"):
        table.add_column(name, justify="right")
    table.add_column("")
    for layer in layers:
        note = "not priced" if not layer["priced"] else "integer" if layer["integer"] else ""
        numbers = (layer[name] for name in ("multiply_adds", "bytes_read", "bytes_written", "weight_bytes"))
        shape = "x".join(map(str, layer["output_shape"]))
        table.add_row(layer["operation"], layer["kind"], shape, *(f"{number:,}" for number in numbers), note)
    console.print(table, highlight=False, markup=False)
    for code, count in model.unpriced.items():
        times = "once" if count == 1 else f"{count} times"
        console.print(
            f"not priced: {code}, {times}: known is only what it reads and writes", highlight=False, markup=False
        )
