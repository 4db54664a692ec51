"""Table cells that describe a candidate."""

from __future__ import annotations

from orchestrator.campaign.state import Candidate
from orchestrator.report import readable
from orchestrator.report.figures import Interval
from orchestrator.report.markup import Cell, Html, join, number_cell, tag
from orchestrator.report.run import Run
from profiling.records import Grade, Measurement


def id_cell(candidate: Candidate) -> Cell:
    """Its number in the campaign."""
    return number_cell(f"#{candidate.row.id}", candidate.row.id)


def accuracy_text(run: Run, candidate: Candidate) -> str:
    """Its accuracy with standard error and unit."""
    result = candidate.accuracy
    return readable.accuracy(result.accuracy, result.standard_error, run.accuracy_unit) if result else readable.NONE


def accuracy_cell(run: Run, candidate: Candidate) -> Cell:
    """Its accuracy."""
    return number_cell(accuracy_text(run, candidate), candidate.accuracy.accuracy if candidate.accuracy else None)


def interval_of(measurement: Measurement) -> Interval:
    """The estimate with its 95 % interval."""
    return Interval(measurement.latency_ms, measurement.ci_low_ms, measurement.ci_high_ms)


def latency_headings(run: Run) -> list[str]:
    """Headings of `latency_cells`."""
    return [f"{device} (ms)" for device in run.devices]


def latency_cells(run: Run, candidate: Candidate) -> list[Cell]:
    """One for each device: the latency with its grade, and below it the one that verified it."""
    cells = []
    for device in run.devices:
        measurement, verified = candidate.latencies.get(device), run.verified.get((candidate.row.id, device))
        if measurement is None:
            cells.append(number_cell(readable.NONE, None))
            continue
        shown = [graded(interval_of(measurement), measurement.grade)]
        if verified is not None:
            shown.append(tag("small", join(["verified ", graded(interval_of(verified), verified.grade)])))
        cells.append(number_cell(join(shown), measurement.latency_ms))
    return cells


def graded(interval: Interval, grade: Grade) -> Html:
    """A latency with its relative half-width and grade; the pointer shows the interval."""
    shown = tag("span", readable.compact_latency(interval), title=f"95 % interval {readable.ends(interval)} ms")
    return join([shown, tag("span", grade, class_=f"grade {grade}", title=f"grade {grade}")])


def size_cells(candidate: Candidate) -> list[Cell]:
    """Parameters and multiply-adds."""
    network = candidate.network
    if network is None:
        return [number_cell(readable.NONE, None)] * 2
    return [
        number_cell(readable.count(network.parameters), network.parameters),
        number_cell(readable.count(network.multiply_adds), network.multiply_adds),
    ]
