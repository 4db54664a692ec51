"""AndroidDevice: a phone behind adb. Prepares it, deploys to it, runs blocks on it, and puts it back as it was."""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from device_agent import affinity, benchmark_model, orphans, restore, runner_failures
from device_agent.adb_phone import AdbPhone
from device_agent.adb_shell import TEMPORARY
from device_agent.conditions import (
    ClockLimits,
    Conditions,
    Limits,
    limitations,
    read,
    rejection,
    wait_until_ready,
)
from device_agent.deploy import BINARIES, MIN_FREE_BYTES, QUOTA_BYTES, ROOT, PhoneCache
from device_agent.device import Artifact
from device_agent.errors import CommandTimeout, DeviceError, InfrastructureError, WrongRequest
from device_agent.phone_identity import describe
from device_agent.phone_state import CpuCluster, StateUnreadable, parse_allowed_cpus
from device_agent.runner_store import Runner
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure

# A reading this young is still true when the next block is about to start.
_FRESH_S = 1.0
_KILL_AGAIN_S = 0.2
# Runs as the process that becomes the runner, so what it reports is what the runner has.
_READ_BACK = 'grep Cpus_allowed_list "/proc/$$/status"; exec "$@"'

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhoneSettings:
    """How phones are measured.

    Attributes:
        limits: What a phone has to be like before a block.
        cores: Which cluster blocks run on when the plan names no CPUs.
        stay_awake: Keep the screen on while it is plugged in.
        dim_screen: Lowest brightness, not automatic.
        lock_rotation: No rotation of the screen.
        fixed_performance: Android's fixed-performance mode (Android 11 and later, and not all of them).
        airplane: Airplane mode (Android 11 and later); only for phones on USB.
        quota_bytes: What runners and models may take on the phone.
        min_free_bytes: What stays free on its data partition.
    """

    limits: Limits = field(default_factory=Limits)
    cores: affinity.Policy = "big"
    stay_awake: bool = True
    dim_screen: bool = True
    lock_rotation: bool = True
    fixed_performance: bool = True
    airplane: bool = False
    quota_bytes: int = QUOTA_BYTES
    min_free_bytes: int = MIN_FREE_BYTES

    def switches(self) -> dict[str, str]:
        """What to set, in order: names of `switches.SWITCHES` and values. What a phone refuses is recorded."""
        wanted: dict[str, str] = {}
        if self.stay_awake:
            wanted |= {"global/stay_on_while_plugged_in": "7", "awake": "true"}  # 7: any power supply
        if self.dim_screen:
            wanted |= {"system/screen_brightness_mode": "0", "system/screen_brightness": "1"}
        if self.lock_rotation:
            wanted["system/accelerometer_rotation"] = "0"
        if self.airplane:
            wanted["airplane"] = "true"
        if self.fixed_performance:
            wanted["fixed_performance"] = "true"
        return wanted


@dataclass
class _Session:
    """A phone that is prepared: from the first deployment until `close`, or until something goes wrong with it.

    `latency_ms` of what has run in this session tells how many runs fill a block.
    """

    prepared: restore.Prepared
    clusters: tuple[CpuCluster, ...]
    last: Conditions
    last_s: float
    latency_ms: dict[tuple[str, str, int], float] = field(default_factory=dict)


