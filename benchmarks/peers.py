"""Peers of the closed loop: random search, regularised evolution, Optuna's samplers, one look-up at a time.

Each searches the front of accuracy and latency or, where there is a budget, the highest accuracy within it.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable

import numpy as np

from orchestrator.generate.pool import draw_distinct
from orchestrator.space.base import FloatArray, IntArray, Space

Evaluate = Callable[[tuple[int, ...]], tuple[float, float]]  # slots -> accuracy in percent, latency in ms
Search = Callable[[Space, Evaluate, int, int, float | None], IntArray]  # ..., evaluations, seed, budget_ms

POPULATION = 25
TOURNAMENT = 5
INFEASIBLE = 1e6  # what any broken budget costs; less broken is better


def random_search(space: Space, evaluate: Evaluate, evaluations: int, seed: int, budget_ms: float | None) -> IntArray:
    """Uniform draws without replacement."""
    return draw_distinct(space, evaluations, np.random.default_rng(seed))


def regularized_evolution(
    space: Space, evaluate: Evaluate, evaluations: int, seed: int, budget_ms: float | None
) -> IntArray:
    """Real et al. (2019): the oldest dies; parents win tournaments, of two objectives under random weights."""
    rng = np.random.default_rng(seed)
    history: list[tuple[int, ...]] = []
    alive: deque[tuple[tuple[int, ...], FloatArray]] = deque(maxlen=POPULATION)

    def look_up(slots: tuple[int, ...]) -> None:
        accuracy, latency = evaluate(slots)
        history.append(slots)
        if budget_ms is None:
            alive.append((slots, np.array([accuracy, -math.log(latency)])))
        else:
            broken = max(math.log(latency / budget_ms), 0.0)
            alive.append((slots, np.array([accuracy if not broken else -INFEASIBLE * (1 + broken)])))

    def weights() -> FloatArray:
        if budget_ms is not None:
            return np.ones(1)
        scores = np.array([values for _, values in alive])
        share = rng.uniform()
        return np.array([share, 1 - share]) / np.maximum(scores.max(axis=0) - scores.min(axis=0), 1e-9)

    for row in space.sample(min(POPULATION, evaluations), rng):
        look_up(tuple(int(value) for value in row))
    while len(history) < evaluations:
        contenders = [alive[i] for i in rng.choice(len(alive), TOURNAMENT, replace=False)]
        scale = weights()
        parent = max(contenders, key=lambda each: float((each[1] * scale).sum()))[0]
        children = space.neighbours(space.architecture(parent))
        look_up(tuple(int(value) for value in children[rng.integers(len(children))]))
    return np.array(history, dtype=np.int64)


def optuna_search(name: str) -> Search:
    """Optuna: `tpe` (multivariate) or `nsga2`; two objectives, or one and its own handling of constraints."""

    def search(space: Space, evaluate: Evaluate, evaluations: int, seed: int, budget_ms: float | None) -> IntArray:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        history: list[tuple[int, ...]] = []

        def objective(trial: optuna.Trial) -> float | tuple[float, float]:
            slots = tuple(
                int(trial.suggest_categorical(f"slot{i}", list(range(len(names)))))
                for i, names in enumerate(space.choices)
            )
            history.append(slots)
            accuracy, latency = evaluate(slots)
            if budget_ms is None:
                return accuracy, math.log(latency)
            trial.set_user_attr("broken", math.log(latency / budget_ms))
            return accuracy

        def broken(trial: optuna.trial.FrozenTrial) -> tuple[float]:
            return (float(trial.user_attrs["broken"]),)

        constraints = None if budget_ms is None else broken
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = (
                optuna.samplers.TPESampler(seed=seed, multivariate=True, constraints_func=constraints)
                if name == "tpe"
                else optuna.samplers.NSGAIISampler(seed=seed, constraints_func=constraints)
            )
            directions = ["maximize", "minimize"] if budget_ms is None else ["maximize"]
            study = optuna.create_study(directions=directions, sampler=sampler)
        study.optimize(objective, n_trials=evaluations)
        return np.array(history, dtype=np.int64)

    return search


PEERS: dict[str, Search] = {
    "random": random_search,
    "regularized_evolution": regularized_evolution,
    "tpe": optuna_search("tpe"),
    "nsga2": optuna_search("nsga2"),
}
