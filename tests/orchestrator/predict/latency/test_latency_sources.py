"""Where priors come from: tables, block tables, made-up devices; and MobileNetV3's, which ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ConfigError, DataError
from orchestrator.generate.pool import draw_distinct, width
from orchestrator.predict.latency.adapt import adapt
from orchestrator.predict.latency.checkpoint import shipped_prior
from orchestrator.predict.latency.quality import assess, predict
from orchestrator.predict.latency.references import choose_references
from orchestrator.predict.latency.sources import gather_sources
from orchestrator.predict.latency.structures import relaxed, structures_of
from orchestrator.predict.latency.synthetic import synthetic_tables
from orchestrator.space.mobilenetv3 import MobileNetV3
from tests.orchestrator.predict.latency.made_up import SPACE, additive, networks


def written(path: Path, names: tuple[str, ...]) -> Path:
    """100 architectures on devices."""
    columns = [additive(row)[:100] for row in range(len(names))]
    lines = [
        ",".join([SPACE.architecture(slots).text, *(f"{column[row]:.4f}" for column in columns)])
        for row, slots in enumerate(networks()[:100])
    ]
    path.write_text("\n".join([",".join(["arch", *names]), *lines]) + "\n")
    return path


def test_sources_of_all_kinds_come_together(tmp_path: Path) -> None:
    table, more = written(tmp_path / "table.csv", ("a", "b")), written(tmp_path / "more.csv", ("c", "a"))
    found = gather_sources(SPACE, table, None, [f"{more}:c"], synthetic=2, draws=100, seed=3)
    assert list(found) == ["a", "b", "c", "synthetic_3_0", "synthetic_3_1"]
    assert all(len(inputs) == len(latency_ms) == 100 for inputs, latency_ms in found.values())
    assert list(gather_sources(SPACE, table, ["b"], [])) == ["b"]
    with pytest.raises(ConfigError, match="each device once"):
        gather_sources(SPACE, table, None, [f"{more}:a"])
    with pytest.raises(DataError, match="no column 'z'"):
        gather_sources(SPACE, table, ["z"], [])


def test_made_up_devices_depend_on_the_seed_alone() -> None:
    slots = networks()[:20]
    one, again, other = (synthetic_tables(SPACE, slots, 2, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not set(one) & set(other)
    assert all((values > 0).all() for values in one.values())


def test_the_prior_of_mobilenetv3_serves_a_device_that_it_does_not_know() -> None:
    space = MobileNetV3()
    prior, structures = shipped_prior(space), structures_of(space)
    assert "ofa_note10_latency_lut" in prior.devices
    slots = draw_distinct(space, 60, np.random.default_rng(5))
    (latency_ms,) = synthetic_tables(space, slots, 1, seed=77).values()
    chosen = choose_references(space, structures, prior, 10, pool=slots)
    measured = np.array([row.tobytes() in {each.tobytes() for each in chosen} for row in slots])
    inputs = relaxed(slots, width(space))
    adapted = adapt(prior, structures, inputs[measured], latency_ms[measured])
    quality = assess(predict(adapted, inputs[~measured]), latency_ms[~measured])
    assert quality.spearman > 0.9
    assert quality.within_10_percent > 0.8
    assert quality.coverage_90 > 0.8
