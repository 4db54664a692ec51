"""Can a red night be believed? Alarms of A/A nights, and planted slow-downs found.

    python benchmarks/nightly.py --nights 6                 real nights (nag nightly's own path) on virtual phones
    python benchmarks/nightly.py --simulated 200            many nights, the same statistics on drawn sessions

Virtual phones compute nothing here: each block reports 10 ms, times the noise of the phone's kind (1, 1.5 or 3 % a
block), times what its night has (drawn anew for every night: of the phone as a whole, and of each model), times the
planted slow-down. Every second night has one: 5 % on another model of each phone. The simulation draws what blocks
report in the same way, disturbs 2 % of them (by 10 % on average, always upwards), and makes two more things vary that
a few real nights cannot: how much a phone's nights differ, and the number of models.

Shares are printed with their 95 % interval (Clopper and Pearson, 1934).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import beta

from device_agent.virtual import PROFILES, VirtualLab
from orchestrator.collect.config import CollectConfig
from orchestrator.collect.events import Listener
from orchestrator.nightly.config import NightlyConfig, PassesConfig
from orchestrator.nightly.models import is_reference
from orchestrator.nightly.night import Night, read_night
from orchestrator.nightly.result import NightResult
from orchestrator.nightly.run import run_night
from orchestrator.space.base import NetworkOptions
from orchestrator.space.registry import make_space
from profiling.compare import Effect, Policy, compare_sessions, confirmed, is_suspect
from profiling.spread import Session
from profiling.tflite import emit
from profiling.weights import random_weights

SLOWER = 1.05
PHONE_NIGHT_SD, MODEL_NIGHT_SD = 0.005, 0.003
KINDS = ("virtual8", "virtual6", "virtual3")
SHIFT = "all models"


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, exact."""
        low = beta.ppf(0.025, self.count, self.of - self.count + 1) if self.count else 0.0
        high = beta.ppf(0.975, self.count + 1, self.of - self.count) if self.count < self.of else 1.0
        return float(low), float(high)

    def __str__(self) -> str:
        if not self.of:
            return "none"
        low, high = self.interval
        return f"{self.count}/{self.of} = {self.count / self.of:.2%} [{low:.2%}, {high:.2%}]"

    def to_json(self) -> dict[str, float | int | tuple[float, float]]:
        """Plain values."""
        return {"count": self.count, "of": self.of, "interval_95": self.interval if self.of else (0.0, 1.0)}


# Real nights ----------------------------------------------------------------------------------------------------------


def real_nights(count: int, models: int, seed: int, blocks: tuple[int, int]) -> dict[str, Share]:
    """A baseline and so many nights on three virtual phones."""
    rng = np.random.default_rng(seed)
    kinds = [PROFILES[name] for name in KINDS]
    cool = [dataclasses.replace(kind.thermal, busy_c=kind.thermal.ambient_c) for kind in kinds]  # nights last minutes
    quick = [
        dataclasses.replace(kind.with_fixed_runs(0.0, 10.0, kind.noise), noise=0.0, thermal=thermal)
        for kind, thermal in zip(kinds, cool, strict=True)
    ]
    alarms = compared = found = planted = 0
    with tempfile.TemporaryDirectory() as text, VirtualLab(len(quick), quick, seed=seed) as lab:
        folder = Path(text)
        _write_models(folder / "models", models)
        config = NightlyConfig.model_validate(
            {
                "name": "nights",
                "models": {"kind": "folder", "path": folder / "models"},
                "devices": [{"kind": "adb", "port": lab.port}],
                "measure": {"blocks": blocks, "min_runs": 5, "block_seconds": 0.01, "warmup_seconds": 0},
            }
        )
        _say("baseline")
        _mood(lab, {}, {}, rng)
        run_night(config, folder / "baseline", [], _silent, _ignore)
        night = read_night(folder / "baseline")
        hashes = _hashes(folder / "baseline" / "models", night)
        for number in range(count):
            names = [name for name in hashes if not is_reference(name)]
            plant = {phone.name: str(rng.choice(names)) for phone in lab.phones} if number % 2 else {}
            _mood(lab, hashes, plant, rng)
            result = run_night(config, folder / f"night{number}", [folder / "baseline"], _silent, _ignore)
            wrong, total, right = _count(result, lab, plant)
            alarms, compared, found = alarms + wrong, compared + total, found + right
            planted += len(plant)
            _say(f"night {number + 1} of {count}: {wrong} false alarms of {total}, {right} of {len(plant)} found")
    return {"false alarms": Share(alarms, compared), f"{SLOWER - 1:.0%} slow-downs found": Share(found, planted)}


