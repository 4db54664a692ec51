"""Passes: everything is measured one block at a time, in random order, until each is known well enough.

The blocks of an item lie as far apart as the build is long, so that what disturbs a device for a while, or slowly heats
it, touches all items alike and shows in their intervals (randomised blocks: Fisher, "The design of experiments", 1935).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from device_agent.backend import MeasurementBackend, MeasurementJob
from device_agent.device import Artifact
from device_agent.reference import reference_artifact
from orchestrator.errors import DataPartial, NagError
from orchestrator.lut.items import Measurable
from orchestrator.lut.ledger import DRIFTED, REFERENCE, Ledger
from profiling.plan import MeasurementPlan
from profiling.records import Block, DeviceInfo, Failure, Measurement
from profiling.statistics import estimate, should_stop

EVERY = 10  # items between two references
_PATIENCE = 3  # times the plan's most blocks, if drifts keep spoiling them
_AGREEING = 3  # references that are looked at before the build goes on anyway


class ItemFailed(DataPartial):
    """The device could not measure an item.

    Attributes:
        item: Its name.
        failure: Why.
    """

    def __init__(self, item: str, failure: Failure) -> None:
        hint = "what was measured is saved; the same command goes on (nag lut build: with --resume)"
        super().__init__(f"{item}: {failure.detail}", hint)
        self.item = item
        self.failure = failure


@dataclass(frozen=True)
class Progress:
    """How far a build is.

    Attributes:
        done: Items that are known well enough.
        items: All of them.
        blocks: That were measured, references included, also before an interruption.
        seconds: Since the build (or its continuation) began.
        seconds_left: Expected, if what is left needs as few blocks as it may.
    """

    done: int
    items: int
    blocks: int
    seconds: float
    seconds_left: float


class Passes:
    """Measures items on one device.

    Args:
        backend: Has the device.
        device: What it is.
        plan: For each item; its blocks are spread over the passes.
        ledger: Where blocks go.
        seed: Of the order.
        progress: Told after each block.
        stop: Asked before each block.
        reference: What shows a drift; by default a network made for this, which is then measured beside the items.
    """

    def __init__(
        self,
        backend: MeasurementBackend,
        device: DeviceInfo,
        plan: MeasurementPlan,
        ledger: Ledger,
        *,
        seed: int,
        progress: Callable[[Progress], None],
        stop: Callable[[], bool],
        reference: Artifact | None = None,
    ) -> None:
        self._backend = backend
        self._device = device
        self._plan = plan
        self._fewest = _fewest(plan)
        self._single = replace(plan, min_blocks=1, max_blocks=1)
        self._ledger = ledger
        self._rng = np.random.default_rng((seed, ledger.count))  # a continued build does not repeat an order
        self._progress = progress
        self._stop = stop
        self._reference = reference_artifact() if reference is None else reference
        self._items: Sequence[Measurable] = ()
        self._done: set[str] = set()
        self._begun_s = time.monotonic()
        self._count = ledger.count

    def run(self, items: Sequence[Measurable]) -> bool:
        """Measure until the stop rule is content with every item.

        Returns:
            Whether it came to the end; False: it was stopped.

        Raises:
            ItemFailed: The device is gone, or cannot run an item.
            DataPartial: It gave no usable block of one.
            NagError: What is asked for cannot be done there.
            JournalError: A block could not be kept.
        """
        self._items = items
        while unfinished := self._unfinished():
            order = [unfinished[place] for place in self._rng.permutation(len(unfinished))]
            for start in range(0, len(order), EVERY):
                if not self._group(order[start : start + EVERY]):
                    return False
        unusable = [item for item in items if self.measurements([item])[item.name].grade == "F"]
        if unusable:
            reasons = Counter(block.reason for item in unusable for block in self._ledger.blocks(item.name))
            raise DataPartial(
                f"{len(unusable)} of {len(items)} items have no usable block, the first is {unusable[0].name}; "
                f"blocks were rejected: {', '.join(f'{why} {count} times' for why, count in reasons.items())}",
                "keep the device quiet, cool and plugged in; with more --blocks the same command goes on "
                "(nag lut build: with --resume)",
            )
        return True

    def measurements(self, items: Sequence[Measurable]) -> Mapping[str, Measurement]:
        """Name -> the estimate that its blocks give so far."""
        return {item.name: estimate(self._ledger.blocks(item.name), self._plan, "", self._device) for item in items}

    def _group(self, items: Sequence[Measurable]) -> bool:
        """One block of each between two references; whether it was not stopped."""
        if not self._look_at_reference():
            return False
        for item in items:
            if self._stop():
                return False
            self._block(item.name, item.artifact())
        return self._look_at_reference()

    def _look_at_reference(self) -> bool:
        """Measure the reference if anything was measured since, again if it is out of line; whether not stopped."""
        if not self._ledger.due and self._ledger.count > self._count:
            return True
        for _ in range(_AGREEING):
            if self._stop():
                return False
            if self._block(REFERENCE, self._reference) != "shifted":
                break
        return True

    def _block(self, name: str, artifact: Artifact) -> str | None:
        """One block. Raises as `run`; returns what `Ledger.add` says."""
        job = MeasurementJob(f"{self._ledger.count}", artifact, self._single, self._device.name)
        result = self._backend.submit(job).result()
        if isinstance(result, Failure):
            if result.kind == "user":
                raise NagError(result.detail, "see: nag lut build --help")
            raise ItemFailed(name, result)
        verdict = self._ledger.add(name, result)
        if self._is_finished(name):
            self._done.add(name)
        self._progress(self._state())
        return verdict

    def _unfinished(self) -> Sequence[Measurable]:
        """Looked at anew: a drift may have spoilt what was finished."""
        self._done = {item.name for item in self._items if self._is_finished(item.name)}
        return [item for item in self._items if item.name not in self._done]

    def _is_finished(self, name: str) -> bool:
        """What the stop rule says of the blocks that no drift has spoilt; but nothing is tried for ever."""
        blocks = self._ledger.blocks(name)
        if len(blocks) >= _PATIENCE * self._plan.max_blocks:
            return True
        return should_stop([block for block in blocks if block.reason != DRIFTED], self._plan)

    def _state(self) -> Progress:
        seconds = time.monotonic() - self._begun_s
        taken = [len(self._ledger.blocks(item.name)) for item in self._items if item.name not in self._done]
        left = sum(max(self._fewest - count, 1) for count in taken)
        left += math.ceil(left / EVERY)
        each_s = seconds / (self._ledger.count - self._count)
        return Progress(len(self._items) - len(taken), len(self._items), self._ledger.count, seconds, left * each_s)


def _fewest(plan: MeasurementPlan) -> int:
    """How many blocks the stop rule wants of a device without any noise."""
    block = Block(0, 1, "median", 1.0)
    return next(count for count in range(1, plan.max_blocks + 1) if should_stop([block] * count, plan))
