"""HostDevice: this machine, through LiteRT in a child process for every block."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn

from device_agent.child import ChildClosed, ChildProcess, Ended
from device_agent.device import Artifact
from device_agent.errors import (
    CommandTimeout,
    DeviceError,
    InfrastructureError,
    ModelCrashed,
    ModelOutOfMemory,
    ModelRefused,
    RunnerBroken,
    WrongRequest,
)
from device_agent.scratch import ScratchFolder
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo
from profiling.statistics import is_steady

RUNNER = Path(__file__).with_name("runner.py")

_XNNPACK = {"cpu": "true", "none": "false"}
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
_DESCRIBE_DEADLINE_S = 60.0
_KEPT_ARTIFACTS = 64  # of a campaign of thousands
_BUSY_LOAD = 0.5  # per CPU


@dataclass(frozen=True)
class _Finished:
    """What a runner process left behind."""

    command: str
    ended: Ended
    report: Mapping[str, Any]
    oom_kills: int | None


class HostDevice:
    """Runs each block in a process of its own, pinned to its CPUs; what it was pinned to is read back.

    A process never outlives its block, its deadline or this program, whatever kills it.
    """

    def __init__(self, name: str = "host", python: str | Path | None = None) -> None:
        """Args:
        name: How configs and people call it.
        python: The interpreter to run models with: any that has numpy and `ai_edge_litert` or `tflite_runtime`
            (for instance that of another virtual environment). This one's by default.
        """
        self._name = name
        self._python = str(python) if python is not None else sys.executable
        self._scratch = ScratchFolder()
        self._deployed: deque[Path] = deque()
        self._child = ChildProcess()

    @cached_property
    def info(self) -> DeviceInfo:
        """This machine and the runtime that the interpreter has.

        Raises:
            RunnerBroken: The interpreter cannot run models.
        """
        finished = self._run(["--describe_runtime=true"], _DESCRIBE_DEADLINE_S)
        if finished.ended.status != 0:
            self._raise(finished, "")
        runtime, model, kernel = finished.report["runtime"], _cpu_model(), platform.release()
        machine = Path("/etc/machine-id")
        serial = machine.read_text().strip() if machine.is_file() else platform.node()
        return DeviceInfo(
            name=self._name,
            kind="host",
            model=model,
            serial_hash=hashlib.sha256(f"devicenag host {serial}".encode()).hexdigest()[:16],
            epoch=hashlib.sha256(f"{kernel}\n{model}\n{runtime}".encode()).hexdigest()[:16],
            abi=platform.machine(),
            runtime=runtime,
            properties={
                "cores": os.cpu_count(),
                "cpus": sorted(os.sched_getaffinity(0)),
                "governor": _governor(),
                "kernel": kernel,
                "python": finished.report["python"],
                "numpy": finished.report["numpy"],
            },
        )

    @property
    def identity(self) -> Literal["artifact", "architecture"]:
        """The artifact: what runs is the file."""
        return "artifact"

    def deploy(self, artifact: Artifact) -> None:
        """Write the file once. Raises InfrastructureError when it cannot be written or is not what its name says."""
        path = self._path(artifact)
        if self._child.closed:
            raise InfrastructureError("the device was closed", device=self._name)
        if path.exists():
            return
        if hashlib.sha256(artifact.data).hexdigest() != artifact.sha256:
            raise InfrastructureError(
                f"{artifact.label}: the bytes do not have the sha256 they are named by", device=self._name
            )
        try:
            part = path.with_suffix(".part")
            part.write_bytes(artifact.data)
            part.replace(path)
            self._deployed.append(path)
            if len(self._deployed) > _KEPT_ARTIFACTS:
                self._deployed.popleft().unlink(missing_ok=True)
        except OSError as error:
            raise InfrastructureError(
                f"{artifact.label}: cannot be written: {error.strerror}",
                device=self._name,
                hint=f"free some space below {self._scratch.path.parent}, or set TMPDIR",
            ) from error

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        """Run one block in a process of its own.

        The latency is the median of the runs. The block is rejected as `affinity_changed` when the process ended on
        other CPUs than it was pinned to, and as `not_steady` when its runs clearly drifted.

        Raises:
            WrongRequest: The plan asks for a delegate or for CPUs that this machine does not have.
            ModelRefused, ModelCrashed, ModelOutOfMemory: It is the model.
            CommandTimeout: The deadline passed; the process was killed.
            RunnerBroken, InfrastructureError: It is not the model.
        """
        self.deploy(artifact)
        affinity = self._affinity(plan)
        started_at, load = time.time(), os.getloadavg()[0]
        finished = self._run(self._flags(artifact, plan, affinity), plan.deadline_s)
        if finished.ended.status != 0:
            self._raise(finished, artifact.label)
        report = finished.report
        durations_ms = [duration / 1e6 for duration in report.get("durations_ns", ())]
        if report.get("stage") != "done" or not durations_ms:
            raise RunnerBroken(
                "the runner ended well but reported no runs",
                device=self._name,
                command=finished.command,
                stderr_tail=finished.ended.stderr_tail,
            )
        reason = "affinity_changed" if report["affinity"] != affinity else ""
        if not reason and not is_steady(durations_ms):
            reason = "not_steady"
        ordered, count = sorted(durations_ms), len(durations_ms)
        return Block(
            index=index,
            runs=count,
            statistic="median",
            value_ms=statistics.median(ordered),
            min_ms=ordered[0],
            p5_ms=ordered[count * 5 // 100],
            mean_ms=statistics.fmean(ordered),
            p95_ms=ordered[count * 95 // 100],
            max_ms=ordered[-1],
            std_ms=statistics.pstdev(ordered),
            init_ms=report["init_ns"] / 1e6,
            first_ms=(report["warmup_ns"] or report["durations_ns"])[0] / 1e6,
            started_at=started_at,
            duration_s=finished.ended.seconds,
            status="rejected" if reason else "ok",
            reason=reason,
            conditions={
                "clock": plan.clock,
                "threads": report["threads"],
                "threads_seen": report["threads_seen"],
                "affinity": report["affinity"],
                "affinity_requested": affinity,
                "warmup_runs": len(report["warmup_ns"]),
                "cpu_share": _cpu_share(report, plan),
                "involuntary_switches": report["involuntary_switches"],
                "load_before": load,
                "load_after": os.getloadavg()[0],
                "frequency_khz": [_frequency_khz(cpu) for cpu in affinity],
                "governor": _governor(),
                "runtime": report["runtime"],
            },
        )

    def health(self) -> tuple[str, ...]:
        """What limits accuracy: other load, the frequency governor, a lack of CPUs."""
        cpus, load = sorted(os.sched_getaffinity(0)), os.getloadavg()[0]
        findings = []
        if load > _BUSY_LOAD * len(cpus):
            findings.append(f"{self._name}: other programs are running (load average {load:.1f} on {len(cpus)} CPUs)")
        if len(cpus) == 1:
            findings.append(f"{self._name}: with one CPU, measuring shares it with this program")
        if (governor := _governor()) not in (None, "performance"):
            findings.append(f"{self._name}: the frequency governor is {governor!r}; 'performance' is steadier")
        return tuple(findings)

    def close(self) -> None:
        """Kill what runs, remove the files; idempotent, and allowed from another thread while a block runs."""
        self._child.close()
        self._scratch.close()

    def _path(self, artifact: Artifact) -> Path:
        return self._scratch.path / f"{artifact.sha256}.tflite"

    def _affinity(self, plan: MeasurementPlan) -> list[int]:
        """The plan's CPUs; else one for each thread, the last ones, since the first serves most interrupts."""
        available = sorted(os.sched_getaffinity(0))
        if missing := sorted(set(plan.affinity) - set(available)):
            raise WrongRequest(
                f"no CPU {missing[0]} to pin to", device=self._name, hint=f"available: {', '.join(map(str, available))}"
            )
        return sorted(plan.affinity) or available[-plan.threads :]

    def _flags(self, artifact: Artifact, plan: MeasurementPlan, affinity: Sequence[int]) -> list[str]:
        """The plan in the runner's words."""
        if plan.delegate not in _XNNPACK:
            known = ", ".join(map(repr, _XNNPACK))
            raise WrongRequest(f"no delegate {plan.delegate!r} here", device=self._name, hint=f"known: {known}")
        return [
            f"--graph={self._path(artifact)}",
            f"--num_threads={plan.threads}",
            f"--num_runs={plan.min_runs}",
            f"--min_secs={plan.block_seconds}",
            f"--max_secs={plan.deadline_s}",
            f"--max_runs={plan.max_runs}",
            f"--warmup_runs={plan.warmup_runs}",
            f"--warmup_min_secs={plan.warmup_seconds}",
            f"--use_xnnpack={_XNNPACK[plan.delegate]}",
            f"--cpu_clock={str(plan.clock == 'cpu').lower()}",
            f"--affinity={','.join(map(str, affinity))}",
        ]

    def _run(self, flags: Sequence[str], deadline_s: float) -> _Finished:
        """One runner process, from start to end. Raises CommandTimeout, RunnerBroken, InfrastructureError."""
        report_path = self._scratch.path / "report.json"
        report_path.unlink(missing_ok=True)
        shown = " ".join(["runner.py", *flags])
        kills = _oom_kills()
        try:
            ended = self._child.run(
                [self._python, str(RUNNER), *flags, f"--report_json={report_path}", "--die_with_parent=true"],
                deadline_s,
            )
        except ChildClosed as error:
            raise InfrastructureError("the device was closed", device=self._name, command=shown) from error
        except OSError as error:
            raise RunnerBroken(
                f"cannot start {self._python}: {error.strerror}",
                device=self._name,
                command=shown,
                hint="give the path of a Python interpreter",
            ) from error
        if ended.timed_out:
            raise CommandTimeout(
                f"no end after {deadline_s:g} s; killed",
                device=self._name,
                command=shown,
                hint="raise the plan's deadline_s if the model is that slow",
                stderr_tail=ended.stderr_tail,
            )
        new_kills = None if kills is None else (_oom_kills() or 0) - kills
        return _Finished(shown, ended, _read_report(report_path), new_kills)

    def _raise(self, finished: _Finished, label: str) -> NoReturn:
        """The typed error for a process that did not end well."""
        if self._child.closed:
            raise InfrastructureError("the device was closed", device=self._name, command=finished.command)
        kind, message, code, hint = _diagnose(finished, label)
        raise kind(
            message,
            device=self._name,
            command=finished.command,
            hint=hint,
            stderr_tail=finished.ended.stderr_tail,
            code=code,
        )


