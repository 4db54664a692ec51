"""What every Device promises. A device's tests subclass `DeviceContract` and give it the three fixtures."""

from __future__ import annotations

import pytest

from device_agent.device import Artifact, Device
from device_agent.errors import DeviceError
from device_agent.measure import measure
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure


class DeviceContract:
    """Run against a device, something it can measure, and something it cannot."""

    # So few runs are never rejected as unsteady, however busy the computer is.
    plan = MeasurementPlan(2, 3, min_runs=5, max_runs=15, block_seconds=0.02, warmup_runs=2, warmup_seconds=0.0)

    @pytest.fixture
    def device(self) -> Device:
        """Open; the contract closes it."""
        raise NotImplementedError

    @pytest.fixture
    def artifact(self) -> Artifact:
        """Something the device can measure."""
        raise NotImplementedError

    @pytest.fixture
    def unusable(self) -> Artifact:
        """Something it can never measure: a corrupt model, an architecture that is in no table."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _close(self, device: Device) -> object:
        yield
        device.close()

    def test_is_a_device(self, device: Device) -> None:
        assert isinstance(device, Device)
        assert device.identity in ("artifact", "architecture")

    def test_info_is_complete_stable_and_json(self, device: Device) -> None:
        info = device.info
        assert info.name
        assert info.kind
        assert info.epoch, "without an epoch nobody can tell whether latencies are comparable"
        assert info.runtime
        assert device.info == info
        assert DeviceInfo.from_json(info.to_json()) == info

    def test_deploying_again_changes_nothing(self, device: Device, artifact: Artifact) -> None:
        device.deploy(artifact)
        device.deploy(artifact)
        assert device.run_block(artifact, self.plan, 0).value_ms > 0

    def test_a_block_says_what_was_run(self, device: Device, artifact: Artifact) -> None:
        device.deploy(artifact)
        block = device.run_block(artifact, self.plan, 7)
        assert block.index == 7
        assert block.runs >= 1
        assert block.value_ms > 0
        assert block.status in ("ok", "rejected")
        assert bool(block.reason) == (block.status == "rejected")
        assert Block.from_json(block.to_json()) == block

    def test_a_measurement_has_an_interval_and_a_grade(self, device: Device, artifact: Artifact) -> None:
        seen: list[Block] = []
        measurement = measure(device, artifact, self.plan, on_block=seen.append)
        assert measurement.blocks == tuple(seen)
        assert measurement.grade in ("A", "B", "C")
        assert measurement.ci_low_ms <= measurement.latency_ms <= measurement.ci_high_ms
        assert measurement.device == device.info
        assert measurement.artifact_sha256 == (artifact.sha256 if device.identity == "artifact" else "")

    def test_what_cannot_be_measured_is_a_failure_of_the_model(
        self, device: Device, artifact: Artifact, unusable: Artifact
    ) -> None:
        with pytest.raises(DeviceError) as caught:
            measure(device, unusable, self.plan)
        failure = caught.value.failure()
        assert failure.kind == "model"
        assert failure.code
        assert device.info.name in str(caught.value)
        assert Failure.from_json(failure.to_json()) == failure
        assert measure(device, artifact, self.plan).latency_ms > 0, "the device works after a bad model"

    def test_health_is_sentences(self, device: Device) -> None:
        assert all(isinstance(sentence, str) and sentence for sentence in device.health())

    def test_closing_twice_is_fine(self, device: Device) -> None:
        device.close()
        device.close()
