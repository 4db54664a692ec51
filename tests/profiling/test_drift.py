"""The control chart: how often it cries wolf, and how soon it sees one."""

from __future__ import annotations

import numpy as np
import pytest

from profiling.drift import ChartPolicy, ControlChart, Reading

SD_LOG = 0.02
LEVEL = 2.0


def charted(values: np.ndarray, policy: ChartPolicy | None = None) -> list[Reading]:
    chart, readings = ControlChart(policy or ChartPolicy()), []
    for value in values:
        chart, reading = chart.observe(float(value))
        readings.append(reading)
    return readings


def alarmed(readings: list[Reading]) -> list[bool]:
    return [reading.verdict in ("shifted", "recalibrated") for reading in readings]


def delays(shift_log: float, before: int, after: int = 40, repeats: int = 100) -> list[int | None]:
    """References until the shift is seen; None where it is not."""
    rng = np.random.default_rng(1)
    found: list[int | None] = []
    for _ in range(repeats):
        values = LEVEL + SD_LOG * rng.standard_normal(before + after)
        values[before:] += shift_log
        late = alarmed(charted(values))[before:]
        found.append(late.index(True) + 1 if True in late else None)
    return found


@pytest.mark.parametrize("sd_log", [0.005, 0.02, 0.04])
def test_false_alarms_are_rare(sd_log: float) -> None:
    """Fewer than one in 250 references of a device that never changes, from the first one on."""
    rng = np.random.default_rng(0)
    runs = [alarmed(charted(LEVEL + sd_log * rng.standard_normal(60))) for _ in range(100)]
    assert np.mean(runs) < 0.004


def test_large_shifts_are_seen_at_once_and_small_ones_soon() -> None:
    large = delays(shift_log=0.10, before=20)
    assert sum(delay is not None and delay <= 2 for delay in large) >= 95
    medium = delays(shift_log=0.06, before=20)
    assert sum(delay is not None and delay <= 6 for delay in medium) >= 95
    small = delays(shift_log=0.04, before=20)
    assert sum(delay is not None and delay <= 15 for delay in small) >= 85


def test_shifts_after_few_references_are_seen_when_they_are_large() -> None:
    assert sum(delay is not None for delay in delays(shift_log=0.2, before=5)) >= 95


def test_what_does_not_matter_is_no_alarm() -> None:
    """A device of extreme repeatability moves by half a percent."""
    values = np.r_[LEVEL + 1e-5 * np.arange(30) % 3, np.full(30, LEVEL + 0.004)]
    assert not any(alarmed(charted(values)))


def test_a_device_that_changed_for_good_is_recalibrated() -> None:
    rng = np.random.default_rng(2)
    values = LEVEL + SD_LOG * rng.standard_normal(60)
    values[30:] += 0.3
    chart, verdicts = ControlChart(), []
    for value in values:
        chart, reading = chart.observe(float(value))
        verdicts.append(reading.verdict)
    assert verdicts[30:33] == ["shifted", "shifted", "recalibrated"]
    assert set(verdicts[33:]) == {"good"}
    assert chart.generation == 1
    assert chart.mean == pytest.approx(LEVEL + 0.3, abs=0.02)
    assert chart.sd_log == pytest.approx(SD_LOG, rel=0.5)


def test_alarms_that_disagree_do_not_recalibrate() -> None:
    values = [LEVEL] * 10 + [LEVEL + 0.5, LEVEL - 0.5, LEVEL + 1.0, LEVEL]
    readings = charted(np.array(values))
    assert [reading.verdict for reading in readings[10:]] == ["shifted", "shifted", "shifted", "good"]
    assert readings[10].log_ratio == pytest.approx(0.5)


def test_the_first_value_only_starts() -> None:
    chart, reading = ControlChart().observe(LEVEL)
    assert reading == Reading("starting", 0.0, 0.0)
    assert chart.sd_log is None


@pytest.mark.parametrize("learned", [1, 2, 12, 300])
@pytest.mark.parametrize("side", [-1, 1])
def test_limits_are_where_sudden_shifts_begin(learned: int, side: int) -> None:
    policy = ChartPolicy(ewma=99.0, smallest_shift_log=1e-4)  # only Shewhart's rule
    rng = np.random.default_rng(3)
    chart = ControlChart(policy)
    assert chart.limits_log is None
    for value in LEVEL + SD_LOG * rng.standard_normal(learned):
        before = chart
        chart, reading = chart.observe(float(value))
        if reading.verdict == "shifted":  # a false alarm: not learned from
            assert before.limits_log == chart.limits_log
    limits = chart.limits_log
    assert limits is not None
    edge = limits[side == 1]
    inside, outside = edge - side * 1e-4 * SD_LOG, edge + side * 1e-4 * SD_LOG
    assert chart.observe(inside)[1].verdict == "good"
    assert chart.observe(outside)[1].verdict == "shifted"


def test_limits_are_never_narrower_than_what_does_not_matter() -> None:
    chart = ControlChart(ChartPolicy(prior_sd_log=1e-4, smallest_shift_log=0.01))
    for _ in range(50):
        chart, _ = chart.observe(LEVEL)
    assert chart.limits_log == pytest.approx((LEVEL - 0.01, LEVEL + 0.01))
