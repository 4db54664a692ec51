"""Checkpoints come back as they were, or are refused; tables are refused with row and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import CheckpointError, ConfigError, DataError
from orchestrator.predict.latency.checkpoint import (
    AdaptedFile,
    has_shipped_prior,
    load_adapted,
    load_prior,
    save_adapted,
    save_prior,
    shipped_prior,
)  # fmt: skip
from orchestrator.predict.latency.prior import fit_prior
from orchestrator.predict.latency.tables import device_columns, read_latencies
from orchestrator.predict.surrogates import Measured
from orchestrator.space.mobilenetv3 import MobileNetV3
from tests.orchestrator.predict.latency.made_up import SPACE, STRUCTURES, additive, inputs, networks, prior

DATA = Path(__file__).resolve().parents[5] / "shared" / "data" / "nb201_latency.parquet"


def test_a_prior_comes_back(tmp_path: Path) -> None:
    save_prior(tmp_path / "prior.safetensors", SPACE, prior())
    again = load_prior(tmp_path / "prior.safetensors", SPACE)
    assert np.array_equal(again.prices, prior().prices)
    assert np.array_equal(again.medians_ms, prior().medians_ms)
    assert np.array_equal(again.noise, prior().noise)
    assert (again.devices, again.families, again.structures) == (prior().devices, prior().families, prior().structures)


def test_an_adapted_device_comes_back_with_the_same_predictions(tmp_path: Path) -> None:
    measured = Measured(networks()[:7], additive(40)[:7], np.array([1e-4, np.nan, *[2e-4] * 5]))
    file = AdaptedFile(prior(), measured, {"name": "phone"})
    save_adapted(tmp_path / "device.safetensors", SPACE, file)
    again = load_adapted(tmp_path / "device.safetensors", SPACE)
    assert again.device == {"name": "phone"}
    some = inputs(networks()[50:80])
    for one, other in zip(file.predictor(SPACE).marginal(some), again.predictor(SPACE).marginal(some), strict=True):
        assert torch.equal(one, other)


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_prior(path, SPACE)
    save_prior(path, SPACE, prior())
    with pytest.raises(CheckpointError) as refused:
        load_prior(path, MobileNetV3())
    assert "nag train latency --space mobilenetv3" in refused.value.hint
    with pytest.raises(CheckpointError):
        load_adapted(path, SPACE)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError):
        load_prior(path, SPACE)


@pytest.mark.skipif(not DATA.is_file(), reason="HELP's latency table (shared/data) is not here")
def test_the_shipped_prior_is_what_the_table_gives() -> None:
    shipped = shipped_prior(SPACE)
    table = read_latencies(DATA, ["pixel3", "samsung_a50"], SPACE)
    again = fit_prior(STRUCTURES, {name: (inputs(table.slots), values) for name, values in table.latency_ms.items()})
    rows = [shipped.devices.index(name) for name in again.devices]
    assert len(shipped.devices) == 13
    assert np.allclose(shipped.prices[rows], again.prices, atol=1e-6)
    assert np.allclose(shipped.noise[rows], again.noise, atol=1e-6)
    assert tuple(shipped.structures[row] for row in rows) == again.structures


ARCHITECTURES = [SPACE.architecture(row).text for row in networks()[:4]]


def written(path: Path, cells: list[str], architectures: list[str] = ARCHITECTURES) -> Path:
    rows = [f"{text},{cell},1.5" for text, cell in zip(architectures, cells, strict=True)]
    path.write_text("\n".join(["arch,phone,other", *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["1", "", "2", "3"], "column 'phone' needs a number > 0 in every row: row 2 has nothing"),
        (["1", "2", "nan", "3"], "row 3 has 'nan'"),
        (["1", "2", "inf", "3"], "row 3 has 'inf'"),
        (["1", "2", "3", "-4"], "row 4 has '-4'"),
        (["0", "2", "3", "4"], "row 1 has '0'"),
        (["1", "fast", "3", "4"], "row 2 has 'fast'"),
        (["2", "2", "2", "2"], "column 'phone' is constant"),
    ],
)
def test_values_that_are_no_latencies_are_named(tmp_path: Path, cells: list[str], said: str) -> None:
    with pytest.raises(DataError) as refused:
        read_latencies(written(tmp_path / "table.csv", cells), ["phone"], SPACE)
    assert said in refused.value.message
    assert "table.csv" in refused.value.message


def test_rows_and_columns_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    cells = ["1", "2", "3", "4"]
    repeated = written(tmp_path / "a.csv", cells, [*ARCHITECTURES[:2], ARCHITECTURES[0], ARCHITECTURES[3]])
    with pytest.raises(DataError, match="rows 1 and 3 of column 'arch'"):
        read_latencies(repeated, ["phone"], SPACE)
    wrong = written(tmp_path / "b.csv", cells, [ARCHITECTURES[0], "|conv~0|", *ARCHITECTURES[2:]])
    with pytest.raises(DataError, match="row 2"):
        read_latencies(wrong, ["phone"], SPACE)
    good = written(tmp_path / "c.csv", cells)
    with pytest.raises(DataError, match="no column 'tablet'") as refused:
        read_latencies(good, ["tablet"], SPACE)
    assert "phone" in refused.value.hint
    with pytest.raises(ConfigError, match="each device once"):
        read_latencies(good, ["phone", "phone"], SPACE)
    with pytest.raises(DataError, match="no such file"):
        device_columns(tmp_path / "none.csv")
    assert device_columns(good) == ("phone", "other")


def test_a_space_with_other_choices_has_no_prior() -> None:
    assert has_shipped_prior(MobileNetV3())
    assert not has_shipped_prior(MobileNetV3(resolutions=(160, 224)))