def _diagnose(finished: _Finished, label: str) -> tuple[type[DeviceError], str, str | None, str]:
    """Error class, message, code and hint. The model is to blame only for what happens once it is being loaded."""
    error: Mapping[str, str] = finished.report.get("error") or {}
    at_model = finished.report.get("stage") == "model"
    number = (
        -finished.ended.status if finished.ended.status < 0 else finished.ended.status - 128
    )  # shells report 128 + signal
    if error:
        text = error["reason"] or error["message"]
        if at_model and error["code"] == "memory":
            return ModelOutOfMemory, f"{label}: {text}", None, ""
        if error["code"] == "operator":
            return ModelRefused, f"{label}: {text}", "unsupported_operator", "use operators that the runtime has"
        if at_model:
            return ModelRefused, f"{label}: {text}", None, ""
        hint = "install ai-edge-litert in that interpreter" if error["code"] == "runtime" else ""
        return RunnerBroken, text, None, hint
    if number == signal.SIGKILL and at_model and finished.oom_kills != 0:
        return ModelOutOfMemory, f"{label}: killed for lack of memory", None, ""
    if number in _CRASHES and at_model:
        return ModelCrashed, f"{label}: the process died of {signal.Signals(number).name}", None, ""
    if number in set(signal.Signals):
        return InfrastructureError, f"the runner was ended by {signal.Signals(number).name}", None, ""
    return RunnerBroken, f"the runner ended with status {finished.ended.status} and no report", None, ""


def _read_report(path: Path) -> Mapping[str, Any]:
    """The runner's report; empty when it wrote none."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _cpu_share(report: Mapping[str, Any], plan: MeasurementPlan) -> float | None:
    """The share of its CPU that a single computing thread got; with more threads, waiting is no sign of contention."""
    return min(1.0, report["cpu_ns"] / report["wall_ns"]) if plan.threads == 1 and report["wall_ns"] else None


def _oom_kills() -> int | None:
    """How many processes the kernel has killed for memory since boot; None where it does not say."""
    try:
        text = Path("/proc/vmstat").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), None)


def _cpu_model() -> str:
    """The processor's marketing name, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in fields if key.strip() == "model name"), platform.machine())


def _governor() -> str | None:
    """Frequency governor of the first CPU; None where there is none (virtual machines)."""
    return _read_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))


def _frequency_khz(cpu: int) -> int | None:
    text = _read_line(Path(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq"))
    return int(text) if text else None


def _read_line(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
