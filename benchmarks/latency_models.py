"""Latency of a folder of `.tflite` files on a device never seen, from ten measurements on it.

Networks of nine families, some of them in float16 and int8, are written to a folder (`model_families.py`) and measured
on this machine by the processor's clock, with XNNPACK and with the built-in kernels: two devices that differ in more
than speed. Made-up devices (`synthetic.py`) run them, too. Each device is then held out, with what made-up devices of
another seed have in common as the prior (`made-up`), and with the others' latencies of the same files as well
(`known`). Also the published phones of `latency_sets.py`, held out with all their runs.

    python benchmarks/latency_models.py --out DIR --data ../shared/data

prints Markdown: rank correlations, predictions within 10 % and what the 90 % intervals hold of all networks that were
not measured, beside multiply-adds, weights, and the nearest known device, scaled. What was measured is kept in DIR.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase

import numpy as np
import torch
from latency_sets import TableSet, phones
from model_families import write_models
from scipy.stats import kendalltau, spearmanr

from device_agent.host import HostDevice
from device_agent.measure import measure
from orchestrator.predict.latency.made_up_models import made_up_tables
from orchestrator.predict.latency.measuring_models import telling_order
from orchestrator.predict.latency.model_prior import ModelPrior, ModelView, fit_model_prior
from orchestrator.predict.latency.model_sources import Sources
from orchestrator.predict.latency.models import MODEL_AMOUNTS, ModelFile, amounts_of, read_models
from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.quality import assess
from orchestrator.predict.latency.references import telling_rows
from orchestrator.space.base import FloatArray, IntArray
from profiling.plan import MeasurementPlan

FIRST_SEED = 1000  # whatever was chosen was chosen on seeds below it
MADE_UP = 16
NOISE = 0.02  # relative sd of made-up devices' measurements
DELEGATES = ("cpu", "none")
Line = tuple[str, str, float, float, float, float]


@dataclass(frozen=True)
class Set:
    """`N` networks on many devices.

    Attributes:
        name: What it is called.
        latency_ms: Device -> (`N`,).
        guesses: What tells networks apart without measuring -> (`N`,).
        views: Device -> name of a prior -> what it knows without that device.
        order: Rows in the order in which to measure them, by a view.
    """

    name: str
    latency_ms: Mapping[str, FloatArray]
    guesses: Mapping[str, FloatArray]
    views: Callable[[str], Mapping[str, ModelView]]
    order: Callable[[ModelView], IntArray]
    known: Callable[[str], Sequence[str]]


def lines(tables: Set, devices: Sequence[str], samples: Sequence[int]) -> Iterator[tuple[str, Line]]:
    """(device, (method, measured, Spearman, Kendall, within 10 %, 90 % hold))."""
    for device in devices:
        latency_ms = tables.latency_ms[device]
        everything = np.arange(len(latency_ms))
        for name, guess in tables.guesses.items():
            yield device, (name, "", *_ranks(guess, latency_ms), np.nan, np.nan)
        for name, view in tables.views(device).items():
            order = tables.order(view)
            for count in samples:
                rows = order[:count]
                others = np.setdiff1d(everything, rows)
                said = view.predict(view.adapted(rows, latency_ms[rows]), others)
                found = assess(said, latency_ms[others])
                yield (
                    device,
                    (name, str(count), found.spearman, found.kendall, found.within_10_percent, found.coverage_90),
                )
                if name == "known" and count:
                    yield device, ("nearest known, scaled", str(count), *_nearest(tables, device, rows, others))


def _nearest(tables: Set, device: str, rows: IntArray, others: IntArray) -> tuple[float, float, float, float]:
    """The known device whose ratios to the measurements vary least, scaled by their median."""
    latency_ms = tables.latency_ms[device]
    ratios = {name: latency_ms[rows] / tables.latency_ms[name][rows] for name in tables.known(device)}
    nearest = min(ratios, key=lambda name: float(np.std(np.log(ratios[name]))))
    expected = tables.latency_ms[nearest][others] * np.median(ratios[nearest])
    near = float(np.mean(np.abs(expected / latency_ms[others] - 1) <= 0.1))
    return *_ranks(expected, latency_ms[others]), near, np.nan


def _ranks(expected: FloatArray, latency_ms: FloatArray) -> tuple[float, float]:
    return float(spearmanr(expected, latency_ms)[0]), float(kendalltau(expected, latency_ms)[0])


def files_set(name: str, models: Sequence[ModelFile], latency_ms: Mapping[str, FloatArray], seed: int) -> Set:
    """Files that were measured on some devices."""
    sha256 = [model.sha256 for model in models]

    def views(device: str) -> dict[str, ModelView]:
        made_up = fit_model_prior(models, None, synthetic=MADE_UP, seed=seed)
        others = {each: values for each, values in latency_ms.items() if each != device}
        amounts = amounts_of(models)
        sources = Sources(
            {each: (amounts, values) for each, values in others.items()},
            {each: dict(zip(sha256, values.tolist(), strict=True)) for each, values in others.items()},
            {},
        )
        known = fit_model_prior(models, sources, synthetic=MADE_UP, seed=seed)
        return {"made-up": made_up.view_of(models), "known": known.view_of(models)}

    return Set(
        name=name,
        latency_ms=latency_ms,
        guesses={
            "multiply-adds": np.array([model.multiply_adds for model in models], dtype=np.float64),
            "weights": np.array([model.weights for model in models]),
        },
        views=views,
        order=lambda view: np.array(telling_order(view, models)),
        known=lambda device: [each for each in latency_ms if each != device],
    )


def phones_set(tables: TableSet) -> Set:
    """Published phones: networks are not files, but lists of layers; all runs of a phone are held out together."""
    raw = tables.inputs.numpy()
    amounts = torch.from_numpy(np.pad(raw, ((0, 0), (0, len(MODEL_AMOUNTS) - raw.shape[1]))))
    numbers = [str(row) for row in range(len(raw))]
    whole = tables.prior()
    prices = replace(
        whole,
        prices=np.pad(whole.prices, ((0, 0), (0, len(MODEL_AMOUNTS) - raw.shape[1]))),
        amounts_of=MODEL_AMOUNTS,
    )

    def others(device: str) -> list[str]:
        return [name for name in tables.latency_ms if tables.phone_of[name] != tables.phone_of[device]]

    def views(device: str) -> dict[str, ModelView]:
        kept: LatencyPrior = prices.without(set(tables.latency_ms) - set(others(device)))
        latencies = {name: dict(zip(numbers, tables.latency_ms[name].tolist(), strict=True)) for name in others(device)}
        return {
            "prices alone": ModelPrior(kept).view(amounts, numbers),
            "known": ModelPrior(kept, latencies).view(amounts, numbers),
        }

    return Set(
        name="phones",
        latency_ms=tables.latency_ms,
        guesses={"multiply-adds": tables.work},
        views=views,
        order=lambda view: telling_rows(view.structures, view.prior, view.inputs, view.inputs, 50),
        known=others,
    )


def measured_here(models: Sequence[ModelFile], path: Path, blocks: int) -> dict[str, FloatArray]:
    """Delegate -> (`N`,) milliseconds of processor time; kept in a file, where the next call goes on."""
    known = {}
    if path.is_file():
        with path.open(newline="") as file:
            known = {(row["arch"], row["device"]): float(row["latency_ms"]) for row in csv.DictReader(file)}
    device = HostDevice()
    try:
        for number, model in enumerate(models, start=1):
            for delegate in DELEGATES:
                if (model.sha256, delegate) in known:
                    continue
                plan = MeasurementPlan(
                    delegate=delegate, clock="cpu", min_blocks=blocks, max_blocks=2 * blocks, target_half_width=0.03
                )
                known[model.sha256, delegate] = measure(device, model.artifact(), plan).latency_ms
                with path.open("w", newline="") as file:
                    rows = csv.writer(file)
                    rows.writerow(["arch", "device", "latency_ms"])
                    rows.writerows([*key, value] for key, value in known.items())
            print(f"{number} of {len(models)} measured", file=sys.stderr, flush=True)
    finally:
        device.close()
    return {f"host, {each}": np.array([known[model.sha256, each] for model in models]) for each in DELEGATES}


def made_up(models: Sequence[ModelFile], count: int, seed: int) -> dict[str, FloatArray]:
    """Made-up devices with noise, of another seed than the prior's."""
    rng = np.random.default_rng((seed, 3))
    names = (f"made-up {letter}" for letter in ascii_uppercase)  # no batch sizes of one another
    tables = made_up_tables(models, count, seed)
    return {
        name: values[: len(models)] * np.exp(rng.normal(0, NOISE, len(models)))
        for name, (_, values) in zip(names, tables.values(), strict=False)
    }


