"""The fleet: devices come and go, fail and drift; every job ends once, and no fault of theirs becomes knowledge."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.adb_errors import AdbServerLost, DeviceLost, DeviceUnauthorized
from device_agent.backend import MeasurementBackend, MeasurementJob, MeasurementResult
from device_agent.device import Artifact
from device_agent.discovery import FixedDevices
from device_agent.errors import CommandTimeout, DeviceError, InfrastructureError, ModelCrashed, ModelRefused
from device_agent.fleet import FleetBackend
from device_agent.gate import GateClosed
from device_agent.health import HealthPolicy
from device_agent.host import HostDevice
from device_agent.journal import Journal
from device_agent.lease import LeaseBook
from device_agent.reference import ReferencePlan
from device_agent.retry import RetryPolicy
from device_agent.session import FleetPolicy
from device_agent.ticket import MEASURED_ON
from profiling.plan import MeasurementPlan
from profiling.records import Block, Failure, Measurement
from tests.device_agent.conftest import LONG_S, until
from tests.device_agent.models import small_artifact
from tests.device_agent.phones import Bench, BenchPhone, Run, steady

MODEL = Artifact.of(b"model", "model")
PLAN = MeasurementPlan()
POLICY = FleetPolicy(
    retry=RetryPolicy(first_delay_s=0.001, longest_delay_s=0.002),
    health=HealthPolicy(first_quarantine_s=0.05, longest_quarantine_s=0.2),
    lease_retry_s=0.01,
)
StartFleet = Callable[..., FleetBackend]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def start(bench: Bench) -> Iterator[StartFleet]:
    """Starts fleets on the bench; all are closed at the end."""
    fleets: list[FleetBackend] = []

    def started(**options: object) -> FleetBackend:
        fleets.append(FleetBackend([bench], **{"policy": POLICY, **options}))  # type: ignore[arg-type]
        return fleets[-1]

    yield started
    for fleet in fleets:
        fleet.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("device ", "patience"))]


def job(name: str = "1", device: str = "Pixel 7", artifact: Artifact = MODEL) -> MeasurementJob:
    return MeasurementJob(name, artifact, PLAN, device)


def failing(*errors: DeviceError | float, then: Run = steady) -> Run:
    """Runs that raise these errors, or take so long, one after the other, and then are as another one."""
    waiting = list(errors)

    def run(artifact: Artifact, count: int) -> float:
        step = waiting.pop(0) if waiting else then(artifact, count)
        if isinstance(step, DeviceError):
            raise step
        return step

    return run


def always(error: DeviceError) -> Run:
    def run(artifact: Artifact, count: int) -> float:
        raise error

    return run


def measured(result: MeasurementResult) -> Measurement:
    assert isinstance(result, Measurement), result
    return result


def failed(result: MeasurementResult) -> Failure:
    assert isinstance(result, Failure), result
    return result


# Matching -------------------------------------------------------------------------------------------------------


def test_names_serials_and_models(bench: Bench, start: StartFleet) -> None:
    fleet: MeasurementBackend = start()
    bench.plug(BenchPhone("A"), BenchPhone("B"), BenchPhone("C", model="Galaxy"))
    for wanted, names in (
        ("name of B", {"name of B"}),
        ("A", {"name of A"}),
        ("Galaxy", {"name of C"}),
        ("Pixel 7", {"name of A", "name of B"}),
    ):
        assert measured(fleet.submit(job(wanted, wanted)).result(LONG_S)).device.name in names
    assert {info.name for info in fleet.inventory()} == {"name of A", "name of B", "name of C"}


def test_replicate_phones_share_the_work(bench: Bench, start: StartFleet) -> None:
    """Both are needed at once to get past the barrier."""
    barrier = threading.Barrier(2, timeout=LONG_S)

    def meet(artifact: Artifact, count: int) -> float:
        if count == 1:
            barrier.wait()
        return 10.0

    fleet = start()
    bench.plug(BenchPhone("A", meet), BenchPhone("B", meet))
    futures = [fleet.submit(job(str(i))) for i in range(20)]
    assert {measured(future.result(LONG_S)).device.name for future in futures} == {"name of A", "name of B"}
    assert sum(status.measured for status in fleet.status()) == 20


def test_this_host_is_a_device_like_others(bench: Bench) -> None:
    """A real one: LiteRT runs in processes."""
    with FleetBackend([bench, FixedDevices([HostDevice()])]) as fleet:
        bench.plug(BenchPhone("A"))
        plan = MeasurementPlan(2, 2, min_runs=3, max_runs=10, block_seconds=0.01, warmup_seconds=0.0)
        host = fleet.submit(MeasurementJob("1", small_artifact(), plan, "host"))
        phone = fleet.submit(job("2"))
        assert measured(phone.result(LONG_S)).device.kind == "adb"
        assert measured(host.result(LONG_S)).device.kind == "host"


# Errors ---------------------------------------------------------------------------------------------------------


def test_what_a_runtime_says_of_a_model_is_a_result_at_once(bench: Bench, start: StartFleet) -> None:
    phone = BenchPhone("A", always(ModelRefused("no such operator", code="unsupported_operator")))
    fleet = start()
    bench.plug(phone)
    assert failed(fleet.submit(job()).result(LONG_S)) == Failure("model", "unsupported_operator", "no such operator")
    assert phone.runs == 1
    assert fleet.status()[0].strikes == 0


def test_a_lost_phone_s_job_goes_to_another(bench: Bench, start: StartFleet) -> None:
    entered = threading.Event()

    def break_off(artifact: Artifact, count: int) -> float:
        entered.set()
        raise DeviceLost("unplugged", device="A")

    broken, good = BenchPhone("A", break_off), BenchPhone("B")
    fleet = start()
    bench.plug(broken)
    future = fleet.submit(job())
    assert entered.wait(LONG_S)
    bench.plug(good)
    assert measured(future.result(LONG_S)).device.name == "name of B"


def test_blocks_of_different_phones_are_never_mixed(bench: Bench, start: StartFleet) -> None:
    """The first phone is lost after two blocks; the second one is twice as fast."""
    first = BenchPhone("A", failing(10.0, 10.0, then=always(DeviceLost("unplugged", device="A"))))
    blocks: list[Block] = []
    fleet = start()
    bench.plug(first)
    future = fleet.submit(job(), blocks.append)
    while first.runs < 3:
        assert not future.done()
    bench.plug(BenchPhone("B", lambda artifact, count: 5.0))
    measurement = measured(future.result(LONG_S))
    assert measurement.latency_ms == pytest.approx(5.0)
    assert len({block.index for block in blocks}) == len(blocks), "each can be kept under its own number"
    assert {block.conditions[MEASURED_ON] for block in measurement.blocks} == {"B 1"}
    assert {block.conditions[MEASURED_ON] for block in blocks} == {"A 1", "B 1"}


def test_earlier_blocks_of_the_same_phone_count(bench: Bench, start: StartFleet) -> None:
    fleet = start()
    bench.plug(BenchPhone("A"))
    mine, other = {MEASURED_ON: "A 1"}, {MEASURED_ON: "B 1"}
    earlier = (
        *(Block(i, 20, "median", 10.0, conditions=mine) for i in range(3)),
        *(Block(i, 20, "median", 99.0, conditions=other) for i in range(3, 6)),
    )
    new: list[Block] = []
    measurement = measured(fleet.submit(replace(job(), earlier_blocks=earlier), new.append).result(LONG_S))
    assert measurement.latency_ms == pytest.approx(10.0)
    assert [block.index for block in measurement.blocks] == [0, 1, 2, 6]
    assert [block.index for block in new] == [6]


def test_an_infrastructure_error_everywhere_ends_after_so_many_attempts(bench: Bench, start: StartFleet) -> None:
    fleet = start()
    bench.plug(BenchPhone("A", always(DeviceLost("unplugged", device="A"))))
    failure = failed(fleet.submit(job()).result(LONG_S))
    assert (failure.kind, failure.code) == ("infrastructure", "device_lost")


def test_a_phone_that_fails_is_set_aside_and_tried_again(bench: Bench, start: StartFleet) -> None:
    """Five failures in a row: three strikes, and two probations that fail; the sixth run is good."""
    quarantine = HealthPolicy(first_quarantine_s=0.5, longest_quarantine_s=0.5)  # long enough to be seen
    fleet = start(policy=replace(POLICY, retry=replace(POLICY.retry, attempts=10), health=quarantine))
    phone = BenchPhone("A", failing(*[DeviceLost("bad cable", device="A")] * 5))
    bench.plug(phone)
    future = fleet.submit(job())
    states = set()
    while not future.done():
        states |= {(status.state, status.reason) for status in fleet.status()}
    assert measured(future.result()).grade == "A"
    assert ("quarantined", "bad cable") in states
    assert fleet.status()[0].strikes == 0


def test_a_quarantined_phone_gets_no_jobs_while_others_do(bench: Bench, start: StartFleet) -> None:
    policy = replace(POLICY, health=HealthPolicy(first_quarantine_s=3000))
    broken = BenchPhone("A", always(DeviceLost("bad cable", device="A")))
    fleet = start(policy=policy)
    bench.plug(broken, BenchPhone("B"))
    futures = [fleet.submit(job(str(i))) for i in range(40)]
    assert all(measured(future.result(LONG_S)).device.name == "name of B" for future in futures)
    assert broken.runs <= 3


@pytest.mark.parametrize(
    "error",
    [AdbServerLost("no server"), DeviceUnauthorized("no key", device="A")],
    ids=["adb server", "unauthorized"],
)
def test_what_is_nobody_s_fault_costs_no_strike(bench: Bench, start: StartFleet, error: DeviceError) -> None:
    fleet = start(policy=replace(POLICY, retry=replace(POLICY.retry, attempts=1)))
    phone = BenchPhone("A", failing(*[error] * 6))
    bench.plug(phone)
    assert measured(fleet.submit(job()).result(LONG_S)).grade == "A"
    assert fleet.status()[0].state != "quarantined"
    assert phone.runs == 10


def test_a_missed_deadline_is_tried_once_more_elsewhere(bench: Bench, start: StartFleet) -> None:
    late = CommandTimeout("too slow")
    slow, other = BenchPhone("A", always(late)), BenchPhone("B", always(late))
    fleet = start()
    bench.plug(slow, other)
    assert fleet.wait_for_devices(2, LONG_S)
    assert failed(fleet.submit(job()).result(LONG_S)) == Failure("timeout", "deadline", "too slow")
    assert (slow.runs, other.runs) == (1, 1)


def test_a_phone_that_missed_a_deadline_is_opened_anew(bench: Bench, start: StartFleet) -> None:
    """If it has stopped answering, that shows then, and no further model is blamed for it."""
    phone = BenchPhone("A", failing(CommandTimeout("too slow")))
    fleet = start()
    bench.plug(phone)
    measured(fleet.submit(job()).result(LONG_S))
    assert phone.opened_times == 2


def test_a_crash_is_the_model_s_only_if_it_happens_again(bench: Bench, start: StartFleet) -> None:
    crash = ModelCrashed("segfault")
    phones = [BenchPhone("A", always(crash)), BenchPhone("B", always(crash))]
    fleet = start()
    bench.plug(*phones)
    assert fleet.wait_for_devices(2, LONG_S)
    assert failed(fleet.submit(job()).result(LONG_S)) == Failure("model", "crash", "segfault")
    assert [phone.runs for phone in phones] == [1, 1]
    assert {status.strikes for status in fleet.status()} == {0}, "it was the model"


def test_a_phone_on_which_working_models_crash_is_struck(bench: Bench, start: StartFleet) -> None:
    crashing = BenchPhone("A", always(ModelCrashed("segfault")))
    fleet = start(policy=replace(POLICY, health=HealthPolicy(first_quarantine_s=3000)))
    bench.plug(crashing, BenchPhone("B"))
    assert fleet.wait_for_devices(2, LONG_S)  # alone, a phone is believed: the model crashes
    results = [fleet.submit(job(str(i))).result(LONG_S) for i in range(30)]
    assert all(measured(result).device.name == "name of B" for result in results)
    assert crashing.runs <= 3


def test_a_model_that_worked_is_not_blamed_for_a_crash(bench: Bench, start: StartFleet) -> None:
    fleet = start()
    bench.plug(BenchPhone("A", failing(10.0, then=always(ModelCrashed("killed")))))
    assert failed(fleet.submit(job()).result(LONG_S)).kind == "infrastructure"


def test_a_phone_that_only_throttles_gives_no_measurement(bench: Bench, start: StartFleet) -> None:
    fleet = start()
    bench.plug(BenchPhone("A", lambda artifact, count: -10.0))
    failure = failed(fleet.submit(job()).result(LONG_S))
    assert (failure.kind, failure.code) == ("infrastructure", "blocks_rejected")


def test_rejected_blocks_are_not_carried_into_the_next_attempt(bench: Bench, start: StartFleet) -> None:
    fleet = start()
    bench.plug(BenchPhone("A", lambda artifact, count: -10.0 if count <= PLAN.max_blocks else 10.0))
    measurement = measured(fleet.submit(job()).result(LONG_S))
    assert measurement.grade == "A"
    assert measurement.blocks[0].index == PLAN.max_blocks


def test_a_block_that_cannot_be_kept_ends_the_job_loudly(bench: Bench, start: StartFleet) -> None:
    def full_disk(block: Block) -> None:
        raise OSError(28, "No space left on device")

    fleet = start()
    bench.plug(BenchPhone("A"))
    with pytest.raises(OSError, match="No space left"):
        fleet.submit(job(), full_disk).result(LONG_S)
    assert measured(fleet.submit(job("2")).result(LONG_S))


# Coming and going -----------------------------------------------------------------------------------------------


def test_jobs_wait_for_phones(bench: Bench, start: StartFleet) -> None:
    fleet = start()
    future = fleet.submit(job())
    assert not fleet.wait_for_devices(1, 0.01)
    bench.plug(BenchPhone("A"))
    assert fleet.wait_for_devices(1, LONG_S)
    assert measured(future.result(LONG_S))


def test_phones_that_never_come_end_their_jobs(bench: Bench, start: StartFleet) -> None:
    fleet = start(policy=replace(POLICY, patience_s=0.05))
    bench.plug(BenchPhone("A"))
    assert fleet.wait_for_devices(1, LONG_S)
    assert measured(fleet.submit(job("1", "A")).result(LONG_S))
    failure = failed(fleet.submit(job("2", "Galaxy")).result(LONG_S))
    assert (failure.kind, failure.code) == ("infrastructure", "no_device")
    assert "no 'Galaxy' could be used for 0.05 s" in failure.detail


def test_an_unauthorized_phone_is_named_in_the_failure(bench: Bench, start: StartFleet) -> None:
    fleet = start(policy=replace(POLICY, patience_s=0.05))
    bench.plug(BenchPhone("A"), state="unauthorized")
    until(lambda: bool(fleet.status()))
    failure = failed(fleet.submit(job()).result(LONG_S))
    assert "A is unusable (unauthorized)" in failure.detail
    status = fleet.status()[0]
    assert (status.state, status.info) == ("unusable", None)
    assert "accept this computer's key" in status.hint


def test_unplugged_in_the_middle_and_plugged_in_again(bench: Bench, start: StartFleet) -> None:
    entered, leave = threading.Event(), threading.Event()

    def run(artifact: Artifact, count: int) -> float:
        if count == 2:
            entered.set()
            leave.wait(LONG_S)
            raise DeviceLost("unplugged", device="A")
        return 10.0

    phone = BenchPhone("A", run)
    fleet = start()
    bench.plug(phone)
    future = fleet.submit(job())
    assert entered.wait(LONG_S)
    bench.unplug(phone)
    while fleet.status()[0].state != "absent":
        assert not future.done()
    leave.set()
    while phone.in_use:
        assert not future.done()
    bench.plug(phone)
    measurement = measured(future.result(LONG_S))
    assert [block.index for block in measurement.blocks] == [0, 1, 2, 3], "the block it had counts"


def test_a_phone_with_another_system_starts_its_measurement_again(bench: Bench, start: StartFleet) -> None:
    phone = BenchPhone("A")

    def update(artifact: Artifact, count: int) -> float:
        if count == 2:
            phone.epoch = "2"
            raise DeviceLost("rebooted", device="A")
        return 10.0

    phone.run = update
    fleet = start()
    bench.plug(phone)
    measurement = measured(fleet.submit(job()).result(LONG_S))
    assert measurement.device.epoch == "2"
    assert {block.conditions[MEASURED_ON] for block in measurement.blocks} == {"A 2"}


def test_an_idle_phone_is_let_go(bench: Bench, start: StartFleet, tmp_path: Path) -> None:
    phone = BenchPhone("A")
    with LeaseBook(tmp_path) as leases:
        fleet = start(leases=leases, policy=replace(POLICY, idle_s=0.01))
        bench.plug(phone)
        assert measured(fleet.submit(job()).result(LONG_S))
        while leases.held():
            pass
        assert phone.closed_times >= 1
        assert measured(fleet.submit(job("2")).result(LONG_S)), "and taken again"
        fleet.close()


# Leases and the journal -----------------------------------------------------------------------------------------


def test_two_programs_take_turns(tmp_path: Path) -> None:
    """They see the same phone, which must never be run by both."""
    running, overlaps = threading.Lock(), 0

    def alone(artifact: Artifact, count: int) -> float:
        nonlocal overlaps
        if not running.acquire(blocking=False):
            overlaps += 1
            return 10.0
        try:
            threading.Event().wait(0.002)
            return 10.0
        finally:
            running.release()

    benches = [Bench(), Bench()]
    policy = replace(POLICY, idle_s=0.01)
    with LeaseBook(tmp_path) as ours, LeaseBook(tmp_path) as theirs:
        fleets = [
            FleetBackend([bench], leases=book, policy=policy)
            for bench, book in zip(benches, (ours, theirs), strict=True)
        ]
        for bench in benches:
            bench.plug(BenchPhone("A", alone))
        futures = [fleet.submit(job(str(i))) for i in range(5) for fleet in fleets]
        assert all(measured(future.result(LONG_S)) for future in futures)
        for fleet in fleets:
            fleet.close()
    assert overlaps == 0


def test_a_phone_that_another_program_keeps_ends_the_job_with_its_name(
    bench: Bench, start: StartFleet, tmp_path: Path
) -> None:
    with LeaseBook(tmp_path) as ours, LeaseBook(tmp_path) as theirs:
        theirs.acquire("A")
        fleet = start(leases=ours, policy=replace(POLICY, patience_s=0.1))
        phone = BenchPhone("A")
        bench.plug(phone)
        until(lambda: any(status.reason for status in fleet.status()))
        failure = failed(fleet.submit(job()).result(LONG_S))
        fleet.close()
    assert failure.code == "no_device"
    assert "in use by process" in failure.detail
    assert phone.runs == 0


def test_what_a_stale_holder_measured_is_refused(bench: Bench, start: StartFleet, tmp_path: Path) -> None:
    """The lease is taken over while a block runs: that block, and the result, do not count."""
    now_s = 0.0
    with (
        LeaseBook(tmp_path, clock=lambda: now_s) as ours,
        LeaseBook(tmp_path, clock=lambda: now_s) as theirs,
        Journal(tmp_path / "journal") as journal,
    ):

        def run(artifact: Artifact, count: int) -> float:
            nonlocal now_s
            if count == 2:
                now_s += 1000
                theirs.release(theirs.acquire("A"))
                return 77.0
            return 10.0

        fleet = start(leases=ours, journal=journal)
        phone = BenchPhone("A", run)
        bench.plug(phone)
        blocks: list[Block] = []
        measurement = measured(fleet.submit(job(), blocks.append).result(LONG_S))
        fleet.close()
        assert journal.result("1") == measurement
    assert (phone.opened_times, phone.closed_times) == (2, 1), "what is somebody else's is not put back by the loser"
    assert [block.value_ms for block in blocks] == [10.0] * 4


def test_a_job_that_the_journal_knows_is_not_done_again(bench: Bench, start: StartFleet, tmp_path: Path) -> None:
    phone = BenchPhone("A")
    with Journal(tmp_path / "journal") as journal:
        first = start(journal=journal)
        bench.plug(phone)
        result = first.submit(job()).result(LONG_S)
        runs = phone.runs
        assert first.submit(job()).result(LONG_S) == result
        first.close()
        with FleetBackend([Bench()], journal=journal) as second:
            assert second.submit(job()).result(LONG_S) == result
    assert phone.runs == runs


def test_failures_are_in_the_journal_too(bench: Bench, start: StartFleet, tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        fleet = start(journal=journal, policy=replace(POLICY, patience_s=0.02))
        bench.plug(BenchPhone("A", always(ModelRefused("corrupt"))))
        assert fleet.wait_for_devices(1, LONG_S)
        refused = fleet.submit(job("1")).result(LONG_S)
        missing = fleet.submit(job("2", "Galaxy")).result(LONG_S)
        fleet.close()
        assert journal.results() == {"1": refused, "2": missing}


# References -----------------------------------------------------------------------------------------------------


class Drifting:
    """A phone's speed, which a test changes; `reference` counts runs of the reference model."""

    def __init__(self) -> None:
        self.factor = 1.0
        self.references = 0

    def __call__(self, artifact: Artifact, count: int) -> float:
        wobble = math.exp(0.002 * math.sin(7 * count))
        if artifact.label == "reference":
            self.references += 1
            return 5.0 * wobble * self.factor
        return 10.0 * wobble * self.factor


