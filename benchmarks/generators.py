"""Generators compared: the same predictor, equal predictor calls, then equal time.

Prints three Markdown tables a space. Unguided samples: validity before projection, uniqueness, novelty (where there is
a training set to ask), diversity, time. Guided searches at equal predictor calls: the best accuracy found within a
budget of latency; a call is one architecture forward, or forward and backward, counted from outside. The same at equal
processor time. Medians over seeds. "Draw and filter" is what guidance has to beat.

    python benchmarks/generators.py --space mobilenetv3 --calls 1000 10000 --seeds 10
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from generation_tasks import BUDGETS_MS, Task, Worth, diversity, make_task, median, worth

from orchestrator.errors import NagError
from orchestrator.generate.base import CountedUtility, Generator, Proposal, Request
from orchestrator.generate.dinas.generator import DiNAS
from orchestrator.generate.guides import make_conditions
from orchestrator.generate.registry import generator_kinds, make_generator
from orchestrator.space.base import Space
from orchestrator.space.registry import make_space

FIRST_SEED = 1000  # options were chosen on seeds below it
RETURNED = 50  # architectures asked for under guidance; divides the usual numbers of calls
QUANTILE = 0.99  # of accuracy, that a generator which takes conditions is asked for beside the budget
SAMPLES = 1000  # unguided
SAMPLING_SEEDS = 3
COMPARED = 200  # of them, for diversity, which looks at all pairs
FIRST_CALLS = 500  # that a time limit is approached from
LARGEST_STEP = 8.0
ENOUGH = 0.7  # share of the time limit that must be used
TRIALS = 8
PARTS = ("samples", "calls", "time")

Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    Attributes:
        label: Its name there.
        config: Of the generator, as in a campaign's file.
        guided: Whether it is given the predictor.
    """

    label: str
    config: Mapping[str, Any] = field(default_factory=dict)
    guided: bool = True

    def generator(self, space: Space, calls: int | None = None) -> Generator:
        """The generator; with `calls`, one that evaluates so many architectures for `RETURNED` of them."""
        each = {} if calls is None else {"calls_per_architecture": max(calls // RETURNED, 1)}
        return make_generator({**self.config, **each}, space)


PEERS = (
    Method("uniform draws, no predictor", {"kind": "random"}, guided=False),
    Method("draw and filter", {"kind": "random"}),
    Method(
        "aging evolution (P 100, S 25)",
        {"kind": "regularized_evolution", "population": 100, "tournament": 25, "brood": 1},
    ),
)
ABLATIONS = (
    Method("diffusion_nag, untrained prior", {"kind": "diffusion_nag", "checkpoint": "untrained"}),
    Method("diffusion_nag, quality prior", {"kind": "diffusion_nag", "checkpoint": "quality"}),
    Method("diffusion_evolution, quality prior", {"kind": "diffusion_evolution", "checkpoint": "quality"}),
    Method("diffusion_evolution, no diffusion", {"kind": "diffusion_evolution", "diffusion_share": 0.0}),
    Method("dinas, conditions alone", {"kind": "dinas"}, guided=False),
)
_COVERED = ("random",)  # by a peer


def all_methods() -> list[Method]:
    """The peers, every kind of generator that there is with its default options, and what a part of one adds."""
    kinds = (Method(kind, {"kind": kind}) for kind in generator_kinds() if kind not in _COVERED)
    return [*PEERS, *kinds, *ABLATIONS]


def parse_method(text: str) -> Method:
    """A label of `all_methods`, or `KIND:OPTION=VALUE,...`."""
    known = {method.label: method for method in all_methods()}
    if text in known:
        return known[text]
    kind, _, rest = text.partition(":")
    options = dict(option.split("=", 1) for option in rest.split(",")) if rest else {}
    return Method(text, {"kind": kind, **{name: yaml.safe_load(value) for name, value in options.items()}})


def usable(methods: Sequence[Method], space: Space) -> Iterator[Method]:
    """Those that propose from a space; a line on standard error says why another does not."""
    for method in methods:
        try:
            generator = method.generator(space)
        except NagError as error:
            print(f"{method.label}: skipped on {space.name}: {error.message}", file=sys.stderr)
            continue
        if "calls_per_architecture" not in inspect.signature(type(generator)).parameters:
            print(f"{method.label}: skipped on {space.name}: its calls cannot be set", file=sys.stderr)
            continue
        yield method


def sampling(method: Method, space: str, seeds: int) -> Row:
    """Unguided samples of one method; medians over seeds."""
    generator = method.generator(make_space(space))
    generator.propose(Request(8))  # the first call of anything loads it
    timed = [_timed(generator, Request(SAMPLES, seed=seed)) for seed in _seeds(seeds)]
    proposals = [proposal for proposal, _ in timed]
    return {
        "method": method.label,
        "validity_unprojected": float(np.median([p.validity_unprojected for p in proposals])),
        "uniqueness": _median_known([p.uniqueness for p in proposals]),
        "novelty": _median_known([p.novelty for p in proposals]),
        "diversity": float(np.median([diversity(generator.space, p.slots[:COMPARED]) for p in proposals])),
        "cpu_ms_each": 1000 * float(np.median([seconds for _, seconds in timed])) / SAMPLES,
    }


@dataclass(frozen=True)
class Search:
    """One guided proposal, judged."""

    worth: Worth
    calls: int
    cpu_seconds: float
    diversity: float
    validity_unprojected: float


def search(method: Method, task: Task, calls: int, seed: int) -> Search:
    """One guided proposal of a method."""
    counted = CountedUtility(task.utility)
    generator = method.generator(task.space, calls if method.guided else None)
    conditions = make_conditions(generator, task.budget, QUANTILE) if isinstance(generator, DiNAS) else None
    request = Request(RETURNED, counted if method.guided else None, seed=seed, conditions=conditions)
    proposal, seconds = _timed(generator, request)
    judged = worth(task, proposal.slots)
    return Search(judged, counted.calls, seconds, diversity(task.space, proposal.slots), proposal.validity_unprojected)


def at_equal_calls(method: Method, space: str, budgets: Sequence[float], calls: int, seeds: int) -> Row:
    """Medians over seeds for each budget, and every seed's best."""
    found = {
        budget: [search(method, make_task(space, budget, seed), calls, seed) for seed in _seeds(seeds)]
        for budget in budgets
    }
    return _row(method, found)


def at_equal_time(method: Method, space: str, budgets: Sequence[float], seconds: float, seeds: int) -> Row | None:
    """The same with as many calls as fit into so many seconds of processor time; None where no number was found.

    The number is sought from below: it is scaled by what the last one took until the median over seeds and budgets
    takes 70 to 100 % of the time. A generator that has no use for more calls is judged by what it used.
    """
    calls, last = FIRST_CALLS, None
    for _ in range(TRIALS):
        row = at_equal_calls(method, space, budgets, calls, seeds)
        if row["cpu_seconds"] <= seconds:
            sated = last is not None and row["calls"] <= last["calls"]
            last = row
            if sated or not method.guided or row["cpu_seconds"] >= ENOUGH * seconds:
                break
        aim = (1 + ENOUGH) / 2 * seconds / max(row["cpu_seconds"], 1e-9)
        calls = RETURNED * max(round(calls * min(aim, LARGEST_STEP) / RETURNED), 1)
    return last


def _row(method: Method, found: Mapping[float, Sequence[Search]]) -> Row:
    every = [each for searches in found.values() for each in searches]
    return {
        "method": method.label,
        "budgets": {
            f"{budget:g}": {
                "best": median([each.worth.best for each in searches]),
                "mean_of_ten": median([each.worth.mean for each in searches]),
                "within": float(np.mean([each.worth.within for each in searches])),
                "best_by_seed": [each.worth.best for each in searches],
            }
            for budget, searches in found.items()
        },
        "within": float(np.mean([each.worth.within for each in every])),
        "diversity": float(np.median([each.diversity for each in every])),
        "validity_unprojected": float(np.mean([each.validity_unprojected for each in every])),
        "calls": float(np.mean([each.calls for each in every])),
        "cpu_seconds": float(np.median([each.cpu_seconds for each in every])),
    }


def _seeds(count: int) -> range:
    return range(FIRST_SEED, FIRST_SEED + count)


def _timed(generator: Generator, request: Request) -> tuple[Proposal, float]:
    """A proposal and its seconds of processor time, which other work on the machine does not stretch."""
    began = time.process_time()
    proposal = generator.propose(request)
    return proposal, time.process_time() - began


def _median_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def sampling_table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = ("validity_unprojected", "uniqueness", "novelty", "diversity", "cpu_ms_each")
    names = ("generator", "validity before projection", "uniqueness", "novelty", "diversity", "CPU ms each")
    lines = [[row["method"], *(_number(row[name], 3) for name in head)] for row in rows]
    return _markdown(names, lines)


def search_table(rows: Sequence[Row], budgets: Sequence[float]) -> str:
    """Markdown; the highest best of each budget in bold."""
    tops = {budget: np.nanmax([row["budgets"][f"{budget:g}"]["best"] for row in rows]) for budget in budgets}
    lines = []
    for row in rows:
        cells = []
        for budget in budgets:
            at = row["budgets"][f"{budget:g}"]
            best = _number(at["best"], 2)
            best = f"**{best}**" if at["best"] == tops[budget] else best
            cells.append(f"{best} / {_number(at['mean_of_ten'], 2)}")
        rest = (_number(row["within"], 2), _number(row["validity_unprojected"], 3), _number(row["diversity"], 2))
        lines.append([row["method"], *cells, *rest, f"{row['calls']:.0f}", _number(row["cpu_seconds"], 2)])
    names = ["generator", *(f"{budget:g} ms" for budget in budgets)]
    return _markdown([*names, "within", "validity before projection", "diversity", "calls", "CPU s"], lines)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def _markdown(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, ["---"] * len(names), *lines))


class Notes:
    """Rows already measured, in a file of JSON lines: a comparison that was interrupted goes on where it stood.

    A row is known by what was asked, not by the code that answered: start a new file when a generator has changed.
    """

    def __init__(self, path: Path | None) -> None:
        """Args:
        path: The file; None remembers nothing.
        """
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known: dict[str, Row | None] = dict(json.loads(line) for line in lines)

    def row(self, measure: Callable[[], Row | None], *asked: object) -> Row | None:
        """The row of what was asked, measured if it is new."""
        key = json.dumps(asked)
        if key not in self._known:
            self._known[key] = measure()
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps([key, self._known[key]]) + "\n")
        return self._known[key]


