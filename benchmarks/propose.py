"""Seconds to propose a batch, fits included: DeviceNAG's proposer beside its peers, in one run, as ratios.

The task is NAS-Bench-201 with two objectives. DeviceNAG refits both surrogates, has its generator make a pool under the
guidance of the acquisition function, and selects the batch. The peers are Optuna's TPE and, for few observations only,
a BoTorch mixed Gaussian process under qLogNEHVI with local search over the choices, as its documentation would have it.

    python benchmarks/propose.py [--observations 50 200 500] [--generator random] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import optuna
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import MixedSingleTaskGP, ModelListGP
from botorch.models.transforms.outcome import Standardize
from botorch.optim import optimize_acqf_discrete_local_search
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.mlls import SumMarginalLogLikelihood
from linear_operator.utils.warnings import NumericalWarning

from orchestrator.generate.pool import draw_distinct
from orchestrator.generate.registry import generator_kinds, make_generator
from orchestrator.optimize.goal import Goal
from orchestrator.optimize.observation import Observation, Observed
from orchestrator.optimize.proposer import Proposer
from orchestrator.space.base import FloatArray, IntArray
from orchestrator.space.nasbench201 import NASBench201

SPACE = NASBench201()
COST = "latency_ms[synthetic]"
MIXED_UP_TO = 60  # observations beyond which the mixed process takes minutes
REPEATS = 3

Method = Callable[[IntArray, FloatArray, FloatArray, int], Callable[[], object]]  # what is known -> what is timed


def synthetic(count: int, seed: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """(`N`, 6) architectures with accuracies in percent and latencies in milliseconds that are smooth in them."""
    rng = np.random.default_rng(seed)
    slots = draw_distinct(SPACE, count, rng)
    gain = np.array([-4.0, 0.0, 2.0, 4.0, -1.0])[slots] * np.array([3, 1, 2, 1, 2, 3])
    price = np.array([0.1, 0.1, 0.8, 3.0, 0.5])[slots]
    accuracy = 60 + gain.sum(axis=1) + rng.normal(0, 1, count)
    return slots, accuracy, (1 + price.sum(axis=1)) * np.exp(rng.normal(0, 0.02, count))


def devicenag(generator: str, pool: int) -> Method:
    """DeviceNAG's proposer with a generator."""
    proposer = Proposer(SPACE, Goal("accuracy", (COST,)), make_generator({"kind": generator}, SPACE), pool=pool)

    def method(slots: IntArray, accuracy: FloatArray, latency: FloatArray, count: int) -> Callable[[], object]:
        rows = [tuple(row) for row in slots.tolist()]
        observations = [
            Observation(row, {"accuracy": Observed(float(a), 1.0), COST: Observed(float(t), 4e-4)})
            for row, a, t in zip(rows, accuracy, latency, strict=True)
        ]
        known = set(rows)
        return lambda: proposer.propose(observations, count, round_index=1, is_known=known.__contains__)

    return method


def tpe(slots: IntArray, accuracy: FloatArray, latency: FloatArray, count: int) -> Callable[[], object]:
    """Optuna's multivariate TPE, asked `count` times."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=0, multivariate=True)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    choices = {f"slot{i}": optuna.distributions.CategoricalDistribution(range(5)) for i in range(slots.shape[1])}
    for row, *values in zip(slots.tolist(), accuracy, np.log(latency), strict=True):
        named = dict(zip(choices, row, strict=True))
        study.add_trial(optuna.trial.create_trial(params=named, distributions=choices, values=values))
    return lambda: [study.ask(choices) for _ in range(count)]


def mixed(slots: IntArray, accuracy: FloatArray, latency: FloatArray, count: int) -> Callable[[], object]:
    """BoTorch's mixed process, qLogNEHVI, local search over the choices."""
    x = torch.as_tensor(slots, dtype=torch.float64)
    y = torch.as_tensor(np.stack([accuracy, -np.log(latency)], axis=1))
    categories = list(range(slots.shape[1]))

    def propose() -> object:
        torch.manual_seed(0)
        model = ModelListGP(
            *(MixedSingleTaskGP(x, y[:, [i]], cat_dims=categories, outcome_transform=Standardize(1)) for i in range(2))
        )
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model,
            ref_point=y.quantile(0.25, dim=0),
            X_baseline=x,
            prune_baseline=True,
            sampler=SobolQMCNormalSampler(torch.Size([64]), seed=0),
        )
        choices = [torch.arange(5, dtype=torch.float64)] * slots.shape[1]
        return optimize_acqf_discrete_local_search(
            acquisition, choices, q=count, num_restarts=4, raw_samples=256, X_avoid=x
        )

    return propose


def seconds(method: Method, count: int, batch: int, repeats: int) -> float:
    """Least of some repeats, which differ in their observations; the least suffers least from other work."""
    times = []
    for seed in range(repeats):
        task = synthetic(count, seed)
        timed = method(*task, batch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BotorchWarning)
            warnings.simplefilter("ignore", NumericalWarning)
            began = time.perf_counter()
            timed()
            times.append(time.perf_counter() - began)
    return min(times)


def measure(counts: Sequence[int], batch: int, generator: str, pool: int) -> list[dict[str, float | int | None]]:
    """One row for each number of observations."""
    ours = devicenag(generator, pool)
    seconds(ours, 20, 1, 1)  # imports and one-time set-up
    rows: list[dict[str, float | int | None]] = []
    for count in counts:
        own = seconds(ours, count, batch, REPEATS)
        peer = seconds(tpe, count, batch, REPEATS)
        textbook = seconds(mixed, count, batch, 1) if count <= MIXED_UP_TO else None
        rows.append(
            {
                "observations": count,
                "seconds": own,
                "tpe_seconds": peer,
                "botorch_mixed_seconds": textbook,
                "over_tpe": own / peer,
                "over_botorch_mixed": None if textbook is None else own / textbook,
                "of_limit_2_s": own / 2.0,
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, nargs="+", default=[50, 200, 500])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pool", type=int, default=256)
    parser.add_argument("--generator", default="random", choices=generator_kinds())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = measure(arguments.observations, arguments.batch, arguments.generator, arguments.pool)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"proposing {arguments.batch}, generator {arguments.generator}, {arguments.threads} threads")
    print("observations   seconds   of 2 s    / TPE   / BoTorch mixed + qLogNEHVI")
    for row in rows:
        mixed_ratio = row["over_botorch_mixed"]
        print(
            f"{row['observations']:12} {row['seconds']:9.2f} {row['of_limit_2_s']:8.2f} {row['over_tpe']:8.1f}   "
            + ("-" if mixed_ratio is None else f"{mixed_ratio:.3f}")
        )


if __name__ == "__main__":
    main()