REFERENCES = ReferencePlan(Artifact.of(b"reference", "reference"), every=3)


def test_references_are_measured_between_jobs(bench: Bench, start: StartFleet, tmp_path: Path) -> None:
    speed = Drifting()
    with Journal(tmp_path / "journal") as journal, LeaseBook(tmp_path) as leases:
        fleet = start(references=REFERENCES, journal=journal, leases=leases)
        bench.plug(BenchPhone("A", speed))
        results = [measured(fleet.submit(job(str(i))).result(LONG_S)) for i in range(10)]
        fleet.close()
        assert [reference.verdict for reference in journal.references("A")] == ["starting", "good", "good", "good"]
        assert journal.suspects() == {}
    assert speed.references == 4 * REFERENCES.plan.min_blocks
    assert results[0].device.properties["reference"]["count"] == 1
    assert results[-1].device.properties["reproducibility_sd_log"] > 0
    assert results[-1].standard_error_log >= results[-1].device.properties["reproducibility_sd_log"]


def test_a_device_of_this_process_has_a_chart_too(tmp_path: Path) -> None:
    """Nobody can take it away, so it needs no lease."""
    speed, key = Drifting(), "name of A"
    with LeaseBook(tmp_path / "leases") as leases, Journal(tmp_path / "journal") as journal:
        for number in range(14):
            speed.factor = 1.0 if number < 10 else 1.5
            if number in (0, 8):  # another program, on the same journal
                host = FixedDevices([BenchPhone("A", speed).opened()])
                fleet = FleetBackend([host], leases=leases, journal=journal, references=REFERENCES, policy=POLICY)
            measured(fleet.submit(job(str(number), key)).result(LONG_S))
            assert leases.held() == ()
            if number in (7, 13):
                fleet.close()
        verdicts = [reference.verdict for reference in journal.references(key)]
        assert verdicts == ["starting", *["good"] * 3, "shifted", "shifted", "recalibrated"]
        assert list(journal.suspects()) == ["8", "9", "10"]


