"""Peers of the closed loop: random search, regularised evolution, Optuna's samplers, one look-up at a time."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable

import numpy as np

from orchestrator.generate.pool import draw_distinct
from orchestrator.space.base import IntArray, Space

Evaluate = Callable[[tuple[int, ...]], tuple[float, float]]  # slots -> accuracy in percent, latency in ms

POPULATION = 25
TOURNAMENT = 5


def random_search(space: Space, evaluate: Evaluate, evaluations: int, seed: int) -> IntArray:
    """Uniform draws without replacement."""
    return draw_distinct(space, evaluations, np.random.default_rng(seed))


def regularized_evolution(space: Space, evaluate: Evaluate, evaluations: int, seed: int) -> IntArray:
    """Real et al. (2019): the oldest dies; parents win tournaments under random weights of the two objectives."""
    rng = np.random.default_rng(seed)
    history: list[tuple[int, ...]] = []
    alive: deque[tuple[tuple[int, ...], np.ndarray]] = deque(maxlen=POPULATION)

    def look_up(slots: tuple[int, ...]) -> None:
        accuracy, latency = evaluate(slots)
        history.append(slots)
        alive.append((slots, np.array([accuracy, -np.log(latency)])))

    for row in space.sample(min(POPULATION, evaluations), rng):
        look_up(tuple(int(value) for value in row))
    while len(history) < evaluations:
        contenders = [alive[i] for i in rng.choice(len(alive), TOURNAMENT, replace=False)]
        scores = np.array([values for _, values in alive])
        low, high = scores.min(axis=0), scores.max(axis=0)
        weight = rng.uniform()
        scale = np.array([weight, 1 - weight]) / np.maximum(high - low, 1e-9)
        parent = max(contenders, key=lambda each: float(((each[1] - low) * scale).sum()))[0]
        children = space.neighbours(space.architecture(parent))
        look_up(tuple(int(value) for value in children[rng.integers(len(children))]))
    return np.array(history, dtype=np.int64)


def optuna_search(sampler: str) -> Callable[[Space, Evaluate, int, int], IntArray]:
    """Optuna with two objectives: `tpe` (multivariate) or `nsga2`."""

    def search(space: Space, evaluate: Evaluate, evaluations: int, seed: int) -> IntArray:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        history: list[tuple[int, ...]] = []

        def objective(trial: optuna.Trial) -> tuple[float, float]:
            slots = tuple(
                int(trial.suggest_categorical(f"slot{i}", list(range(len(names)))))
                for i, names in enumerate(space.choices)
            )
            history.append(slots)
            accuracy, latency = evaluate(slots)
            return accuracy, float(np.log(latency))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            samplers = {
                "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True),
                "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed),
            }
            study = optuna.create_study(directions=["maximize", "minimize"], sampler=samplers[sampler]())
        study.optimize(objective, n_trials=evaluations)
        return np.array(history, dtype=np.int64)

    return search


PEERS: dict[str, Callable[[Space, Evaluate, int, int], IntArray]] = {
    "random": random_search,
    "regularized_evolution": regularized_evolution,
    "tpe": optuna_search("tpe"),
    "nsga2": optuna_search("nsga2"),
}
