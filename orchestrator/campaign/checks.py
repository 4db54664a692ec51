"""Checks of a whole configuration: what no single field can tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.campaign.device_config import LutDeviceConfig
from orchestrator.campaign.lut import lut_problems
from orchestrator.config_file import missing_paths
from orchestrator.errors import CheckpointError, ConfigError, NagError, Problem
from orchestrator.optimize.goal import ACCURACY
from orchestrator.space.base import Space
from profiling.precision import can_convert

if TYPE_CHECKING:
    from orchestrator.campaign.config import Config


def cross_check(config: Config) -> list[Problem]:
    """Everything that is wrong about a configuration whose fields are right by themselves."""
    problems: list[Problem] = []
    names = config.device_names
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem("devices", name, "a name that no other device has (set `name:`)"))
    try:
        space = config.make_space()
    except ConfigError as error:
        problems.extend(error.problems)
    else:
        unusable = _space_problems(config, space)
        problems += unusable or [
            *_lut_problems(config, space),
            *_prior_problems(config, space),
            *_accuracy_prior_problems(config, space),
        ]
    if not can_convert(config.measure.precision):
        allowed = "float32, or install what converts: pip install 'devicenag[quantize]'"
        problems.append(Problem("measure.precision", config.measure.precision, allowed))
    known = [ACCURACY, *config.latency_metrics()]
    open_ended = not all(device.names for device in config.devices)  # every attached phone: known when it starts
    try:
        goal = config.parsed_goal()
    except ConfigError as error:
        problems.extend(error.problems)
    else:
        for metric in goal.metrics:
            if metric not in known and not open_ended:
                problems.append(Problem("goal", metric, f"one of {', '.join(known)}"))
    for index, tracker in enumerate(config.tracking):
        if not tracker.is_there:
            allowed = f"nothing, or install what it needs: pip install 'devicenag[{tracker.kind}]'"
            problems.append(Problem(f"tracking[{index}]", tracker.kind, allowed))
    problems += missing_paths(config)
    if config.budget.initial > config.budget.candidates:
        problems.append(
            Problem("budget.initial", config.budget.initial, f"at most budget.candidates ({config.budget.candidates})")
        )
    return problems


def require_same_campaign(stored: Config, asked: Config, folder: Path) -> None:
    """A run folder is continued only by the campaign that began it; its budget and its trackers may change.

    Raises:
        NagError: Something else changed.
    """
    before, now = stored.model_dump(mode="json"), asked.model_dump(mode="json")
    changed = [key for key in before if key not in ("budget", "tracking") and before[key] != now[key]]
    if stored.budget.initial != asked.budget.initial:
        changed.append("budget.initial")
    if changed:
        raise NagError(
            f"{folder} holds a campaign with another configuration: {', '.join(changed)} changed",
            "use another folder (--out), or undo the change; only budget and tracking of a run may be changed",
        )


def _space_problems(config: Config, space: Space) -> list[Problem]:
    """What is wrong with the networks, the generator, and an objective that knows one space only."""
    problems: list[Problem] = []
    second = [min(1, len(choices) - 1) for choices in space.choices]  # of NAS-Bench-201 the first computes a constant
    try:
        space.network(space.architecture(second), config.space.network_options())
    except ConfigError as error:
        problems.extend(error.problems)
    except ValueError as error:
        problems.append(Problem("space.input", list(config.space.input), str(error)))
    problems += [] if problems else config.accuracy.problems(space, config.space.network_options())
    try:
        config.generator.make(space)
    except ConfigError as error:
        problems.extend(error.problems)
    return problems


def _prior_problems(config: Config, space: Space) -> list[Problem]:
    """What is wrong with a latency prior that is there."""
    path = config.latency_prior
    if not isinstance(path, Path) or not path.exists():
        return []
    from orchestrator.predict.latency.checkpoint import load_prior  # imports torch: only where there is one to check

    try:
        load_prior(path, space)
    except CheckpointError as error:
        return [Problem("latency_prior", str(path), f"{error.message}; {error.hint}")]
    return []


def _accuracy_prior_problems(config: Config, space: Space) -> list[Problem]:
    """Why a prior of accuracy cannot serve this campaign; missing files are told beside all other paths."""
    prior = config.accuracy_prior
    if prior is None:
        return []
    kind = config.accuracy.kind
    if kind == "proxy":
        return [Problem("accuracy_prior", kind, "an accuracy in percent: a proxy's score has a scale of its own")]
    if kind != "training" and prior.dataset is None:
        allowed = f"{{checkpoint: FILE, dataset: IMAGES}}: a prior looks at images, and accuracy.kind {kind} names none"
        return [Problem("accuracy_prior.dataset", "nothing", allowed)]
    if not prior.checkpoint.exists():
        return []
    from orchestrator.predict.transfer.predictor import TransferPredictor  # imports torch: only where there is one

    try:
        TransferPredictor.load(prior.checkpoint, space)
    except CheckpointError as error:
        return [Problem("accuracy_prior", str(prior.checkpoint), f"{error.message}; {error.hint}")]
    return []


def _lut_problems(config: Config, space: Space) -> list[Problem]:
    """What is wrong with block tables that are there; the space's networks are right."""
    return [
        problem
        for index, device in enumerate(config.devices)
        if isinstance(device, LutDeviceConfig) and device.path.exists()
        for problem in lut_problems(f"devices[{index}]", device, space, config.space.network_options())
    ]
