"""Section on the quality of measurements: devices, and the blocks of every measurement."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report import readable
from orchestrator.report.cells import graded
from orchestrator.report.draw import draw_blocks
from orchestrator.report.figures import MeasuredBlocks, blocks_figure
from orchestrator.report.markup import Content, Html, figure, join, number_cell, table, tag
from orchestrator.report.run import Run
from orchestrator.report.tables import DeviceRow, device_rows


def measurement_section(run: Run) -> Html:
    """Devices, and the blocks of every measurement."""
    parts = [_device_table(device_rows(run))]
    for number, device in enumerate(run.devices):
        data = blocks_figure(run, device)
        if not data.measurements:
            parts.append(tag("p", f"No measurement on {device} yet.", class_="notice"))
            continue
        caption = (
            "A block is one process that ran the network many times. The spread of the blocks of a measurement is "
            "what its 95 % interval (grey) is made from. Rejected blocks are kept but not used; those outside the "
            "picture stand at its edge."
        )
        if len(run.devices) > 1:
            parts.append(tag("h3", device))
        if any(measured.blocks for measured in data.measurements):
            name = f"deviation of blocks from their estimates on {device}"
            parts.append(figure(f"blocks-{number}", draw_blocks(data), caption, name))
        summary = f"All {len(data.measurements)} measurements on {device}, block by block"
        parts.append(tag("details", join([tag("summary", summary), _block_table(data.measurements)])))
    return join(parts)


def _device_table(rows: Sequence[DeviceRow]) -> Html:
    headings = ["device", "kind", "model", "runtime", "measurements", "failed", "blocks", "rejected"]
    body: list[list[Content]] = [
        [
            tag("b", row.info.name),
            row.info.kind,
            row.info.model or readable.NONE,
            row.info.runtime or readable.NONE,
            number_cell(str(row.measured), row.measured),
            number_cell(str(row.failed), row.failed, "bad" if row.failed else ""),
            number_cell(str(row.blocks), row.blocks),
            number_cell(str(row.rejected), row.rejected, "warn" if row.rejected else ""),
            ", ".join(f"{number} {grade}" for grade, number in row.grades.items()) or readable.NONE,
            number_cell(f"± {readable.percent(row.half_width, 2)}", row.half_width)
            if row.half_width is not None
            else "",
            f"{row.info.epoch or readable.NONE}{f' (changed: {row.epochs} systems)' if row.epochs > 1 else ''}",
        ]
        for row in rows
    ]
    return table([*headings, "grades", "median 95 % half-width", "system"], body)


def _block_table(measurements: Sequence[MeasuredBlocks]) -> Html:
    rows: list[list[Content]] = []
    for measured in measurements:
        values = [
            tag("del", readable.number(block.value_ms), title=block.rejected)
            if block.rejected
            else readable.number(block.value_ms)
            for block in measured.blocks
        ]
        rows.append(
            [
                number_cell(f"#{measured.candidate}", measured.candidate),
                measured.purpose,
                number_cell(graded(measured.latency_ms, measured.grade), measured.latency_ms.value),
                join(values, " ") if values else "those of an earlier measurement of the same artifact",
                "; ".join(measured.reasons),
            ]
        )
    headings = ["#", "purpose", "latency (ms)", "blocks (ms)", "remarks"]
    return table(headings, rows, sortable=True)
