"""Data sets out of campaigns and collections, as `nag export RUN --dataset DIR` makes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from device_agent.journal import Journal
from device_agent.lease import LeaseBook
from device_agent.ticket import MEASURED_ON, stamp
from orchestrator.campaign.folder import STORE
from orchestrator.campaign.jobs import job_name
from orchestrator.collect.config import CollectConfig
from orchestrator.collect.records import CollectArtifact, CollectJob, CollectModel, Setting
from orchestrator.collect.store import STORE as COLLECT_STORE
from orchestrator.collect.store import CollectStore
from orchestrator.dataset.export import export_dataset
from orchestrator.errors import DataError, ExportError, RunFolderError
from orchestrator.space.nasbench201 import NASBench201
from profiling.dataset.files import Dataset
from profiling.dataset.row import DatasetRow
from profiling.dataset.validate import Validator
from profiling.records import DeviceInfo, Failure, Measurement
from profiling.store import CampaignStore
from tests.orchestrator.report.runs import CRASH, RunWriter, make_config, write_run
from tests.profiling.dataset.rows import measured, phone

SERIAL = "R58M42SECRET"
TWO = {
    "devices": [{"kind": "host"}, {"kind": "host", "name": "slow phone"}],
    "goal": {"minimize": "latency_ms[host]"},
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The salt of this test's lab."""
    monkeypatch.setenv("DEVICENAG_HOME", str(tmp_path / "home"))


def exported(run: Path, out: Path) -> list[DatasetRow]:
    export_dataset(run, out)
    return list(Dataset.open(out).rows())


