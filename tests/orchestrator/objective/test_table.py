from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orchestrator.errors import DataError, ObjectiveFailed
from orchestrator.objective.config import TableConfig
from orchestrator.objective.table import TableObjective
from orchestrator.space.base import Architecture
from orchestrator.space.nasbench201 import NASBench201
from tests.contracts.objective_contract import JobMaker, ObjectiveContract

SPACE = NASBench201()
KNOWN = [SPACE.at(0), SPACE.at(1)]


def write(path: Path, values: list[object]) -> TableConfig:
    table = pd.DataFrame({"arch_str": [a.text for a in KNOWN], "valid": values, "other": [1.0, 2.0]})
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return TableConfig(path=path, column="valid")


class TestTableObjective(ObjectiveContract):
    @pytest.fixture
    def architectures(self) -> list[Architecture]:
        return KNOWN

    @pytest.fixture(params=["table.csv", "table.parquet"])
    def objective(self, tmp_path: Path, request: pytest.FixtureRequest) -> TableObjective:
        return TableObjective(write(tmp_path / request.param, [91.5, 12]))

    def test_the_value_is_the_tables_and_exact(self, objective: TableObjective, make_job: JobMaker) -> None:
        assert objective.evaluate(make_job(KNOWN[0])).accuracy == 91.5
        assert objective.evaluate(make_job(KNOWN[1])).accuracy == 12
        assert objective.evaluate(make_job(KNOWN[1])).standard_error == 0

    def test_an_architecture_that_is_not_there(self, objective: TableObjective, make_job: JobMaker) -> None:
        with pytest.raises(ObjectiveFailed) as failure:
            objective.evaluate(make_job(SPACE.at(2)))
        assert failure.value.code == "not_in_table"
        assert not failure.value.retry
        assert SPACE.at(2).text in failure.value.message
        assert "table." in failure.value.message


def test_wrong_tables_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        TableObjective(TableConfig(path=tmp_path / "absent.csv", column="valid"))
    config = write(tmp_path / "table.csv", [91.5, 12])
    with pytest.raises(DataError, match="no column 'test'") as failure:
        TableObjective(config.model_copy(update={"column": "test"}))
    assert "valid, other" in failure.value.hint
    with pytest.raises(DataError, match="row 2 has 'high'"):
        TableObjective(write(tmp_path / "words.csv", [91.5, "high"]))
    with pytest.raises(DataError, match="row 1"):
        TableObjective(write(tmp_path / "holes.parquet", [float("nan"), 12.0]))