def compare(arguments: argparse.Namespace, name: str) -> Row:
    """All three tables of one space, printed as they come unless JSON is asked for."""
    space, notes = make_space(name), Notes(arguments.notes)
    budgets, seeds = list(arguments.budgets or BUDGETS_MS[name]), arguments.seeds
    methods = list(usable([parse_method(text) for text in arguments.methods or ()] or all_methods(), space))
    tables: Row = {"space": name, "seeds": seeds, "budgets_ms": budgets}

    def rows(measure: partial[Any]) -> list[Row]:
        found = [
            notes.row(partial(measure, each), measure.func.__name__, asdict(each), measure.keywords) for each in methods
        ]
        return [row for row in found if row is not None]

    def show(title: str, table: str) -> None:
        if not arguments.json:
            print(f"\n### {name}: {title}\n\n{table}", flush=True)

    if "samples" in arguments.only:
        found = rows(partial(sampling, space=name, seeds=SAMPLING_SEEDS))
        tables["samples"] = [row for row in found if row["uniqueness"] is not None]  # others have no sampler
        show(f"{SAMPLES:,} unguided samples", sampling_table(tables["samples"]))
    legend = "best / mean of the ten best, percent"
    tables["equal_calls"] = {}
    for calls in arguments.calls if "calls" in arguments.only else ():
        found = rows(partial(at_equal_calls, space=name, budgets=budgets, calls=calls, seeds=seeds))
        tables["equal_calls"][calls] = found
        show(f"{calls:,} predictor calls, {seeds} seeds ({legend})", search_table(found, budgets))
    if "time" in arguments.only:
        few, limit = min(seeds, arguments.time_seeds), arguments.cpu_seconds
        found = rows(partial(at_equal_time, space=name, budgets=budgets, seconds=limit, seeds=few))
        tables["equal_time"] = found
        show(f"{limit:g} s of processor time, {few} seeds ({legend})", search_table(found, budgets))
    return tables


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=[*BUDGETS_MS], help="default: both")
    parser.add_argument("--calls", type=int, nargs="+", default=[1000, 10_000], help=f"multiples of {RETURNED}")
    parser.add_argument("--budgets", type=float, nargs="+", help="milliseconds")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="labels, kinds, or KIND:OPTION=VALUE,...")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="default: all three")
    parser.add_argument("--cpu-seconds", type=float, default=1.0, help="of the comparison at equal time")
    parser.add_argument("--time-seeds", type=int, default=5, help="of the comparison at equal time, at most")
    parser.add_argument("--notes", type=Path, metavar="FILE", help="keep rows there, and measure none twice")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compared = [compare(arguments, name) for name in ([arguments.space] if arguments.space else BUDGETS_MS)]
    if arguments.json:
        print(json.dumps(compared, indent=2))


if __name__ == "__main__":
    main()