def test_drift_marks_measurements_and_a_new_self_is_learned(bench: Bench, start: StartFleet, tmp_path: Path) -> None:
    speed, marked = Drifting(), []
    with Journal(tmp_path / "journal") as journal, LeaseBook(tmp_path) as leases:
        fleet = start(
            references=REFERENCES,
            journal=journal,
            leases=leases,
            on_suspect=lambda jobs, why: marked.append((jobs, why)),
        )
        bench.plug(BenchPhone("A", speed))
        for i in range(10):  # references before jobs 0, 3, 6 and 9
            measured(fleet.submit(job(str(i))).result(LONG_S))
        speed.factor = 1.5
        for i in range(10, 14):
            measured(fleet.submit(job(str(i))).result(LONG_S))
        fleet.close()
        verdicts = [reference.verdict for reference in journal.references("A")]
        assert verdicts[-3:] == ["shifted", "shifted", "recalibrated"]
        assert list(journal.suspects()) == ["9", "10", "11"], "since the last good reference, and not later ones"
    assert [jobs for jobs, _ in marked] == [("9", "10", "11")]
    assert "the reference model's latency had shifted by +40." in marked[0][1]


def test_a_phone_whose_references_contradict_each_other_is_struck(
    bench: Bench, start: StartFleet, tmp_path: Path
) -> None:
    speed = Drifting()
    blocks = REFERENCES.plan.min_blocks

    def erratic(artifact: Artifact, count: int) -> float:
        latency_ms = speed(artifact, count)
        if artifact.label == "reference" and speed.references > 3 * blocks:
            latency_ms *= (1.5, 0.6, 2.5)[(speed.references - 1) // blocks % 3]
        return latency_ms

    with Journal(tmp_path / "journal") as journal, LeaseBook(tmp_path) as leases:
        policy = replace(POLICY, health=HealthPolicy(strikes=1, first_quarantine_s=3000), patience_s=0.05)
        fleet = start(references=REFERENCES, journal=journal, leases=leases, policy=policy)
        bench.plug(BenchPhone("A", erratic))
        assert fleet.wait_for_devices(1, LONG_S)
        results = [fleet.submit(job(str(i))).result(LONG_S) for i in range(10)]
        fleet.close()
        assert all(measured(result) for result in results[:9])
        assert failed(results[9]).code == "no_device"
        assert fleet.status()[0].state == "quarantined"
        assert "shifted" in fleet.status()[0].reason
        assert list(journal.suspects()) == ["6", "7", "8"]


def test_the_chart_goes_on_where_the_last_program_ended(start: StartFleet, tmp_path: Path) -> None:
    speed = Drifting()
    with Journal(tmp_path / "journal") as journal, LeaseBook(tmp_path) as leases:
        for night in range(8):
            bench = Bench()
            with FleetBackend([bench], references=REFERENCES, journal=journal, leases=leases, policy=POLICY) as fleet:
                bench.plug(BenchPhone("A", speed))
                measured(fleet.submit(job(str(night))).result(LONG_S))
            speed.factor = 1.3 if night == 6 else 1.0
        assert list(journal.suspects()) == ["6"]


def test_a_phone_that_cannot_run_the_reference_gets_no_jobs(bench: Bench, start: StartFleet) -> None:
    def run(artifact: Artifact, count: int) -> float:
        if artifact.label == "reference":
            raise ModelCrashed("segfault")
        return 10.0

    broken = BenchPhone("A", run)
    fleet = start(references=REFERENCES)
    bench.plug(broken, BenchPhone("B"))
    results = [fleet.submit(job(str(i))).result(LONG_S) for i in range(10)]
    assert {measured(result).device.name for result in results} == {"name of B"}


# Closing --------------------------------------------------------------------------------------------------------


def test_closing_cancels_what_waits_and_ends_what_runs(bench: Bench, start: StartFleet, tmp_path: Path) -> None:
    entered = threading.Event()

    def run(artifact: Artifact, count: int) -> float:
        entered.set()
        assert phone.was_closed.wait(LONG_S)
        raise InfrastructureError("the device was closed", device="A")

    phone = BenchPhone("A", run)
    with LeaseBook(tmp_path) as leases:
        fleet = start(leases=leases)
        bench.plug(phone)
        running, waiting = fleet.submit(job("1")), fleet.submit(job("2"))
        assert entered.wait(LONG_S)
        fleet.close()
        with pytest.raises(CancelledError):
            waiting.result(LONG_S)
        with pytest.raises(GateClosed):
            running.result(LONG_S)
        assert not phone.in_use
        assert leases.held() == ()
    with pytest.raises(RuntimeError, match="closed"):
        fleet.submit(job("3"))
    fleet.close()


def test_a_job_cancelled_by_its_owner_is_not_done(bench: Bench, start: StartFleet) -> None:
    fleet = start()
    future = fleet.submit(job())
    assert future.cancel()
    phone = BenchPhone("A")
    bench.plug(phone)
    assert measured(fleet.submit(job("2")).result(LONG_S))
    assert phone.runs == 4


def test_many_jobs_on_phones_that_fail_at_random_each_end_once(bench: Bench, start: StartFleet, tmp_path: Path) -> None:
    """Every third run fails with one of these; nothing of it may show in the results."""
    errors = [
        DeviceLost("unplugged"),
        AdbServerLost("gone"),
        ModelCrashed("killed"),
        DeviceUnauthorized("no key"),
        CommandTimeout("slow"),
    ]

    def run(artifact: Artifact, count: int) -> float:
        if count % 3 == 0 and count < 60:
            raise errors[count // 3 % len(errors)]
        return 10.0

    generous = RetryPolicy(50, 50, 50, 500, first_delay_s=0.001, longest_delay_s=0.001)
    health = HealthPolicy(first_quarantine_s=0.001, longest_quarantine_s=0.001)
    with Journal(tmp_path / "journal") as journal:
        fleet = start(journal=journal, policy=replace(POLICY, retry=generous, health=health))
        bench.plug(*(BenchPhone(key, run) for key in "ABCD"))
        futures = [fleet.submit(job(str(i))) for i in range(100)]
        assert all(measured(future.result(LONG_S)).latency_ms == pytest.approx(10.0) for future in futures)
        fleet.close()
        assert len(journal.results()) == 100
