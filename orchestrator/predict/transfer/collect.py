"""Collects tasks by really training: class subsets of the user's data sets, sampled architectures, their accuracies.

Every task and every training is decided by the seed alone, so any number of processes may work on the same folder: each
takes a training that nobody has taken (a lock that the system frees when its holder ends), and leaves its result as a
file of its own. A process that is killed loses the training it was at.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from orchestrator.errors import DataError, ObjectiveFailed
from orchestrator.objective.base import AccuracyJob
from orchestrator.objective.config import TrainingConfig
from orchestrator.objective.pixels import read_pixels
from orchestrator.objective.training import TrainingObjective
from orchestrator.predict.transfer.tasks import ACCURACIES, IMAGES, SOURCE, read_images
from orchestrator.space.base import NetworkOptions, Space

PLAN = "plan.json"
_REPEAT = 1_000_003  # between the seeds of repeated trainings
_TEST = 0.05  # share of the images that nobody looks at: trainings set some apart
_RESULTS = ".results"


@dataclass(frozen=True)
class CollectPlan:
    """What is collected.

    Attributes:
        space: Name of the space.
        datasets: As `accuracy.dataset` of a campaign.
        input: (height, width, channels) that images are brought to.
        options: The space's own sizes.
        tasks: How many.
        architectures: Trained on each task; other ones on each.
        classes: Fewest and most classes of a task.
        images: Of each class at most.
        epochs: Of each training.
        validation: Share of the images that accuracies are taken on; many, since their number is what accuracies of
            small tasks are uncertain by.
        seed: Decides everything.
        repeat: Another number trains the same architectures on the same images once more, from other weights: how far
            two trainings agree is how well the best predictor can do.
    """

    space: str
    datasets: tuple[str, ...]
    input: tuple[int, int, int] = (16, 16, 1)
    options: dict[str, int] = field(default_factory=dict)
    tasks: int = 20
    architectures: int = 30
    classes: tuple[int, int] = (2, 6)
    images: int = 80
    epochs: int = 3
    validation: float = 0.4
    seed: int = 0
    repeat: int = 0


@dataclass(frozen=True)
class Trained:
    """A training that ended: which, and its accuracy in percent; None where it failed."""

    task: str
    architecture: str
    accuracy: float | None


def collect_tasks(
    plan: CollectPlan,
    space: Space,
    out: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train until every task has its accuracies, or until told to stop; how many trainings are done by then.

    Args:
        plan: What.
        space: The plan's.
        out: The folder; one that holds another plan is refused.
        progress: Told how many trainings are done, by whomever, and of how many.
        stop: Asked before every training.

    Raises:
        DataError: A data set, or the folder, cannot be used.
    """
    out.mkdir(parents=True, exist_ok=True)
    _agree(plan, out)
    names = [f"task{number:04d}" for number in range(plan.tasks)]
    for number, name in enumerate(names):
        _write_images(plan, number, out / name)
    # Task by task, so that some are of use before all are done; a worker passes by what another is at.
    total = plan.tasks * plan.architectures
    for unit in range(total):
        if stop():
            break
        number, position = divmod(int(unit), plan.architectures)
        folder = out / names[number] / _RESULTS
        result = folder / f"{position}.json"
        if not result.exists():
            with _claimed(folder / f"{position}.lock") as mine:
                if mine and not result.exists():
                    _write(result, json.dumps(asdict(_train(plan, space, out / names[number], number, position))))
                    _finish(plan, out / names[number])
        progress(_done(out, names), total)
    for name in names:
        _finish(plan, out / name)
    return _done(out, names)


def _agree(plan: CollectPlan, out: Path) -> None:
    """The folder's plan is this one, or there is none yet. Raises DataError."""
    text = json.dumps(asdict(plan), indent=2)
    with _claimed(out / ".plan.lock", wait=True):
        if not (out / PLAN).exists():
            if any(path.name not in {".plan.lock"} for path in out.iterdir()):
                raise DataError(f"{out} is not empty and holds no tasks", "give a new or empty folder (--out)")
            _write(out / PLAN, text)
        elif json.loads((out / PLAN).read_text(encoding="utf-8")) != json.loads(text):
            raise DataError(f"{out} holds tasks of another plan", f"use its options ({out / PLAN}), or another folder")


def _write_images(plan: CollectPlan, number: int, folder: Path) -> None:
    """The task's data set: some classes of one of the data sets, some images of each. Raises DataError."""
    (folder / _RESULTS).mkdir(parents=True, exist_ok=True)
    if (folder / IMAGES).exists():
        return
    rng = np.random.default_rng([plan.seed, number])
    source = plan.datasets[number % len(plan.datasets)]
    height, width, channels = plan.input
    pixels = read_pixels(source, (height, width), channels)
    available = np.unique(pixels.labels)
    low, high = plan.classes
    if len(available) < low:
        raise DataError(f"{source} has {len(available)} classes", f"tasks of at least {low} need as many (--classes)")
    chosen = rng.permutation(available)[: int(rng.integers(low, min(high, len(available)) + 1))]
    rows = [rng.permutation(np.flatnonzero(pixels.labels == label))[: plan.images] for label in chosen]
    images = pixels.images[np.concatenate(rows)]
    if images.dtype != np.uint8:
        raise DataError(f"{source}: images are {images.dtype}", "tasks are made of uint8 images")
    labels = np.repeat(np.arange(len(chosen)), [len(row) for row in rows])
    content = io.BytesIO()
    np.savez_compressed(content, x=images, y=labels)
    _write(folder / SOURCE, Path(source).name)
    _write(folder / IMAGES, content.getvalue())


def _train(plan: CollectPlan, space: Space, folder: Path, number: int, position: int) -> Trained:
    """One architecture of one task."""
    rng = np.random.default_rng([plan.seed, number, 1])
    architecture = space.architecture(space.sample(plan.architectures, rng)[position])
    classes = read_images(folder / IMAGES).classes
    network = NetworkOptions((1, *plan.input), classes, dict(plan.options))
    config = TrainingConfig(
        dataset=folder / IMAGES, epochs=plan.epochs, batch=32, validation=plan.validation, test=_TEST
    )
    objective = TrainingObjective(config, space, network)
    scratch = folder / _RESULTS / f"{position}.files"
    job = AccuracyJob(
        position, architecture, network, seed=plan.seed + position + _REPEAT * plan.repeat, folder=scratch
    )
    try:
        accuracy = objective.evaluate(job).accuracy
    except ObjectiveFailed as error:
        if error.retry:
            raise
        accuracy = None
    finally:
        objective.close()
        for file in scratch.glob("*"):
            file.unlink()
        if scratch.is_dir():
            scratch.rmdir()
    return Trained(folder.name, architecture.text, accuracy)


def _finish(plan: CollectPlan, folder: Path) -> None:
    """Write the accuracies of a task whose trainings are all done."""
    results = sorted((folder / _RESULTS).glob("*.json"), key=lambda path: int(path.stem))
    if len(results) < plan.architectures:
        return
    trained = [Trained(**json.loads(path.read_text(encoding="utf-8"))) for path in results]
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(["arch", "accuracy"])
    writer.writerows((each.architecture, repr(each.accuracy)) for each in trained if each.accuracy is not None)
    _write(folder / ACCURACIES, content.getvalue())


def _done(out: Path, names: Sequence[str]) -> int:
    return sum(1 for name in names for _ in (out / name / _RESULTS).glob("*.json"))


def _write(path: Path, content: str | bytes) -> None:
    """A file that is there whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.replace(path)


@contextmanager
def _claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether the lock is ours."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