def table(name: str, found: Sequence[tuple[str, Line]]) -> str:
    """Markdown: means over devices, and the worst device."""
    by_method: dict[tuple[str, str], list[tuple[str, Line]]] = {}
    for device, line in found:
        by_method.setdefault(line[:2], []).append((device, line))
    head = ["", "measured", "Spearman", "worst device", "Kendall", "within 10 %", "90 % hold", "by device"]
    cells = [head, ["---"] * len(head)]
    for (method, measured), rows in by_method.items():
        values = np.array([line[2:] for _, line in rows])
        worst = int(values[:, 0].argmin())
        mean, held = values.mean(0), values[:, 3]
        shown = [f"{value:.3f}" if np.isfinite(value) else "–" for value in mean]
        spread = f"{held.min():.2f} to {held.max():.2f}" if np.isfinite(held).all() else "–"
        cells.append([method, measured, shown[0], f"{values[worst, 0]:.3f} ({rows[worst][0]})", *shown[1:], spread])
    count = len({device for device, _ in found})
    return f"\n### {name}, {count} devices\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in cells)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for models and what was measured")
    parser.add_argument("--data", type=Path, help="folder of the published tables; without it they are left out")
    parser.add_argument("--each", type=int, default=5, help="networks of each family")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of networks and of made-up devices")
    parser.add_argument("--blocks", type=int, default=3, help="processes that measure a network, at least")
    parser.add_argument("--made-up", type=int, default=10, metavar="N", help="made-up devices that are held out")
    parser.add_argument("--samples", type=int, nargs="+", default=[3, 5, 10, 20])
    parser.add_argument(
        "--set", nargs="+", choices=("host", "made-up", "phones"), default=["made-up", "phones", "host"]
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.out / f"models_{arguments.seed}_{arguments.each}"
    if not folder.is_dir():
        write_models(folder, arguments.each, arguments.seed)
    models, _ = read_models(folder)
    print(f"{len(models)} files, {len({model.sha256 for model in models})} different")
    for name in arguments.set:
        if name == "phones":
            if arguments.data is None:
                continue
            tables = phones(arguments.data)
            found = list(lines(phones_set(tables), tables.targets, arguments.samples))
        else:
            latency_ms = (
                measured_here(models, arguments.out / f"host_{arguments.seed}.csv", arguments.blocks)
                if name == "host"
                else made_up(models, arguments.made_up, arguments.seed)
            )
            chosen = files_set(name, models, latency_ms, seed=arguments.seed + 1)
            found = list(lines(chosen, list(latency_ms), arguments.samples))
        print(table(name, found), flush=True)


if __name__ == "__main__":
    main()
