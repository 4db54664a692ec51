"""`nag adapt`: the latency of a whole space, or of a folder of models, on one device, from a few measurements."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.phones import AdbPortOption, JsonOption

if TYPE_CHECKING:
    from orchestrator.lut.passes import Progress
    from orchestrator.predict.latency.checkpoint import AdaptedFile
    from orchestrator.predict.latency.prior import LatencyPrior
    from orchestrator.space.base import IntArray, Space
    from profiling.plan import MeasurementPlan
    from profiling.records import Measurement

INTERRUPTED = 130
_HOW = ("chosen", "random")
_POOL = 400  # architectures that references are chosen from
_EXAMPLES = 5  # predictions that are shown
_TESTABLE = 5  # measurements that can be predicted from one another; of fewer, each says too much


def adapt(
    space: Annotated[str, typer.Option(help="Search space, e.g. nasbench201.")] = "nasbench201",
    models: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Instead of a space: the .tflite files in this folder.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Measure on this one: host, the adb serial of a phone, or virtual:N.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Look latencies up in this table instead, and compare with all the others.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The table's column: the device.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Architectures or models to measure, and no more.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the architectures that are considered.")] = 0,
    references: Annotated[str, typer.Option(help="chosen: those that tell most; or random.")] = "chosen",
    prior: Annotated[
        Path | None, typer.Option(help="From `nag train latency`; default: what ships for the space; made-up devices.")
    ] = None,
    adapted: Annotated[
        Path | None, typer.Option(help="With --models: predict from this earlier --out, and measure nothing.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the adapted predictor to this file.")] = None,
    target: Annotated[float, typer.Option(min=0.001, max=0.4, help="Relative half-width to measure to.")] = 0.02,
    max_blocks: Annotated[int, typer.Option(min=1, help="Most processes to measure one architecture.")] = 10,
    threads: Annotated[int, typer.Option(min=1, help="Interpreter threads.")] = 1,
    delegate: Annotated[
        str, typer.Option(help="cpu (XNNPACK), none (built-in kernels); on phones also gpu, nnapi, external:PATH.")
    ] = "cpu",
    clock: Annotated[
        str, typer.Option(help="wall; or cpu, the processor time, on a host that does other things, too.")
    ] = "wall",
    runner: Annotated[
        Path | None, typer.Option(help="benchmark_model to use on the phone instead of the one that was added.")
    ] = None,
    adb_port: AdbPortOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn a device's latencies from a few measurements and from what other devices have in common."""
    import json
    from dataclasses import replace

    from orchestrator.cli.adapt_models import Request, adapt_models
    from orchestrator.errors import ConfigError, Problem
    from orchestrator.predict.latency.checkpoint import load_prior, save_adapted, shipped_prior
    from orchestrator.space.registry import parse_space
    from profiling.plan import MeasurementPlan

    problems = []
    if sum(each is not None for each in (device, table, adapted)) != 1:
        given = tuple(str(each) for each in (device, table, adapted) if each is not None)
        problems.append(Problem("--device/--table", given, "one of them"))
    if adapted is not None and models is None:
        problems.append(Problem("--adapted", str(adapted), "only with --models"))
    if clock not in ("wall", "cpu") or (clock == "cpu" and (device != "host" or threads > 1)):
        problems.append(Problem("--clock", clock, "wall; or cpu, with --device host and --threads 1"))
    if (table is None) != (column is None):
        problems.append(Problem("--column", column, "a column of --table"))
    if references not in _HOW:
        problems.append(Problem("--references", references, " or ".join(_HOW)))
    if device is not None and device.startswith("table:"):
        problems.append(Problem("--device", device, "something that runs models; for tables: --table and --column"))
    if device is not None and samples < 1:
        problems.append(Problem("--samples", samples, "at least 1"))
    if problems:
        raise ConfigError("nag adapt", problems)
    plan = replace(
        MeasurementPlan(), threads=threads, delegate=delegate, target_half_width=target, max_blocks=max_blocks,
        min_blocks=min(MeasurementPlan.min_blocks, max_blocks), clock="cpu" if clock == "cpu" else "wall",
    )  # fmt: skip
    if models is not None:
        request = Request(
            models, device, table, column, samples, seed, references, prior, adapted, out, plan, runner, adb_port
        )
        adapt_models(request, as_json=as_json)
        return
    chosen = parse_space(space)
    known = shipped_prior(chosen) if prior is None else load_prior(prior, chosen)
    asked = {
        "space": chosen.name,
        "device": device or column,
        "samples": samples,
        "seed": seed,
        "references": references,
    }
    if table is not None and column is not None:
        values, made = _on_table(chosen, known, table, column, samples, seed, references)
    else:
        assert device is not None
        rows = _references(chosen, known, samples, seed, references)
        measurements = _measured(chosen, rows, device, plan, runner, adb_port, seed, out)
        values, made = _on_device(chosen, known, rows, measurements)
    if out is not None:
        save_adapted(out, chosen, made)
        values["predictor"] = str(out)
    if as_json:
        print(json.dumps(asked | values, indent=2))
    else:
        _print(asked | values)


