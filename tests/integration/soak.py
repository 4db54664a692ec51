"""The two sides of the soak test: a program that measures on phones, and what happens to the phones meanwhile."""

from __future__ import annotations

import hashlib
import itertools
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass, replace
from pathlib import Path

from device_agent.adb import AdbClient
from device_agent.android import AndroidDevice, PhoneSettings
from device_agent.backend import MeasurementJob
from device_agent.conditions import Limits
from device_agent.device import Artifact
from device_agent.discovery import AdbDiscovery
from device_agent.fleet import FleetBackend
from device_agent.health import HealthPolicy
from device_agent.journal import Journal
from device_agent.lease import LeaseBook
from device_agent.phone_runner import bundled_runner
from device_agent.reference import ReferencePlan
from device_agent.retry import RetryPolicy
from device_agent.session import FleetPolicy
from device_agent.virtual import PROFILES, Fault, VirtualLab, VirtualPhone
from profiling.plan import MeasurementPlan

LATENCY_MS = 10.0
RUN_S = 0.1
ROUND = 10  # jobs that are submitted together
PHONES = tuple(
    PROFILES[name].with_fixed_runs(RUN_S, LATENCY_MS)
    for name in ("virtual8", "virtual6", "virtual8", "virtual3", "virtual6", "virtual1", "virtual8", "virtual3")
)
REFUSED_EVERY = 20  # of so many jobs, one asks for a GPU that its phones do not have

PLAN = MeasurementPlan(min_blocks=3, max_blocks=3, min_runs=5, deadline_s=3.0)
SETTINGS = PhoneSettings(limits=Limits(max_wait_s=1.0, poll_s=0.05, min_uptime_s=0.0))
POLICY = FleetPolicy(
    retry=RetryPolicy(attempts=10, confirmations=3, first_delay_s=0.1, longest_delay_s=1.0),
    health=HealthPolicy(first_quarantine_s=0.3, longest_quarantine_s=2.0),
    patience_s=30.0,
    idle_s=1.0,
    lease_retry_s=0.2,
)


RUN_KINDS = frozenset({"killed", "segfault", "garbage", "truncated", "fallback"})
FAULTS = (
    Fault("unplug"),
    Fault("unplug", on="run", after=RUN_S / 2),
    Fault("unplug", on="push", after=70_000),
    Fault("offline"),
    Fault("unauthorized"),
    Fault("hang"),
    Fault("hang", on="run", after=RUN_S / 2),
    Fault("hang", on="push", after=70_000),
    Fault("reboot"),
    Fault("reboot", on="run", after=RUN_S / 2),
    Fault("storage_full"),
    Fault("storage_full", on="push", after=70_000),
    Fault("killed"),
    Fault("segfault"),
    Fault("garbage"),
    Fault("truncated"),
    Fault("fallback"),
    Fault("throttle"),
    Fault("throttle", on="run", after=RUN_S / 2),
    Fault("slow_link", rate=50_000),
    Fault("clock_jump", rate=3600),
)


def job(number: int, serials: list[str]) -> MeasurementJob:
    """The job with this number: for a model of phones, or for one phone; some ask for what these phones do not have."""
    content = random.Random(number).randbytes(150_000)
    models = sorted({phone.model for phone in PHONES[: len(serials)]})
    device = models[number % len(models)] if number % 3 else serials[number % len(serials)]
    refused = is_refused(number)
    return MeasurementJob(
        job_id=f"job {number}",
        artifact=Artifact.of(content, f"model {number}"),
        plan=replace(PLAN, delegate="gpu") if refused else PLAN,
        device=PROFILES["virtual3"].model if refused else device,
    )


def is_refused(number: int) -> bool:
    """Whether this job can only be refused."""
    return number % REFUSED_EVERY == REFUSED_EVERY - 1


