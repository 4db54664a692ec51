"""TableObjective: accuracies that somebody has measured before."""

from __future__ import annotations

import time

from orchestrator.errors import DataError, ObjectiveFailed
from orchestrator.objective.base import AccuracyJob, AccuracyResult
from orchestrator.objective.config import TableConfig
from profiling.table import TableError, read_table


class TableObjective:
    """Looks an architecture's string up in a CSV or Parquet table.

    What the table says is what the campaign looks for, so its values are exact: their standard error is 0.
    """

    name = "table"
    uses_host = False

    def __init__(self, config: TableConfig) -> None:
        """Args:
        config: Which table and column.

        Raises:
            DataError: No such table or column, or a value that is no number.
        """
        self._config = config
        try:
            self._accuracy = read_table(config.path).column(config.column)
        except TableError as error:
            raise DataError(f"accuracy table {error.message}", error.hint) from error

    def evaluate(self, job: AccuracyJob) -> AccuracyResult:
        """The table's entry.

        Raises:
            ObjectiveFailed: There is none.
        """
        started = time.monotonic()
        accuracy = self._accuracy.get(job.architecture.text)
        if accuracy is None:
            raise ObjectiveFailed(
                f"{self._config.path}: no {self._config.column!r} for {job.architecture.text}",
                "the table must have a number for every architecture that may be proposed, in the space's notation",
                code="not_in_table",
            )
        return AccuracyResult(accuracy, standard_error=0.0, seconds=time.monotonic() - started)

    def close(self) -> None:
        """Nothing to release."""