class AndroidDevice:
    """A phone. Nothing is changed on it before the first deployment, and `close` puts everything back.

    Args:
        phone: Which.
        runner: The `benchmark_model` to measure with, see `phone_runner.runner_for`.
        name: How configs and people call it; None: its model and the beginning of its serial's hash.
        settings: How it is measured.
        home: The user's data folder, for the salt of the serial's hash; None: the usual one.
    """

    def __init__(
        self,
        phone: AdbPhone,
        runner: Runner,
        *,
        name: str | None = None,
        settings: PhoneSettings | None = None,
        home: Path | None = None,
    ) -> None:
        self._phone = phone
        self._runner = runner
        self._name = name
        self._settings = settings or PhoneSettings()
        self._home = home
        self._cache = PhoneCache(
            phone, quota_bytes=self._settings.quota_bytes, min_free_bytes=self._settings.min_free_bytes
        )
        self._clocks = ClockLimits()  # outlives sessions: a phone that throttles now is not to be the measure
        self._session: _Session | None = None
        self._touched = False
        self._closed = threading.Event()
        self._lock = threading.Lock()

    @cached_property
    def info(self) -> DeviceInfo:
        """This phone, and the runner it is measured with. Raises as `phone_identity.describe` does."""
        runtime = f"benchmark_model {self._runner.sha256[:16]}"
        info = describe(self._phone, name=self._name, runtime=runtime, home=self._home)
        runner = {"sha256": self._runner.sha256, "abi": self._runner.abi, "version": self._runner.version_hint}
        return dataclasses.replace(info, properties={**info.properties, "runner": runner})

    @property
    def identity(self) -> Literal["artifact", "architecture"]:
        """The artifact: what runs is the file."""
        return "artifact"

    def deploy(self, artifact: Artifact) -> None:
        """Push runner and artifact, if they are not there; see `PhoneCache.model` for what is raised."""
        with self._in_session():
            self._deploy(artifact)

    def run_block(self, artifact: Artifact, plan: MeasurementPlan, index: int) -> Block:
        """Run one block in a process of its own, once the phone is ready.

        The block is rejected as `throttled` when the phone throttled at its beginning or end, as `affinity_changed`
        when its process ran on other CPUs than asked for, as `screen_off` or `power_saver` when that came over it.

        Raises:
            WrongRequest: The plan asks for what this phone or runner does not have.
            ModelRefused, ModelCrashed, ModelOutOfMemory: It is the model; one crash alone proves little (`retry`).
            CommandTimeout: The deadline passed; the process was killed.
            PhoneNotReady: The phone stayed too hot, too empty or switched off for too long.
            InfrastructureError: Anything else that is not the model's fault.
        """
        with self._in_session() as session:
            binary, graph = self._deploy(artifact)
            cpus = self._cpus(plan, session)
            key = (artifact.sha256, plan.delegate, plan.threads)
            runs = benchmark_model.runs_for(plan, session.latency_ms.get(key))
            words = benchmark_model.command(binary, graph, dataclasses.replace(plan, affinity=cpus), runs=runs)
            outcome = self._run(words, plan, runs, cpus, session)
            if isinstance(outcome, Failure):
                raise runner_failures.error_of(outcome, device=self.info.name, command=f"measure {artifact.label}")
            session.latency_ms[key] = outcome.value_ms
            return dataclasses.replace(outcome, index=index)

    def health(self) -> tuple[str, ...]:
        """What limits the accuracy of measurements on this phone now. Raises as `conditions.read` does."""
        findings = limitations(
            read(self._phone),
            self._settings.limits,
            shell_v2="shell_v2" in self._phone.features(),
            free_bytes=self._phone.free_bytes(TEMPORARY),
        )
        session = self._session
        refused = session.prepared.refused if session is not None else ()
        return tuple(f"{self.info.name}: {finding}" for finding in findings) + tuple(
            f"{self.info.name}: {switch} could not be set" for switch in refused
        )

    def close(self) -> None:
        """Kill what runs, put everything back; idempotent, and allowed from another thread while a block runs.

        If the phone cannot be reached, that is logged, and its journal has the next session put everything back.
        """
        self._closed.set()
        while not self._lock.acquire(timeout=_KILL_AGAIN_S):  # a block runs, or is about to
            with suppress(DeviceError):  # the phone may be gone; then so is what runs there
                orphans.sweep(self._phone, BINARIES)
        try:
            if self._touched:
                self._touched = False
                orphans.sweep(self._phone, BINARIES)
                restore.restore(self._phone)
        except DeviceError as error:
            _logger.warning("%s: left as it is; the next session will put it back: %s", self._phone.serial, error)
        finally:
            self._lock.release()

    @contextmanager
    def _in_session(self) -> Iterator[_Session]:
        """A prepared phone; after an infrastructure error nothing is taken for granted, and it is prepared again."""
        with self._lock:
            try:
                self._require_open()
                if self._session is None:
                    self._session = self._prepare()
                yield self._session
            except (InfrastructureError, CommandTimeout):
                self._session = None
                raise

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise InfrastructureError("the device was closed", device=self._phone.serial)

    def _prepare(self) -> _Session:
        wanted = self._settings.switches()
        if "airplane" in wanted and self.info.kind != "virtual" and re.search(r":[0-9]+$", self._phone.serial):
            raise WrongRequest(
                "airplane mode would cut the link to a phone on TCP", device=self._phone.serial, hint="use a cable"
            )
        self._touched = True
        orphans.sweep(self._phone, BINARIES)
        self._cache.open()
        prepared = restore.prepare(self._phone, wanted)
        conditions = read(self._phone)
        return _Session(prepared, conditions.clusters, conditions, time.monotonic())

    def _deploy(self, artifact: Artifact) -> tuple[str, str]:
        """Paths of runner and model on the phone."""
        return self._cache.binary(self._runner), self._cache.model(artifact)

    def _cpus(self, plan: MeasurementPlan, session: _Session) -> tuple[int, ...]:
        """What to pin the process to; empty where the phone does not say what processors it has."""
        online = {cpu for cluster in session.clusters for cpu in cluster.cpus}
        if missing := sorted(set(plan.affinity) - online):
            raise WrongRequest(
                f"no CPU {missing[0]} to pin to", device=self.info.name, hint=f"online: {sorted(online)}"
            )
        if plan.affinity or not online:
            return tuple(sorted(set(plan.affinity)))
        return affinity.choose(session.clusters, plan.threads, self._settings.cores)

    def _run(
        self, words: list[str], plan: MeasurementPlan, runs: int, cpus: tuple[int, ...], session: _Session
    ) -> Block | Failure:
        """One process, between two readings."""
        known = session.last if time.monotonic() - session.last_s < _FRESH_S else None
        before, waited_s = wait_until_ready(self._phone, self._settings.limits, self._clocks, cpus, self._closed, known)
        binary_at = next(place for place, word in enumerate(words) if word.startswith(f"{BINARIES}/"))
        launched = [*words[:binary_at], "sh", "-c", _READ_BACK, "sh", *words[binary_at:]]
        self._require_open()
        started_at = time.time()
        result = self._phone.run(launched, benchmark_model.deadline_s(plan), cwd=ROOT)
        self._require_open()  # otherwise the runner was killed by closing
        session.last, session.last_s = after, _ = read(self._phone), time.monotonic()
        self._clocks.see(after)
        outcome = benchmark_model.parse(result.stdout, result.stderr, result.exit_code, plan, runs=runs)
        if isinstance(outcome, Failure):
            return outcome
        effective = _allowed_cpus(result.stdout)
        reason = rejection(before, after, self._clocks, effective)
        if not reason and cpus and set(effective) != set(cpus):
            reason = "affinity_changed"
        read_back: Mapping[str, Any] = {
            "affinity": list(effective),
            "affinity_requested": list(cpus),
            "before": before.to_json(),
            "after": after.to_json(),
            "thermal_observability": after.thermal.observability,
            "waited_s": round(waited_s, 3),
            "switches": dict(session.prepared.effective),
            "refused": list(session.prepared.refused),
            "runner_sha256": self._runner.sha256,
        }
        return dataclasses.replace(
            outcome,
            started_at=started_at,
            duration_s=result.duration_s,
            status="rejected" if reason else "ok",
            reason=reason,
            conditions={**outcome.conditions, **read_back},
        )


def _allowed_cpus(stdout: str) -> tuple[int, ...]:
    """The CPUs that the process reported before it became the runner; empty where it could not."""
    try:
        return parse_allowed_cpus(stdout.partition("\n")[0])
    except StateUnreadable:
        return ()
