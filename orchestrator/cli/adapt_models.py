"""`nag adapt --models`: what every `.tflite` file of a folder takes on one device, from measuring a few of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from orchestrator.predict.latency.model_prior import AdaptedModels, ModelPrior
    from orchestrator.predict.latency.models import ModelFile
    from orchestrator.predict.latency.quality import Quality
    from orchestrator.space.base import FloatArray
    from profiling.plan import MeasurementPlan

INTERRUPTED = 130
MADE_UP = 16
"""Devices that stand in where no prior is given."""
_TESTABLE = 5  # measurements that can be predicted from one another; of fewer, each says too much
_MOST_SHOWN = 40  # models, where people read
_ASKED = ("spearman", "kendall", "within_5_percent", "within_10_percent", "coverage_90")


@dataclass(frozen=True)
class Request:
    """What the command line asks for; see the options of `nag adapt`."""

    folder: Path
    device: str | None
    table: Path | None
    column: str | None
    samples: int
    seed: int
    references: str
    prior: Path | None
    known: Path | None
    out: Path | None
    plan: MeasurementPlan
    runner: Path | None
    adb_port: int | None


def adapt_models(request: Request, *, as_json: bool) -> None:
    """Measure some models, predict all others, print what is known of each."""
    from orchestrator.predict.latency.model_prior import load_adapted_models, save_adapted_models
    from orchestrator.predict.latency.models import read_models

    started = time.perf_counter()
    models, left_out = read_models(request.folder)
    for name, why in left_out.items():
        print(f"left out: {name} {why}", file=sys.stderr)
    known: Mapping[str, float] = {}
    failed: Mapping[str, str] = {}
    dropped: Sequence[str] = ()
    if request.known is not None:
        made = load_adapted_models(request.known)
    elif request.table is not None:
        made, known, dropped = _looked_up(request, models)
    else:
        made, failed = _measured(request, models)
    adapting = time.perf_counter()
    values = _predictions(made, models, known, failed)
    values = {
        "device": request.device or request.column or made.device.get("name"),
        "samples": len(made.sha256),
        "seed": request.seed,
        "references": request.references,
        **values,
        "failed": dict(failed),
        "left_out": left_out,
        "prior": {"devices": list(made.prior.prices.devices), "left_out": list(dropped)},
        "adapt_seconds": round(time.perf_counter() - adapting, 3),
        "seconds": round(time.perf_counter() - started, 3),
    }
    if request.out is not None:
        save_adapted_models(request.out, made)
        values["predictor"] = str(request.out)
    if as_json:
        print(json.dumps(values, indent=2))
    else:
        _print(values)


def _prior(request: Request, models: Sequence[ModelFile]) -> ModelPrior:
    """The one that was given; else made-up devices."""
    from orchestrator.predict.latency.model_prior import fit_model_prior, load_model_prior

    if request.prior is not None:
        return load_model_prior(request.prior)
    print(
        f"no --prior: {MADE_UP} made-up devices stand in for known ones (nag train latency --models)", file=sys.stderr
    )
    return fit_model_prior(models, None, synthetic=MADE_UP)


def _looked_up(
    request: Request, models: Sequence[ModelFile]
) -> tuple[AdaptedModels, Mapping[str, float], Sequence[str]]:
    """A device of a table: what was looked up, what the table says of every file, and which sources were left out."""
    import numpy as np

    from orchestrator.errors import ConfigError, DataError, Problem
    from orchestrator.predict.latency.measuring_models import telling_order
    from orchestrator.predict.latency.model_prior import AdaptedModels
    from orchestrator.predict.latency.model_sources import table_column
    from orchestrator.predict.latency.models import amounts_of
    from orchestrator.predict.latency.trial import unseen

    assert request.table is not None
    assert request.column is not None
    column = table_column(request.table, request.column)
    listed = [model for model in models if model.name in column]
    if not listed:
        raise DataError(
            f"{request.table}: column {request.column!r} has no latency of any file in {request.folder}",
            "its rows are called by the files' names in the folder",
        )
    prior = _prior(request, models)
    left_out = unseen(prior.prices, request.column)[1]
    prior = prior.without(left_out)
    view = prior.view_of(listed)
    order = telling_order(view, listed, random=request.references == "random", seed=request.seed)
    if request.samples + 2 > len(order):
        allowed = f"at most {len(order) - 2}: there are {len(order)} different models, and some must be left to test"
        raise ConfigError("samples", [Problem("--samples", request.samples, allowed)])
    rows = order[: request.samples]
    latency_ms = np.array([column[listed[row].name] for row in rows])
    made = AdaptedModels(
        prior=prior,
        amounts=amounts_of(listed)[rows],
        sha256=tuple(listed[row].sha256 for row in rows),
        latency_ms=latency_ms,
        log_variances=np.full(len(rows), np.nan),
        device={"name": request.column, "kind": "table"},
    )
    return made, column, left_out


def _measured(request: Request, models: Sequence[ModelFile]) -> tuple[AdaptedModels, Mapping[str, str]]:
    """A real device: what was measured, and what it cannot run. Blocks are kept beside `out` until all are there."""
    from functools import partial

    import numpy as np

    from orchestrator.cli import measure
    from orchestrator.cli.adapt import Lines
    from orchestrator.cli.progress import interrupt
    from orchestrator.predict.latency.measuring import as_measured
    from orchestrator.predict.latency.measuring_models import measure_models, telling_order
    from orchestrator.predict.latency.model_prior import AdaptedModels
    from orchestrator.predict.latency.models import amounts_of

    assert request.device is not None
    prior = _prior(request, models)
    view = prior.view_of(models)
    order = telling_order(view, models, random=request.references == "random", seed=request.seed)
    opened = partial(measure.open_device, request.device, runner=request.runner, adb_port=request.adb_port)

    def refused(name: str, why: str) -> None:
        print(f"{name} cannot be run there; another is measured, if there is one: {why}", file=sys.stderr, flush=True)

    with TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.sqlite" if request.out is None else request.out.with_suffix(".journal.sqlite")
        with interrupt() as stopped:
            found = measure_models(
                opened, models, order, request.samples, request.plan, journal,
                seed=request.seed, progress=Lines(), refused=refused, stop=stopped,
            )  # fmt: skip
        if found is None:
            kept = "" if request.out is None else "; what was measured is kept, and the same command goes on"
            print(f"stopped{kept}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED)
        journal.unlink(missing_ok=True)
    rows, measurements = list(found.measurements), list(found.measurements.values())
    measured = as_measured(np.array(rows), measurements)
    made = AdaptedModels(
        prior=prior,
        amounts=amounts_of(models)[rows],
        sha256=tuple(models[row].sha256 for row in rows),
        latency_ms=measured.values,
        log_variances=measured.variances,
        device=measurements[0].device.to_json(),
    )
    return made, found.failed


def _predictions(
    made: AdaptedModels, models: Sequence[ModelFile], column: Mapping[str, float], failed: Mapping[str, str]
) -> dict[str, Any]:
    """What is said of every model, and how good that is as far as it can be told."""
    adapted, said = made.predict(models)
    taken_ms = dict(zip(made.sha256, made.latency_ms.tolist(), strict=True))
    rows = [
        {
            "model": model.name,
            "sha256": model.sha256,
            "measured_ms": taken_ms.get(model.sha256),
            "latency_ms": round(float(said.latency_ms[row]), 4),
            "low_ms": round(float(said.low_ms[row]), 4),
            "high_ms": round(float(said.high_ms[row]), 4),
            "multiply_adds": model.multiply_adds,
            "unpriced": dict(model.unpriced),
            "runs": False if model.name in failed else True if model.sha256 in taken_ms else None,
        }
        for row, model in enumerate(models)
    ]
    names = {model.sha256: model.name for model in models}
    quality, evaluated = _quality(made, models, column)
    return {
        **{name: None if quality is None else round(getattr(quality, name), 4) for name in _ASKED},
        "evaluated": evaluated,
        "measured": [names.get(sha, sha) for sha in made.sha256],
        "measured_ms": made.latency_ms.tolist(),
        "unexplained_sd": round(adapted.rest**0.5, 4),
        "models": rows,
    }


def _quality(
    made: AdaptedModels, models: Sequence[ModelFile], column: Mapping[str, float]
) -> tuple[Quality | None, str]:
    """On all other rows of a table; else of each measurement from the others."""
    import numpy as np

    from orchestrator.predict.latency.quality import assess

    if column:
        others = [model for model in models if model.name in column and model.sha256 not in made.sha256]
        latency_ms: FloatArray = np.array([column[model.name] for model in others])
        return assess(made.predict(others)[1], latency_ms), f"{len(others)} other models"
    count = len(made.sha256)
    if count < _TESTABLE:
        return None, f"not tested: {count} measurements are too few to predict each from the others"
    view = made.prior.view(made.amounts, made.sha256)
    said = view.leave_one_out(np.arange(count), made.latency_ms, made.log_variances)
    return assess(said, made.latency_ms), f"each of the {count} from the others"


def _print(values: Mapping[str, Any]) -> None:
    """For people: the fastest first."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    print(f"{len(values['models'])} models on {values['device']}, from {len(values['measured'])} measurements")
    table = Table("model", box=None, pad_edge=False)
    for name in ("ms", "90 % interval", "multiply-adds", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    rows = sorted(values["models"], key=lambda row: row["measured_ms"] or row["latency_ms"])
    for row in rows[:_MOST_SHOWN]:
        interval = f"{row['low_ms']:.3f} to {row['high_ms']:.3f}"
        taken = row["measured_ms"]
        note = "measured" if taken else f"not priced: {', '.join(row['unpriced'])}" if row["unpriced"] else ""
        note = "cannot be run there" if row["runs"] is False else note
        latency = f"{taken or row['latency_ms']:.3f}"
        table.add_row(row["model"], latency, "" if taken else interval, f"{row['multiply_adds'] / 1e6:,.1f} M", note)
    console.print(table, highlight=False, markup=False)
    if len(rows) > _MOST_SHOWN:
        print(f"... and {len(rows) - _MOST_SHOWN} more; --json has all of them")
    if values["spearman"] is None:
        print(values["evaluated"])
    else:
        print(f"predictions of {values['evaluated']}:")
        print(f"  rank correlation {values['spearman']:.3f} (Spearman), {values['kendall']:.3f} (Kendall)")
        print(f"  within 5 % {values['within_5_percent']:.1%}, within 10 % {values['within_10_percent']:.1%}")
        print(f"  90 % intervals hold {values['coverage_90']:.1%}")
    for name, why in values["failed"].items():
        print(f"cannot be run there: {name}: {why}")
    if "predictor" in values:
        print(f"written: {values['predictor']}")