def orchestrate(port: int, home: str, serials: list[str], once: bool = False) -> None:
    """A program that measures round after round until it is told to stop, and may be killed at any moment.

    Every result that it has been given is noted in a file.
    """
    folder = Path(home)
    logging.basicConfig(filename=folder / "log", level=logging.WARNING, format="%(asctime)s %(process)d %(message)s")
    runner, client = bundled_runner(), AdbClient(port=port)
    references = ReferencePlan(
        Artifact.of(b"reference", "reference"), replace(PLAN, min_blocks=2, max_blocks=2), every=8
    )
    discovery = AdbDiscovery(client, lambda phone: AndroidDevice(phone, runner, settings=SETTINGS, home=folder))
    with (
        LeaseBook(folder / "leases", ttl_s=3.0) as leases,
        Journal(folder / "journal.sqlite") as journal,
        FleetBackend([discovery], leases=leases, journal=journal, references=references, policy=POLICY) as fleet,
        (folder / "heard").open("a") as heard,
    ):
        if once:  # a last session on every phone
            futures = [fleet.submit(replace(job(0, serials), job_id=f"last {s}", device=s)) for s in serials]
            wait(futures)
            return
        for first in itertools.count(0, ROUND):
            futures = {number: fleet.submit(job(number, serials)) for number in range(first, first + ROUND)}
            for number, future in futures.items():
                result = future.result()
                heard.write(f"job {number}\t{hash_of(result.to_json())}\n")
                heard.flush()
            if (folder / "stop").exists():
                return


def hash_of(values: object) -> str:
    """Short text that tells results apart."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Due:
    at_s: float
    heal: Callable[[], None]


class Trouble:
    """Lets faults happen to the phones of a lab, one every now and then, and ends them after a while."""

    def __init__(self, lab: VirtualLab, every_s: float, seed: int) -> None:
        self._lab = lab
        self._every_s = every_s
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._ill: dict[str, _Due] = {}
        self._one_shot: Counter[str] = Counter()
        self._lasting: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._work, name="trouble")
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more faults; every phone is well afterwards."""
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error
        for phone in self._lab.phones:
            self._forget_waiting(phone)
            self._lab.heal(phone)

    @property
    def happened(self) -> Counter[str]:
        """Faults that did happen, by kind; those that still wait for their moment do not count."""
        counts = self._lasting + self._one_shot
        for phone in self._lab.phones:
            counts.subtract(fault.kind for fault in phone.faults.waiting)
        return +counts

    def _work(self) -> None:
        try:
            while not self._stop.wait(self._random.expovariate(1 / self._every_s)):
                now_s = time.monotonic()
                for serial, due in list(self._ill.items()):
                    if due.at_s <= now_s:
                        del self._ill[serial]
                        due.heal()
                self._strike(now_s)
        except BaseException as error:
            self.error = error

    def _strike(self, now_s: float) -> None:
        well = [phone for phone in self._lab.phones if phone.serial not in self._ill]
        if self._random.random() < 0.03:
            self._kill_server()
        elif well:
            self._hit(self._random.choice(well), now_s)

    def _kill_server(self) -> None:
        self._lasting["adb server killed"] += 1
        self._lab.server.kill()
        self._stop.wait(self._random.uniform(0.0, 0.5))
        self._lab.server.start()
        for phone in self._lab.phones:
            self._forget_waiting(phone)
            self._lab.heal(phone)
        self._ill.clear()

    def _hit(self, phone: VirtualPhone, now_s: float) -> None:
        fault = self._random.choice(FAULTS)
        if fault.kind in RUN_KINDS:
            self._one_shot[fault.kind] += 1
            phone.inject(fault)
            return
        self._lasting[fault.kind] += 1
        phone.inject(fault)
        until_s = now_s + self._random.uniform(0.3, 1.5)
        self._ill[phone.serial] = _Due(until_s, lambda: self._heal(phone))

    def _heal(self, phone: VirtualPhone) -> None:
        self._forget_waiting(phone)
        self._lab.heal(phone)

    def _forget_waiting(self, phone: VirtualPhone) -> None:
        """Faults that healing takes away before they have happened have not happened."""
        for fault in phone.faults.waiting:
            (self._one_shot if fault.kind in RUN_KINDS else self._lasting)[fault.kind] -= 1
        phone.faults.clear()
