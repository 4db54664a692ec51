"""Turns what the runner prints on this computer into what it would have printed on the phone."""

from __future__ import annotations

import re

_STATISTIC = re.compile(r"(?<=[ =])(first|curr|min|max|avg|std|p5|median|p95)=([0-9][0-9.e+-]*)")
_STATISTICS_LINE = re.compile(r"^(?:INFO: )?(count=\d+.*)$")
_SUMMARY_LINE = re.compile(r"^(?:INFO: )?Inference timings in us: ")
_SUMMARY_VALUE = re.compile(r"(: )([0-9][0-9.e+-]*)(?=,|\s*$)")
_OURS = re.compile(r"Die with parent|Time on the CPU")  # flags that are not the phone's user's
_GARBAGE = bytes(range(128, 256)) + b"\ncount=first=\x00\x00 avg=nan\nInference timings in us: Init: , First\n"


def scaled(line: str, factor: float) -> str:
    """The line with its times multiplied; lines that hold none come back unchanged.

    Integers stay integers and floats keep the six digits that C++ prints.
    """
    if _STATISTICS_LINE.match(line):
        return _STATISTIC.sub(lambda match: f"{match[1]}={_times(match[2], factor)}", " " + line)[1:]
    if _SUMMARY_LINE.match(line):
        return _SUMMARY_VALUE.sub(lambda match: f"{match[1]}{_times(match[2], factor)}", line)
    return line


def _times(text: str, factor: float) -> str:
    return str(round(int(text) * factor)) if text.isdigit() else f"{float(text) * factor:.6g}"


def coverage_line(delegate: str, taken: bool) -> str:
    """What the tool says about how much of the graph a delegate took: all of it, or nothing."""
    if taken:
        return (
            f"INFO: Explicitly applied {delegate} delegate, and the model graph will be completely executed by the "
            "delegate."
        )
    return (
        f"INFO: Though {delegate} delegate is explicitly applied, the model graph will not be executed by the delegate."
    )


class OutputFilter:
    """Standard output of one run, line by line.

    Args:
        factor: On times.
        root: Folder of the phone's files on this computer, cut off all paths.
        coverage: Line about the delegate that takes the place of the runner's own; empty: leave it alone.
        damage: `garbage`, `truncated`, or empty.
    """

    def __init__(self, factor: float, root: str, coverage: str = "", damage: str = "") -> None:
        self._factor = factor
        self._root = root
        self._coverage = coverage
        self._damage = damage
        self._phase = 0  # statistics lines seen: the warm-up's, the measurement's
        self._cut = False

    def line(self, data: bytes) -> bytes:
        """What the phone prints for this line of the runner."""
        text = scaled(self.paths(data.decode(errors="replace").rstrip("\n")), self._factor)
        if self._cut or self._damage == "garbage" or _OURS.search(text):
            return b""
        if self._coverage and "delegate, and the model graph will" in text:
            return b""
        if self._coverage and "delegate is explicitly applied" in text:
            return b""
        if self._damage == "truncated" and _STATISTICS_LINE.match(text):
            self._phase += 1
            if self._phase == 2:
                self._cut = True
                return text[: len(text) // 2].encode()
        if self._coverage and "Initialized session in" in text:
            return f"{self._coverage}\n{text}\n".encode()
        return text.encode() + b"\n"

    def end(self) -> bytes:
        """What the phone prints at the end of the run."""
        return _GARBAGE if self._damage == "garbage" else b""

    def paths(self, text: str) -> str:
        """The text with this computer's paths as the phone's."""
        return text.replace(self._root, "")


def fixed_output(graph: str, latency_ms: float, runs: int) -> str:
    """What a run prints that computed nothing and lasted as long as it was told."""
    us = round(latency_ms * 1000)
    statistics = f"first={us} curr={us} min={us} max={us} avg={us} std=0 p5={us} median={us} p95={us}"
    return (
        f"INFO: STARTING!\nINFO: Graph: [{graph}]\nINFO: Loaded model {graph}\nINFO: Initialized session in 1ms.\n"
        "INFO: Running benchmark for at least 1 iterations and at least 0 seconds but terminate if exceeding 150 "
        f"seconds.\nINFO: count=1 curr={us} p5={us} median={us} p95={us}\n\n"
        f"INFO: Running benchmark for at least {runs} iterations and at least 0 seconds but terminate if exceeding 150 "
        f"seconds.\nINFO: count={runs} {statistics}\n\n"
        f"INFO: Inference timings in us: Init: 1000, First inference: {us}, Warmup (avg): {us}, Inference (avg): {us}\n"
    )