def _count(result: NightResult, lab: VirtualLab, plant: Mapping[str, str]) -> tuple[int, int, int]:
    """False alarms, comparisons that could be some, and planted slow-downs that were found."""
    wrong = total = right = 0
    models = {phone.profile.model: plant.get(phone.name, "") for phone in lab.phones}
    for phone in result.phones:
        total += 1
        wrong += phone.status == "slower"
        for model in phone.models:
            if model.model == models[phone.device.model]:
                right += model.status == "slower"
            else:
                total += 1
                wrong += model.status == "slower"
    return wrong, total, right


def _mood(lab: VirtualLab, hashes: Mapping[str, str], plant: Mapping[str, str], rng: np.random.Generator) -> None:
    """A new night for every phone and model, and what is planted."""
    for phone in lab.phones:
        whole = rng.normal(0, PHONE_NIGHT_SD)
        phone.slow_models = {
            sha256: math.exp(whole + rng.normal(0, MODEL_NIGHT_SD)) * (SLOWER if plant.get(phone.name) == name else 1.0)
            for name, sha256 in hashes.items()
        }


def _hashes(folder: Path, night: Night) -> dict[str, str]:
    return {name: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file, name in night.models.items()}


def _write_models(folder: Path, count: int) -> None:
    folder.mkdir()
    space, options = make_space("nasbench201"), NetworkOptions((1, 8, 8, 1), 10, {"channels": 4, "cells": 1})
    for index, slots in enumerate(space.sample(count, np.random.default_rng(0))):
        network = space.network(space.architecture(slots), options)
        weights = random_weights(network)
        (folder / f"net{index}.tflite").write_bytes(emit(network, weights) + b"\0" * 16 * index)  # all different


@contextmanager
def _silent(title: str, config: CollectConfig, folder: Path) -> Iterator[Listener]:
    yield lambda event: None


def _ignore(event: object) -> None:
    pass


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


