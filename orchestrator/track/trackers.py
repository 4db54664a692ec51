"""Trackers as listeners. What goes wrong with one is said once, and does not touch the campaign."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from orchestrator.campaign.config import Config
from orchestrator.campaign.events import Event, Listener
from orchestrator.track.config import MlflowConfig, TensorBoardConfig
from orchestrator.track.scalars import Scalar, scalars

Write = Callable[[Sequence[Scalar]], None]
_FORBIDDEN = re.compile(r"[^\w\-. :/]+")  # in names of MLflow's metrics
_logger = logging.getLogger(__name__)


@contextmanager
def tracked(config: Config, folder: Path, listen: Listener) -> Iterator[Listener]:
    """The listener, and the campaign's trackers beside it.

    Args:
        config: Names the trackers.
        folder: The run folder.
        listen: Told of every event, whatever becomes of the trackers.
    """
    with ExitStack() as stack:
        writers: list[tuple[str, Write]] = []
        for tracker in config.tracking:
            try:
                write = stack.enter_context(_quietly(tracker.kind, _opened(tracker, config, folder)))
            except Exception as error:  # a tracker's library may raise anything, and none of it is worth a campaign
                _logger.warning("%s: nothing is tracked: %s", tracker.kind, error)
            else:
                writers.append((tracker.kind, write))
        yield _Fan(listen, writers) if writers else listen


class _Fan:
    """Tells the listener, then the trackers; events may come from several threads."""

    def __init__(self, listen: Listener, writers: list[tuple[str, Write]]) -> None:
        self._listen = listen
        self._writers = writers
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        self._listen(event)
        found = [scalar for scalar in scalars(event) if math.isfinite(scalar.value)]
        if not found:
            return
        with self._lock:
            for writer in list(self._writers):
                kind, write = writer
                try:
                    write(found)
                except Exception as error:  # see `tracked`
                    _logger.warning("%s: tracking ends here: %s", kind, error)
                    self._writers.remove(writer)


@contextmanager
def _quietly(kind: str, opened: AbstractContextManager[Write]) -> Iterator[Write]:
    """A tracker whose end cannot fail a campaign that has succeeded, and that hears how it ended."""
    write = opened.__enter__()
    reason: tuple[Any, Any, Any] = (None, None, None)
    try:
        yield write
    except BaseException as error:
        reason = type(error), error, error.__traceback__
        raise
    finally:
        try:
            opened.__exit__(*reason)
        except Exception as error:  # see `tracked`
            _logger.warning("%s: what was tracked last may be missing: %s", kind, error)


def _opened(tracker: TensorBoardConfig | MlflowConfig, config: Config, folder: Path) -> AbstractContextManager[Write]:
    if isinstance(tracker, TensorBoardConfig):
        return _tensorboard(tracker, config, folder)
    return _mlflow(tracker, config, folder)


@contextmanager
def _tensorboard(tracker: TensorBoardConfig, config: Config, folder: Path) -> Iterator[Write]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(log_dir=str(folder / tracker.folder)) as writer:
        writer.add_text("config", f"```\n{config.model_dump_json(indent=2)}\n```")

        def write(found: Sequence[Scalar]) -> None:
            for scalar in found:
                writer.add_scalar(scalar.name, scalar.value, scalar.step)
            writer.flush()

        yield write


@contextmanager
def _mlflow(tracker: MlflowConfig, config: Config, folder: Path) -> Iterator[Write]:
    """The campaign's run; a campaign that goes on, goes on in it."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(tracking_uri=tracker.uri or None)
    kept = folder / "mlflow.json"
    if kept.is_file():
        run = json.loads(kept.read_text(encoding="utf-8"))["run_id"]
        client.update_run(run, status="RUNNING")
    else:
        name = tracker.experiment or config.name
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found is not None else client.create_experiment(name)
        run = client.create_run(experiment, run_name=config.name).info.run_id
        for key, value in _parameters(config).items():
            client.log_param(run, key, value)
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"run_id": run}) + "\n", encoding="utf-8")

    def write(found: Sequence[Scalar]) -> None:
        now_ms = int(1000 * time.time())
        metrics = [Metric(_FORBIDDEN.sub("_", each.name), each.value, now_ms, each.step) for each in found]
        client.log_batch(run, metrics=metrics)

    try:
        yield write
    except BaseException:
        client.set_terminated(run, status="KILLED")
        raise
    client.set_terminated(run, status="FINISHED")


def _parameters(config: Config) -> dict[str, str]:
    return {
        "space": config.space.kind,
        "generator": config.generator.label,
        "accuracy": config.accuracy.kind,
        "devices": ", ".join(config.device_names),
        "seed": str(config.seed),
        "candidates": str(config.budget.candidates),
    }
