"""The campaign store: atomic rounds, results that stay, readers beside the writer, damage told plainly."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiling.records import Block, DeviceInfo, Failure, Measurement
from profiling.store import CampaignStore, CandidateRow, NetworkRow, StoreError


def candidate(number: int, identity: str = "") -> CandidateRow:
    return CandidateRow(
        id=number,
        round=0,
        architecture=f"arch {number}",
        slots=(1, 2, number),
        identity=identity or f"identity {number}",
        seed=7,
        origin="initial",
        acquisition=None,
        predictions={"accuracy": {"mean": 50.0, "sd": 5.0}},
    )


def block(index: int, value_ms: float = 1.0) -> Block:
    return Block(index=index, runs=20, statistic="median", value_ms=value_ms, conditions={"threads": 1})


def measurement(latency_ms: float) -> Measurement:
    device = DeviceInfo(name="host", kind="host", runtime="ai-edge-litert 2.3.0")
    blocks = (block(0), block(1))
    return Measurement(latency_ms, 0.01, latency_ms * 0.98, latency_ms * 1.02, blocks, "A", (), 0.02, "ab" * 32, device)


@pytest.fixture
def store(tmp_path: Path) -> CampaignStore:
    made = CampaignStore.create(tmp_path / "campaign.sqlite", {"config": {"name": "x"}})
    made.add_round(0, {"seconds": 1.5}, [candidate(0), candidate(1)])
    return made


def test_everything_written_is_read_back(store: CampaignStore) -> None:
    failure = Failure("model", "model_refused", "no such operator", "tail")
    store.add_network(0, NetworkRow("ff" * 32, 1000, 10, 20))
    store.add_accuracy(0, {"accuracy": 91.5, "standard_error": 0.5})
    store.add_accuracy(1, failure)
    store.add_block(0, "host", block(0))
    store.add_block(0, "host", block(1, 1.1))
    store.add_measurement(0, "host", measurement(1.05))
    store.add_measurement(1, "host", failure)

    assert store.meta("config") == {"name": "x"}
    assert store.rounds()[0]["seconds"] == 1.5
    assert store.candidates() == [candidate(0), candidate(1)]
    assert store.networks() == {0: NetworkRow("ff" * 32, 1000, 10, 20)}
    assert store.accuracies()[0].value == {"accuracy": 91.5, "standard_error": 0.5}
    assert store.accuracies()[1].failure == failure
    assert store.blocks(0, "host") == (block(0), block(1, 1.1))
    found = store.measurements()[0, "host"].value
    assert isinstance(found, Measurement)
    assert (found.latency_ms, found.blocks, found.device.name) == (1.05, (), "host")
    assert store.measurements()[1, "host"].failure == failure
    assert store.measurements("verify") == {}


def test_a_result_that_arrives_twice_changes_nothing(store: CampaignStore) -> None:
    store.add_accuracy(0, {"accuracy": 91.5})
    store.add_accuracy(0, {"accuracy": 12.0})
    store.add_measurement(0, "host", measurement(1.0))
    store.add_measurement(0, "host", measurement(9.0))
    store.add_block(0, "host", block(0, 1.0))
    store.add_block(0, "host", block(0, 9.0))
    assert store.accuracies()[0].value["accuracy"] == 91.5
    assert store.measurements()[0, "host"].value.latency_ms == 1.0
    assert store.blocks(0, "host")[0].value_ms == 1.0


def test_a_round_is_there_as_a_whole_or_not_at_all(store: CampaignStore) -> None:
    with pytest.raises(StoreError):
        store.add_round(1, {}, [candidate(2), candidate(3, identity="identity 0")])  # the second one is a duplicate
    assert list(store.rounds()) == [0]
    assert len(store.candidates()) == 2


def test_readers_see_what_is_committed_and_cannot_write(store: CampaignStore) -> None:
    with CampaignStore.read(store.path) as reader:
        store.add_accuracy(0, {"accuracy": 1.0})
        assert reader.accuracies()[0].value == {"accuracy": 1.0}
        with pytest.raises(StoreError):
            reader.add_accuracy(1, {"accuracy": 2.0})


def test_what_cannot_be_opened_is_told(tmp_path: Path, store: CampaignStore) -> None:
    with pytest.raises(StoreError, match="no campaign"):
        CampaignStore.open(tmp_path / "missing.sqlite")
    with pytest.raises(StoreError, match="exists already"):
        CampaignStore.create(store.path, {})
    (tmp_path / "noise.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StoreError) as caught:
        CampaignStore.open(tmp_path / "noise.sqlite")
    assert "damaged" in caught.value.hint
    with CampaignStore.open(store.path) as other:
        other.set_meta("schema_version", 999)
    with pytest.raises(StoreError, match="schema version 999"):
        CampaignStore.open(store.path)


def test_a_full_disk_is_told_and_loses_nothing(store: CampaignStore) -> None:
    store.add_accuracy(0, {"accuracy": 91.5})
    # SQLite refuses to grow beyond this many pages exactly as it does when the disk is full.
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full") as caught:
        store.set_meta("large", "x" * 1_000_000)
    assert "run the same command again" in caught.value.hint
    assert store.accuracies()[0].value == {"accuracy": 91.5}