# Simulated nights -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """What a phone is like.

    Attributes:
        what: In words.
        models: With references.
        block_sd, phone_sd, model_sd: Spread between blocks, and between nights: of all models, and of one.
        disturbed: Share of blocks that are disturbed.
    """

    what: str
    models: int = 13
    block_sd: float = 0.015
    phone_sd: float = PHONE_NIGHT_SD
    model_sd: float = MODEL_NIGHT_SD
    disturbed: float = 0.02


SCENES = (
    Scene("blocks spread by 1 %", block_sd=0.01),
    Scene("blocks spread by 1.5 %"),
    Scene("blocks spread by 3 %", block_sd=0.03),
    Scene("nights differ more: 1.5 % the phone, 0.5 % a model", phone_sd=0.015, model_sd=0.005),
    Scene("43 models", models=43),
    Scene("1 model and 3 references", models=4),
)


def simulate(scene: Scene, nights: int, seed: int) -> dict[str, Share]:
    """So many independent baselines with an A/A night, one with a slow model, and one with a slow phone each."""
    rng = np.random.default_rng(seed)
    policy, passes = Policy(), PassesConfig()
    # What the stop rule of the default configuration (2 %, 3 to 10 blocks) comes to.
    blocks = int(np.clip(round((2 * scene.block_sd / 0.02) ** 2) + 2, 3, 10))
    alarms = compared = others = found = phones = 0
    retried = 0
    for _ in range(nights):
        base = _sessions(rng, scene, passes.baseline, blocks, {})
        quiet = _night(rng, scene, base, blocks, {}, policy, passes)
        alarms, compared, retried = alarms + len(quiet[0]), compared + scene.models + 1, retried + quiet[1]
        one, _ = _night(rng, scene, base, blocks, {"m0": SLOWER}, policy, passes)
        found, others, compared = found + ("m0" in one), others + len(one - {"m0"}), compared + scene.models
        every = dict.fromkeys(_names(scene), SLOWER)
        phones += bool(_night(rng, scene, base, blocks, every, policy, passes)[0])
    return {
        "false alarms": Share(alarms + others, compared),
        "slow model found": Share(found, nights),
        "slow phone found": Share(phones, nights),
        "nights with suspects": Share(retried, nights),
    }


def _night(
    rng: np.random.Generator,
    scene: Scene,
    base: Sequence[Session],
    blocks: int,
    change: Mapping[str, float],
    policy: Policy,
    passes: PassesConfig,
) -> tuple[set[str], bool]:
    """Alarms of one night, and whether anything was measured again."""
    sessions = _sessions(rng, scene, passes.night + passes.again, blocks, change)
    now, spare = sessions[: passes.night], sessions[passes.night :]
    first = compare_sessions([base], now, policy)
    names = {model for model, effect in first.own.items() if is_suspect(effect, policy)}
    slow_phone = is_suspect(first.shift, policy)
    if not names and not slow_phone:
        return set(), False
    controls = [name for name in _names(scene) if name not in names][: passes.controls + 3]
    wanted = set(_names(scene)) if slow_phone else names | set(controls)
    again = [Session({model: logs for model, logs in each.logs.items() if model in wanted}) for each in spare]
    whole, fresh = compare_sessions([base], [*now, *again], policy), compare_sessions([base], again, policy)
    judged = confirmed(_all(whole.shift, whole.own), _all(fresh.shift, fresh.own), policy)
    return {name for name, verdict in judged.items() if verdict == "slower"}, True


def _all(shift: Effect, own: Mapping[str, Effect]) -> dict[str, Effect]:
    return {SHIFT: shift, **own}


def _names(scene: Scene) -> list[str]:
    return [f"m{index}" for index in range(scene.models)]


def _sessions(
    rng: np.random.Generator, scene: Scene, count: int, blocks: int, change: Mapping[str, float]
) -> list[Session]:
    """The passes of one night: half of the variance between nights is between its passes, too."""
    names, half = _names(scene), math.sqrt(0.5)
    phone, own = rng.normal(0, half * scene.phone_sd), rng.normal(0, half * scene.model_sd, len(names))
    made = []
    for _ in range(count):
        common = phone + rng.normal(0, half * scene.phone_sd)
        logs = {}
        for name, mine in zip(names, own, strict=True):
            level = common + mine + rng.normal(0, half * scene.model_sd) + math.log(change.get(name, 1.0))
            spikes = (rng.random(blocks) < scene.disturbed) * rng.exponential(0.1, blocks)
            logs[name] = level + rng.normal(0, scene.block_sd, blocks) + spikes
        made.append(Session(logs))
    return made


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=0, help="real nights on virtual phones")
    parser.add_argument("--models", type=int, default=6, help="of the real nights, beside three references")
    parser.add_argument("--blocks", type=int, nargs=2, default=(3, 10), help="least and most, of the real nights")
    parser.add_argument("--simulated", type=int, default=0, help="simulated baselines, with three nights each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    results: dict[str, dict[str, Share]] = {}
    if asked.nights:
        least, most = asked.blocks
        results["real nights, 3 virtual phones"] = real_nights(asked.nights, asked.models, asked.seed, (least, most))
    if asked.simulated:
        for scene in SCENES:
            results[scene.what] = simulate(scene, asked.simulated, asked.seed)
            if not asked.json:
                _show(scene.what, results[scene.what])
    if asked.json:
        print(
            json.dumps(
                {what: {name: share.to_json() for name, share in values.items()} for what, values in results.items()},
                indent=2,
            )
        )
    elif asked.nights:
        _show("real nights, 3 virtual phones", results["real nights, 3 virtual phones"])


def _show(what: str, values: Mapping[str, Share]) -> None:
    print(what)
    for name, value in values.items():
        print(f"  {name}: {value}")
    print(flush=True)


if __name__ == "__main__":
    main()
