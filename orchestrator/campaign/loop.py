"""The closed loop: fit, generate, select, evaluate, record, repeat; then settle the front and verify the winners.

    state (store) -> Proposer (surrogates, guided generator, acquisition) -> candidates -> Evaluator -> store
          ^                                                                                             |
          +---------------------------------------------------------------------------------------------+

Everything needed to go on is in the store. A round's candidates are committed together before any of them is
evaluated, so running the same command after a kill first completes them and then proposes what it would have
proposed anyway.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.campaign.config import Config
from orchestrator.campaign.devices import open_rig
from orchestrator.campaign.evaluate import Evaluator
from orchestrator.campaign.events import (
    Finished,
    Listener,
    Proposed,
    Proposing,
    RoundDone,
    Settling,
    Started,
    Verifying,
    WarmStarted,
)
from orchestrator.campaign.folder import RunFolder
from orchestrator.campaign.knowledge import knowledge_of
from orchestrator.campaign.settle import unsettled
from orchestrator.campaign.state import CampaignState, Candidate, read_state
from orchestrator.campaign.warm_start import WarmStart, begin
from orchestrator.environment import environment
from orchestrator.generate.account import Accountant
from orchestrator.objective.registry import make_objective
from orchestrator.optimize.beliefs import Knowledge
from orchestrator.optimize.proposer import Proposer, Suggestion
from orchestrator.space.base import Space
from profiling.store import CandidateRow

_LIBRARIES = ("devicenag", "torch", "botorch", "gpytorch", "numpy", "ai-edge-litert")


def run_campaign(config: Config, path: Path, listen: Listener, warm_start: Sequence[Path] = ()) -> CampaignState:
    """Start the campaign in this folder, or go on with it, until its budget is spent.

    Args:
        config: What to do.
        path: The run folder.
        listen: Told of everything that happens, partly from worker threads.
        warm_start: Folders of earlier campaigns whose measurements the surrogates learn from; kept in the store when
            the campaign begins, and not needed again.

    Returns:
        The final state.

    Raises:
        NagError: The folder is busy or holds another campaign, or data, weights or devices cannot be used.
        StoreError: A result could not be committed. Everything committed before stays.
        KeyboardInterrupt: The user stopped it; the state is saved.
    """
    space = config.make_space()
    with (
        RunFolder.open(path, config, {"environment": environment(_LIBRARIES)}) as folder,
        open_rig(config, path) as rig,
    ):
        objective = make_objective(config.accuracy, space, config.space.network_options())
        evaluator = Evaluator(config, space, objective, rig, folder, listen)
        try:
            warm = begin(folder, config, rig.backend, warm_start)
            knowledge = knowledge_of(config, space, warm, rig.tables)
            return _Loop(config, space, folder, evaluator, listen, warm, knowledge).run()
        finally:
            evaluator.close()


class _Loop:
    """One process's share of a campaign."""

    def __init__(
        self,
        config: Config,
        space: Space,
        folder: RunFolder,
        evaluator: Evaluator,
        listen: Listener,
        warm: WarmStart,
        knowledge: Knowledge,
    ) -> None:
        self._config = config
        self._space = space
        self._folder = folder
        self._evaluator = evaluator
        self._listen = listen
        self._identity: Callable[[tuple[int, ...]], str] = _identity(space, by_artifact=evaluator.runs_artifacts)
        self._generator = Accountant(config.generator.make(space))
        self._proposer = Proposer(
            space,
            config.parsed_goal(),
            self._generator,
            pool=config.generator.pool,
            initial=config.budget.initial,
            seed=config.seed,
            identity=self._identity,
            knowledge=knowledge,
        )
        self._warm = warm
        self._worked_before_s = float(folder.store.meta("worked_s") or 0.0)
        self._began = time.monotonic()

    def run(self) -> CampaignState:
        """Rounds until something says stop."""
        state = self._state()
        self._listen(Started(state, self._folder.resumed))
        if self._warm.runs:
            self._listen(WarmStarted(self._warm.verdicts))
        while True:
            state = self._complete(state)
            reason = self._why_stop(state)
            if reason is None:
                known = len(state.candidates)
                state = self._propose(state)
                if len(state.candidates) == known:
                    reason = "the space has no architecture left that was not measured"
            if reason is not None:
                break
        state = self._settle(state)
        self._verify(state)
        state = self._state()
        self._folder.store.set_meta("finished", {"at": time.time(), "reason": reason})
        self._listen(Finished(state, reason))
        return state

    def _state(self) -> CampaignState:
        return read_state(self._folder.store, self._config)

    def _complete(self, state: CampaignState) -> CampaignState:
        """Evaluate what is missing of the candidates proposed so far."""
        running = [candidate for candidate in state.candidates if candidate.status == "running"]
        if not running:
            return state
        self._evaluator.evaluate(running)
        state = self._state()
        if state.reference is None and state.goal.minimize and state.measured:
            reference = self._proposer.reference_point(state.observations)
            if reference is not None:
                self._folder.store.set_meta("reference", reference.tolist())
                state = self._state()
        self._folder.store.set_meta("worked_s", self._worked_s())
        self._listen(RoundDone(max(state.rounds), state))
        return state

    def _propose(self, state: CampaignState) -> CampaignState:
        """Commit the next round's candidates."""
        budget = self._config.budget
        index, known = len(state.rounds), len(state.candidates)
        count = min(budget.batch if known else budget.initial, budget.candidates - known)
        identities = {candidate.row.identity for candidate in state.candidates}
        self._listen(Proposing(index))
        began = time.monotonic()
        suggestions = self._proposer.propose(
            state.observations,
            count,
            round_index=index,
            is_known=lambda slots: self._identity(slots) in identities,
        )
        seconds = time.monotonic() - began
        rows = [self._row(known + offset, index, each) for offset, each in enumerate(suggestions)]
        if rows:
            self._folder.store.add_round(index, {"seconds": seconds, "generator": self._generator.take()}, rows)
            self._listen(Proposed(index, tuple(row.id for row in rows), seconds))
        return self._state()

    def _row(self, candidate: int, index: int, suggestion: Suggestion) -> CandidateRow:
        return CandidateRow(
            id=candidate,
            round=index,
            architecture=self._space.architecture(suggestion.slots).text,
            slots=suggestion.slots,
            identity=self._identity(suggestion.slots),
            seed=candidate_seed(self._config.seed, candidate),
            origin=suggestion.origin,
            acquisition=suggestion.acquisition,
            predictions={name: {"mean": p.mean, "sd": p.sd} for name, p in suggestion.predictions.items()},
        )

    def _why_stop(self, state: CampaignState) -> str | None:
        budget = self._config.budget
        if len(state.candidates) >= budget.candidates:
            return f"the budget of {budget.candidates} candidates is spent"
        if budget.hours is not None and self._worked_s() >= budget.hours * 3600:
            return f"the budget of {budget.hours:g} hours is spent"
        if budget.plateau_rounds is not None and _rounds_without_progress(state) >= budget.plateau_rounds:
            return f"no progress in {budget.plateau_rounds} rounds"
        return None

    def _worked_s(self) -> float:
        """Working time, those of earlier processes included."""
        return self._worked_before_s + time.monotonic() - self._began

    def _settle(self, state: CampaignState) -> CampaignState:
        """Measure on what matters to the result; what is known better then may raise others to the front."""
        tried: set[tuple[int, str]] = set()
        while wanted := [each for each in unsettled(state) if (each[0].row.id, each[1]) not in tried]:
            self._listen(Settling(len(wanted)))
            self._evaluator.settle(wanted)
            tried |= {(candidate.row.id, device) for candidate, device in wanted}
            state = self._state()
        return state

    def _verify(self, state: CampaignState) -> None:
        winners = spread(state.front, self._config.budget.verify)
        if winners and self._evaluator.runs_artifacts:
            self._listen(Verifying(tuple(candidate.row.id for candidate in winners)))
            self._evaluator.verify(winners)


def candidate_seed(seed: int, candidate: int) -> int:
    """Seed of a candidate's evaluation, 0..2^31-1, from the campaign's seed and its id."""
    digest = hashlib.sha256(f"{seed}:{candidate}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def spread(items: Sequence[Candidate], count: int) -> list[Candidate]:
    """At most `count` of them, evenly spaced, both ends included."""
    if count <= 1 or len(items) <= count:
        return list(items[: max(count, 0)])
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _identity(space: Space, *, by_artifact: bool) -> Callable[[tuple[int, ...]], str]:
    """What names a measured thing: what really runs, or (tables) the architecture's string."""

    def identity(slots: tuple[int, ...]) -> str:
        architecture = space.architecture(slots)
        return space.computation(architecture) if by_artifact else architecture.text

    return identity


def _rounds_without_progress(state: CampaignState) -> int:
    """Complete rounds since the last that raised the hypervolume (or the best feasible value)."""
    last, best = -1, float("-inf")
    for candidate, value in zip(state.measured, state.progress, strict=True):
        if value > best:
            last, best = max(last, candidate.row.round), float(value)
    return len(state.rounds) - 1 - last
