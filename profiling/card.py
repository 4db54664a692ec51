"""Dataset card: the `README.md` of a set, with the hub's front matter, and its plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from profiling.dataset.manifest import Manifest, Source
from profiling.dataset.quality import DeviceQuality, QualityCollector
from profiling.dataset.schema import COLUMNS, SCHEMA_VERSION
from profiling.svg import COLOURS, Curve, dot_rows, line_chart, stacked_bars

CARD = "README.md"
PLOTS = "plots"
_CURVE_POINTS = 200
_MOST_CURVES = len(COLOURS)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_OUTCOMES = {"A": "#2c9f73", "B": "#8db2ee", "C": "#e0901f", "F": "#8c6d46", "failed": "#d9485f"}


def write_card(folder: Path, manifest: Manifest, quality: QualityCollector) -> None:
    """Write `README.md` and `plots/*.svg` into the set's folder."""
    summary = quality.summary()
    plots = _plots(quality, summary)
    (folder / PLOTS).mkdir(exist_ok=True)
    for name, (text, _) in plots.items():
        (folder / PLOTS / name).write_text(text, encoding="utf-8")
    sections = [
        f"# {manifest.name}",
        _introduction(manifest, summary),
        "## Load it\n\n" + _loading(manifest),
        "## What is in it\n\n" + _device_table(summary),
        *(f"![{caption}]({PLOTS}/{name})\n\n{caption}" for name, (_, caption) in plots.items()),
        "## How it was measured\n\n" + "\n".join(_sources(manifest.sources)),
        "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in _limits(manifest, summary)),
        f"## Columns (schema version {SCHEMA_VERSION})\n\n" + _column_table(),
    ]
    text = f"---\n{_front_matter(manifest)}---\n\n" + "\n\n".join(sections) + "\n"
    (folder / CARD).write_text(text, encoding="utf-8")


def _front_matter(manifest: Manifest) -> str:
    """What the hub reads: https://huggingface.co/docs/hub/datasets-cards."""
    values: dict[str, Any] = {
        "license": manifest.license,
        "pretty_name": manifest.name,
        "size_categories": [next((name for most, name in _SIZES if manifest.rows < most), "n>1M")],
        "task_categories": ["tabular-regression"],
        "tags": ["latency", "neural-architecture-search", "mobile", "tflite", "devicenag"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "data/*/*.parquet"}]},
            *(
                {"config_name": _key(file.path), "data_files": [{"split": "train", "path": file.path}]}
                for file in manifest.files
            ),
        ],
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _key(path: str) -> str:
    return PurePosixPath(path).parent.name.partition("=")[2]


def _introduction(manifest: Manifest, summary: Sequence[DeviceQuality]) -> str:
    measured = sum(device.measured for device in summary)
    return (
        f"{manifest.rows:,} rows: {measured:,} latencies with their 95 % intervals, and {manifest.rows - measured:,}"
        f" failures, on {len(summary)} device{'s' if len(summary) != 1 else ''}. One row per model, device, delegate,"
        " number of threads and precision; every block that a latency was estimated from is in it."
    )


def _loading(manifest: Manifest) -> str:
    key = _key(manifest.files[0].path) if manifest.files else ""
    return f"""```python
import pandas, polars, duckdb, datasets

pandas.read_parquet("DIR/data")
polars.read_parquet("DIR/data/**/*.parquet")
duckdb.sql("SELECT * FROM 'DIR/data/*/*.parquet'")
datasets.load_dataset("parquet", data_files="DIR/data/*/*.parquet")
datasets.load_dataset("DIR", "{key}")    # one device; its name without the second argument gives all
```

Give readers `DIR/data`, not `DIR`: most do not step over this card. `device_key`, which some readers add, is the
folder's name; `device` is the device's. Latencies that are worth training on: `grade IN ('A', 'B') AND NOT
drift_suspect`. Measurements of one artifact under several architectures
(equal networks are equal files) share `artifact_sha256`: split training and test sets by it."""