def test_a_campaign(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", **TWO)
    manifest = export_dataset(run, tmp_path / "set", license="cc-by-4.0")
    assert [(file.device, file.rows) for file in manifest.files] == [("host", 22), ("slow phone", 22)]
    frame = pd.read_parquet(tmp_path / "set" / "data")
    with CampaignStore.read(run / STORE) as store:
        outcomes = store.measurements()
    searched = frame[(frame.purpose == "search") & frame.latency_ms.notna()]
    stored = [o.value.latency_ms for o in outcomes.values() if isinstance(o.value, Measurement)]
    assert sorted(searched.latency_ms) == sorted(stored)
    (failed,) = frame[frame.latency_ms.isna()].to_dict("records")
    assert (failed["failure_kind"], failed["failure_code"], failed["device"]) == ("model", "crash", "host")
    assert len(failed["blocks"]) == 1
    assert set(frame.groupby("purpose").size()) == {40, 4}
    assert set(frame.network_options_json) == {'{"cells":1,"channels":4}'}
    front = yaml.safe_load((tmp_path / "set" / "README.md").read_text().split("---")[1])
    assert front["license"] == "cc-by-4.0"
    assert [config["config_name"] for config in front["configs"]] == ["default", "host", "slow-phone"]
    assert front["size_categories"] == ["n<1K"]


def test_equal_networks_share_their_blocks(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_config())
    first, twin = writer.propose(2)
    writer.latency(first, "host")
    writer.store.add_network(twin, writer.store.networks()[first])
    writer.store.add_measurement(twin, "host", writer.store.measurements()[first, "host"].value)
    writer.close()
    one, other = exported(tmp_path, tmp_path / "set")
    assert one.architecture != other.architecture
    assert one.artifact_sha256 == other.artifact_sha256
    assert len(one.blocks) == 5
    assert one.blocks == other.blocks


def test_blocks_of_a_phone_that_went_away_are_left_out(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", make_config())
    (candidate,) = writer.propose(1)
    lost, kept = phone(1), phone(2)
    before, after = measured(3.0, lost), measured(2.0, kept)
    for info, block in [(lost, before.blocks[0]), *((kept, block) for block in after.blocks)]:
        index = block.index + (info is kept)
        stamped = replace(block, index=index, conditions={**block.conditions, MEASURED_ON: stamp(info)})
        writer.store.add_block(candidate, "host", stamped)
    writer.store.add_measurement(candidate, "host", after)
    writer.close()
    (row,) = exported(tmp_path / "run", tmp_path / "set")
    assert [block.index for block in row.blocks] == [1, 2, 3, 4, 5]
    assert Validator(tmp_path / "set").run().counts["error"] == 0


def test_no_serial_leaves_the_lab(tmp_path: Path) -> None:
    config = make_config(devices=[{"kind": "adb", "serial": SERIAL}], goal={"minimize": f"latency_ms[{SERIAL}]"})
    writer = RunWriter(tmp_path / "run", config)
    measurable, broken, lost = writer.propose(3)
    writer.accuracy(measurable)
    writer.store.add_measurement(measurable, SERIAL, measured(2.0, replace(phone(7), name=SERIAL)))
    writer.store.add_measurement(broken, SERIAL, replace(CRASH, detail=f"it died on {SERIAL}", stderr_tail=SERIAL))
    writer.store.add_measurement(lost, SERIAL, Failure("timeout", "deadline", f"{SERIAL} did not answer"))
    writer.close()
    rows = exported(tmp_path / "run", tmp_path / "set")
    assert [row.device for row in rows] == ["Pixel 7"] * 3
    assert [row.failure_code for row in rows] == ["", "crash", "deadline"]
    assert rows[2].device_epoch == rows[0].device_epoch
    written = [path for path in (tmp_path / "set").rglob("*") if path.is_file()]
    assert len(written) > 4
    assert not any(SERIAL.encode() in path.read_bytes() for path in written)
    assert SERIAL not in json.dumps([row.to_json() for row in rows])


def test_the_hash_of_a_host_is_salted(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", make_config())
    (candidate,) = writer.propose(1)
    info = DeviceInfo("host", "host", "CPU", serial_hash="unsalted", epoch="kernel")
    writer.store.add_measurement(candidate, "host", measured(2.0, info))
    writer.close()
    (row,) = exported(tmp_path / "run", tmp_path / "set")
    assert len(row.serial_hash) == 16
    assert row.serial_hash != "unsalted"
    assert exported(tmp_path / "run", tmp_path / "again")[0].serial_hash == row.serial_hash


def test_drift_is_flagged(tmp_path: Path) -> None:
    run = tmp_path / "run"
    writer = RunWriter(run, make_config())
    for candidate in writer.propose(2):
        writer.latency(candidate, "host")
    writer.close()
    with LeaseBook(tmp_path / "leases") as book, Journal(run / "journal.sqlite") as journal:
        lease = book.acquire("host")
        journal.begin_session(lease)
        journal.record(job_name(0, "host", "search", continued=True), measured(1.0, phone()), lease)
        journal.suspect_since_last_good(lease, "2 % slower")
    assert [row.drift_suspect for row in exported(run, tmp_path / "set")] == [True, False]


def write_collection(run: Path, *, device: str = "Pixel 7", **changes: Any) -> Path:
    """Three architectures and a file on two phones of a model; one does not run, one is skipped, one is missing."""
    space = {"kind": "nasbench201", "input": [1, 32, 32, 3]}
    config = CollectConfig.model_validate(
        {
            "name": "pixels",
            "models": [{"kind": "space", "space": space, "count": 3}, {"kind": "folder", "path": str(run)}],
            "devices": [{"kind": "adb", "model": "Pixel 7"}],
            **changes,
        }
    )
    run.mkdir()
    store = CollectStore.create(run / COLLECT_STORE, {"id": "c011ec7", "config": config.model_dump(mode="json")})
    texts = [architecture.text for architecture in map(NASBench201().at, (100, 101, 102))]
    models = [CollectModel(i, text, "nasbench201", text) for i, text in enumerate(texts)]
    models.append(CollectModel(3, "sub/net.tflite", source=1, sha256="cd" * 32))
    corrupt = Failure("user", "corrupt_model", "the file is empty")
    models.append(CollectModel(4, "empty.tflite", source=1, failure=corrupt))
    int8, original = Setting("int8", "cpu", 4), Setting("original", "cpu", 4)
    jobs = [CollectJob(i, model, original if model.source else int8, device) for i, model in enumerate(models[:4])]
    jobs += [CollectJob(4, models[0], int8, device, replicate=1, overlap=True)]
    jobs[0] = replace(jobs[0], overlap=True)
    store.add_plan(models, [int8, original], jobs, [device])
    store.add_artifact(models[0], "int8", CollectArtifact("ab" * 32, 1000, 900, 8000, 0.013))
    store.add_result(jobs[0], measured(2.0, phone(0)), at=10.0, since=0.0)
    store.add_result(jobs[4], measured(2.1, phone(1)), at=11.0, since=0.0)
    store.add_result(jobs[1], CRASH, at=12.0, since=0.0)
    store.add_result(jobs[3], measured(5.0, phone(1)), at=13.0, since=0.0)
    store.mark_suspect([3], "drift")
    store.close()
    return run


def test_a_collection(tmp_path: Path) -> None:
    run = write_collection(tmp_path / "run")
    manifest = export_dataset(run, tmp_path / "set")
    (source,) = manifest.sources
    assert (source.kind, source.name, source.missing_count) == ("collection", "pixels", 1)
    assert source.skipped == {"corrupt_model": ["empty.tflite"]}
    one, failed, file, other = Dataset.open(tmp_path / "set").rows()
    assert (one.purpose, one.replicate_index, one.precision, one.threads_count) == ("overlap", 0, "int8", 4)
    assert (one.artifact_bytes, one.output_error_ratio) == (1000, 0.013)
    assert (one.input_shape, len(one.slots), one.space) == ((1, 32, 32, 3), 6, "nasbench201")
    assert one.serial_hash != other.serial_hash
    assert (one.architecture, one.device) == (other.architecture, other.device)
    assert other.replicate_index == 1
    assert (failed.failure_code, failed.device, failed.artifact_sha256) == ("crash", "Pixel 7", "")
    assert (file.space, file.architecture, file.precision) == ("", "sub/net.tflite", "original")
    assert (file.drift_suspect, file.input_shape, len(file.blocks)) == (True, (), 5)
    card = (tmp_path / "set" / "README.md").read_text()
    assert "**Partial**: 1 measurements of pixels have no result yet." in card
    assert "1 models of pixels were never run (`corrupt_model`): `empty.tflite`." in card
    assert (tmp_path / "set" / "plots" / "phones.svg").is_file()


def test_no_serial_leaves_the_lab_with_a_collection(tmp_path: Path) -> None:
    run = write_collection(tmp_path / "run", devices=[{"kind": "adb", "serial": SERIAL}], device=SERIAL)
    rows = exported(run, tmp_path / "set")
    assert {(row.device, row.device_kind, row.device_model) for row in rows} == {("Pixel 7", "adb", "Pixel 7")}
    assert {row.failure_code for row in rows} == {"", "crash"}
    assert not any(SERIAL.encode() in path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file())


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", make_config())
    writer.propose(1)
    writer.close()
    (tmp_path / "run" / "journal.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(RunFolderError, match=r"journal\.sqlite"):
        export_dataset(tmp_path / "run", tmp_path / "set")


def test_the_same_run_is_the_same_source(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    first, again = (export_dataset(run, tmp_path / name) for name in ("one", "two"))
    assert first == again


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(RunFolderError, match="neither a campaign nor a collection"):
        export_dataset(tmp_path / "nothing", tmp_path / "set")
    RunWriter(tmp_path / "fresh", make_config()).close()
    with pytest.raises(RunFolderError, match="no result yet"):
        export_dataset(tmp_path / "fresh", tmp_path / "set")
    writer = RunWriter(tmp_path / "begun", make_config())
    writer.propose(2)
    writer.close()
    with pytest.raises(ExportError, match="no result yet"):
        export_dataset(tmp_path / "begun", tmp_path / "set")
    assert not (tmp_path / "set").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="is not empty"):
        export_dataset(write_run(tmp_path / "run"), tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