def _on_table(
    space: Space, prior: LatencyPrior, table: Path, column: str, samples: int, seed: int, references: str
) -> tuple[dict[str, Any], AdaptedFile]:
    """Look architectures up, adapt, and compare with all other rows."""
    from dataclasses import asdict

    from orchestrator.predict.latency.checkpoint import AdaptedFile
    from orchestrator.predict.latency.tables import read_latencies
    from orchestrator.predict.latency.trial import run_trial

    read = read_latencies(table, [column], space)
    trial = run_trial(
        space, prior, column, read.slots, read.latency_ms[column], samples, seed=seed, random=references == "random"
    )
    if trial.left_out:
        print(f"left out of the prior, being {column} or of its family: {', '.join(trial.left_out)}", file=sys.stderr)
    values = {
        **{name: round(value, 4) for name, value in asdict(trial.quality).items()},
        "evaluated": trial.evaluated,
        "measured": [space.architecture(row).text for row in trial.measured.slots],
        "measured_ms": trial.measured.values.tolist(),
        "seconds": round(trial.seconds, 3),
        "adapt_seconds": round(trial.adapt_seconds, 3),
        "prior": {"devices": list(trial.prior.devices), "left_out": list(trial.left_out)},
    }
    return values, AdaptedFile(trial.prior, trial.measured, {"name": column, "kind": "table"})


def _references(space: Space, prior: LatencyPrior, samples: int, seed: int, references: str) -> IntArray:
    """(`N`, `S`) architectures that compile to different artifacts."""
    import numpy as np

    from orchestrator.generate.pool import draw_distinct
    from orchestrator.predict.latency.measuring import different_networks
    from orchestrator.predict.latency.references import choose_references, random_references
    from orchestrator.predict.latency.structures import structures_of

    drawn = draw_distinct(space, max(_POOL, 4 * samples), np.random.default_rng(seed))
    pool = different_networks(space, drawn)
    if references == "random":
        return random_references(space, samples, seed=seed, pool=pool)
    return choose_references(space, structures_of(space), prior, samples, seed=seed, pool=pool)