def _device_table(summary: Sequence[DeviceQuality]) -> str:
    lines = [
        "| device | rows | measured | failed | grades | median half-width | latency (ms) | phones | between phones |",
        "| --- | ---: | ---: | ---: | --- | ---: | --- | ---: | ---: |",
    ]
    for device in summary:
        grades = ", ".join(f"{count} {grade}" for grade, count in device.grades.items())
        width = device.median_half_width_ratio
        ends = " to ".join(f"{value:.4g}" for value in (device.latency_ms[0], device.latency_ms[-1])) if grades else "–"
        spread = device.phone_spread
        cells = [
            _cell(device.device), device.rows, device.measured, device.rows - device.measured, grades or "–",
            "–" if width is None else f"± {100 * width:.2f} %", ends, device.phones or "–",
            "–" if spread is None else f"{100 * spread.sd_log:.2f} % ({spread.overlaps} models)",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _sources(sources: Sequence[Source]) -> Iterator[str]:
    yield (
        "A *block* is one process on the device that runs the model many times after a warm-up; its value is the median"
        " of its runs. A latency is exp of the mean log value of its blocks, its interval Student's t over blocks:"
        " processes differ by more than the runs inside one do.\n"
    )
    for source in sources:
        settings = ", ".join(f"{name} {_shown(value)}" for name, value in source.measure.items() if value != [])
        yield f"- **{_cell(source.name)}** (`{source.id}`, {source.kind}, {source.software}): {settings or '–'}"


def _limits(manifest: Manifest, summary: Sequence[DeviceQuality]) -> Iterator[str]:
    """What a reader of this very set has to know."""
    for source in manifest.sources:
        if source.missing_count:
            yield f"**Partial**: {source.missing_count:,} measurements of {_cell(source.name)} have no result yet."
        for code, names in source.skipped.items():
            shown = ", ".join(map(_code, names[:5])) + (", ..." if len(names) > 5 else "")
            yield f"{len(names)} models of {_cell(source.name)} were never run ({_code(code)}): {shown}."
    for device in summary:
        name = _cell(device.device)
        if device.drift_suspects:
            yield f"{name}: around {device.drift_suspects:,} rows its reference model drifted (`drift_suspect`)."
        if device.failures:
            codes = ", ".join(f"{count:,} {_code(code)}" for code, count in device.failures.items())
            yield f"{name}: failures are rows without `latency_ms`: {codes}."
        if device.phones > 1 and device.phone_spread is None:
            yield f"{name}: {device.phones} phones shared the work and nothing was measured on two: spread unknown."
    yield "Intervals are about the mean of further blocks on the same phone and system; they do not cover other phones."
    yield "Latencies depend on runtime, delegate, system build and clocks: compare within those columns only."
    yield "`serial_hash` is salted by each lab: it tells its phones apart; two labs' hashes of one phone differ."
    if len(manifest.sources) > 1:
        yield "Several runs were merged: `source_id` tells them apart; the same model may have a row from each."
    if manifest.license == "unknown":
        yield "No licence has been chosen: ask whoever gave you this before you use or share it."


def _column_table() -> str:
    lines = ["| column | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {_type(kind)} | {meaning} |" for name, kind, meaning in COLUMNS]
    return "\n".join(lines)


def _type(kind: Any) -> str:
    text = str(kind)
    return "list of structs" if "struct" in text else text.replace("list<element: ", "list of ").rstrip(">")


def _plots(quality: QualityCollector, summary: Sequence[DeviceQuality]) -> dict[str, tuple[str, str]]:
    """File name -> SVG, caption."""
    measured = sorted((device for device in summary if device.measured), key=lambda device: -device.measured)
    shown = [device.device for device in measured[:_MOST_CURVES]]
    most = f" (the {_MOST_CURVES} devices with most rows)" if len(measured) > _MOST_CURVES else ""
    plots: dict[str, tuple[str, str]] = {}
    if shown:
        curves = [_distribution(name, quality.latencies_ms(name)) for name in shown]
        picture = line_chart(curves, x_title="latency (ms)", y_title="share of models below", log_x=True)
        plots["latency.svg"] = (picture, f"Latencies of all measured models{most}")
    widths = {name: quality.half_widths(name) for name in shown}
    curves = [_distribution(name, 100 * values) for name, values in widths.items() if values.size and values.max() > 0]
    if curves:
        picture = line_chart(curves, x_title="half-width of the 95 % interval (%)", y_title="share of rows below")
        plots["half_width.svg"] = (picture, f"How narrow the intervals are{most}")
    bars = {device.device: {**device.grades, "failed": sum(device.failures.values())} for device in summary}
    plots["outcome.svg"] = (stacked_bars(bars, _OUTCOMES), "Grades and failures, and the number of rows")
    offsets = {
        f"{device.device[:16]} {name[:8]}": 100 * offset
        for device in summary
        if device.phone_spread is not None
        for name, offset in device.phone_spread.offsets_log.items()
    }
    if offsets:
        picture = dot_rows(offsets, x_title="mean distance to the phones of its kind (%)")
        plots["phones.svg"] = (picture, "Phones that measured the same models, against their mean")
    return plots


def _distribution(name: str, values: Any) -> Curve:
    """The empirical distribution of sorted values, at no more points than can be seen."""
    at = np.unique(np.linspace(0, len(values) - 1, min(len(values), _CURVE_POINTS)).round().astype(int))
    return Curve(name, values[at], (at + 1) / len(values))


def _shown(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _code(text: str) -> str:
    """Foreign text as code."""
    plain = " ".join(text.replace("`", "'").split())
    return f"`{plain}`"


def _cell(text: str) -> str:
    """Foreign text inside a table or a list of Markdown."""
    escaped = text.replace("\\", "\\\\")
    for sign in "|<>*_`[]":
        escaped = escaped.replace(sign, f"\\{sign}")
    return " ".join(escaped.split())
