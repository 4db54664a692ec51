"""A virtual phone behind a real adb server runs parts of networks."""

from __future__ import annotations

from pathlib import Path

from device_agent.journal import Journal
from device_agent.local import LocalBackend
from orchestrator.cli.phones import opened_virtual
from orchestrator.lut.items import Target, empty_item, part_items
from orchestrator.lut.ledger import Ledger
from orchestrator.lut.passes import Passes
from profiling.plan import MeasurementPlan

PLAN = MeasurementPlan(1, 1, min_runs=30, block_seconds=0.02, warmup_runs=1, warmup_seconds=0.0)


def test_parts_run_on_a_phone(tmp_path: Path) -> None:
    first, *_, last = part_items(Target(1.0, (64,), 10))
    items = (empty_item(), first, last)
    with opened_virtual(1) as phone, Journal(tmp_path / "journal.sqlite") as journal:
        info = phone.info
        backend = LocalBackend([phone], accept_unusable=True)
        passes = Passes(
            backend, info, PLAN, Ledger(journal, "test"), seed=0, progress=lambda _: None, stop=lambda: False
        )
        assert passes.run(items)
        found = passes.measurements(items)
        backend.close()
    assert all(measured.latency_ms > 0 for measured in found.values())
    assert found["empty"].latency_ms == min(measured.latency_ms for measured in found.values())