def _measured(
    space: Space,
    slots: IntArray,
    device: str,
    plan: MeasurementPlan,
    runner: Path | None,
    adb_port: int | None,
    seed: int,
    out: Path | None,
) -> tuple[Measurement, ...]:
    """Measurements on a real device, kept beside `out` until they are all there."""
    from orchestrator.cli.measure import open_device
    from orchestrator.cli.progress import interrupt
    from orchestrator.predict.latency.measuring import measure_architectures

    with TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.sqlite" if out is None else out.with_suffix(".journal.sqlite")
        with open_device(device, runner=runner, adb_port=adb_port) as opened:
            for problem in opened.health():
                print(f"note: {problem}", file=sys.stderr)
            with interrupt() as stopped:
                found = measure_architectures(
                    opened, space, slots, space.usual_network, plan, journal, seed=seed, progress=Lines(), stop=stopped
                )
        if found is None:
            kept = "" if out is None else "; what was measured is kept, and the same command goes on"
            print(f"stopped{kept}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED)
        journal.unlink(missing_ok=True)
    return found


class Lines:
    """A line on standard error whenever another one is known well enough."""

    def __init__(self) -> None:
        self._done = -1

    def __call__(self, now: Progress) -> None:
        if now.done != self._done:
            self._done = now.done
            left = f", about {now.seconds_left:.0f} s left" if now.done < now.items else ""
            print(f"{now.done} of {now.items} measured, {now.blocks} blocks{left}", file=sys.stderr, flush=True)


def _on_device(
    space: Space, prior: LatencyPrior, slots: IntArray, measurements: tuple[Measurement, ...]
) -> tuple[dict[str, Any], AdaptedFile]:
    """Adapt to measurements, and say how well each is predicted from the others."""
    from orchestrator.generate.pool import width
    from orchestrator.predict.latency.checkpoint import AdaptedFile
    from orchestrator.predict.latency.measuring import as_measured
    from orchestrator.predict.latency.quality import assess, leave_one_out
    from orchestrator.predict.latency.structures import relaxed, structures_of

    started = time.perf_counter()
    measured = as_measured(slots, measurements)
    info = measurements[0].device
    file = AdaptedFile(
        prior, measured, {**info.to_json(), "artifacts": [each.artifact_sha256 for each in measurements]}
    )
    adapted = file.predictor(space)
    adapt_seconds = time.perf_counter() - started
    values: dict[str, Any] = {
        "measured": [space.architecture(row).text for row in slots],
        "measured_ms": measured.values.tolist(),
        "standard_errors_log": [each.standard_error_log for each in measurements],
        "adapt_seconds": round(adapt_seconds, 3),
        "runtime": info.runtime,
        "unexplained_sd": round(adapted.rest**0.5, 4),
        "predictions": _examples(space, file),
        "prior": {"devices": list(prior.devices), "left_out": []},
    }
    asked = ("spearman", "kendall", "within_5_percent", "within_10_percent", "coverage_90")
    if len(slots) >= _TESTABLE:
        inputs = relaxed(slots, width(space))
        others = leave_one_out(prior, structures_of(space), inputs, measured.values, measured.variances)
        quality = assess(others, measured.values)
        values |= {name: round(getattr(quality, name), 4) for name in asked}
        values["evaluated"] = f"each of the {len(slots)} from the others"
    else:
        values |= dict.fromkeys(asked)
        values["evaluated"] = f"not tested: {len(slots)} measurements are too few to predict each from the others"
    values["seconds"] = round(time.perf_counter() - started, 3)
    return values, file


def _examples(space: Space, file: AdaptedFile) -> list[dict[str, Any]]:
    """From fast to slow, architectures that compute the most for what they take, by the prediction."""
    import numpy as np

    from orchestrator.generate.pool import width
    from orchestrator.optimize.pareto import pareto_mask
    from orchestrator.predict.latency.quality import predict
    from orchestrator.predict.latency.structures import relaxed

    slots = space.sample(_POOL, np.random.default_rng(0))
    inputs = relaxed(slots, width(space))
    slots = slots[space.encoding().connected(inputs).numpy() > 0]
    inputs = relaxed(slots, width(space))
    work = space.encoding().work(inputs).numpy()
    said = predict(file.predictor(space), inputs)
    front = np.flatnonzero(pareto_mask(np.stack([work, -said.mean], axis=1)))
    front = front[np.argsort(said.mean[front])]
    shown = front[np.unique(np.linspace(0, len(front) - 1, _EXAMPLES).round().astype(int))]
    return [
        {
            "architecture": space.architecture(slots[row]).text,
            "latency_ms": round(float(said.latency_ms[row]), 4),
            "low_ms": round(float(said.low_ms[row]), 4),
            "high_ms": round(float(said.high_ms[row]), 4),
        }
        for row in shown
    ]


def _print(values: dict[str, Any]) -> None:
    """For people."""
    print(f"{values['space']} on {values['device']}, from {len(values['measured'])} measurements:")
    for text, latency_ms in zip(values["measured"], values["measured_ms"], strict=True):
        print(f"  {latency_ms:10.4f} ms  {text}")
    if values["spearman"] is None:
        print(values["evaluated"])
    else:
        print(f"predictions of {values['evaluated']}{' other architectures' if values['prior']['left_out'] else ''}:")
        print(f"  rank correlation {values['spearman']:.3f} (Spearman), {values['kendall']:.3f} (Kendall)")
        print(f"  within 5 % {values['within_5_percent']:.1%}, within 10 % {values['within_10_percent']:.1%}")
        print(f"  90 % intervals hold {values['coverage_90']:.1%}")
    for each in values.get("predictions", ()):
        print("  {latency_ms:10.4f} ms  [{low_ms:.4f}, {high_ms:.4f}] (90 %)  {architecture}".format(**each))
    print(f"adapted in {values['adapt_seconds']:.2f} s")
    if "predictor" in values:
        print(f"written: {values['predictor']}")
