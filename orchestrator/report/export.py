"""Export: the winners of a run as `.tflite`, weights, manifests and the Pareto table; all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from orchestrator.campaign.state import Candidate
from orchestrator.errors import DataError, ExportError, RunFolderError
from orchestrator.report.manifest import KIND, FileEntry, Manifest, Winner, goal_json, make_winner, pareto_rows
from orchestrator.report.precision import agreement, converted, images_of
from orchestrator.report.run import Run, read_run
from profiling.tflite import emit
from profiling.weights import load_weights, random_weights

MANIFEST = "manifest.json"


def export_run(run_folder: Path, out: Path, *, candidates: Sequence[int] | None = None) -> Manifest:
    """Write the winners of a run: the Pareto front, or the best under the constraints.

    Args:
        run_folder: The run; a campaign may be working in it.
        out: Where to; a new or empty folder, or one that holds an earlier export, which is replaced.
        candidates: Export these instead of the winners.

    Returns:
        What was written; it lies in `out` as `manifest.json`.

    Raises:
        ExportError: Nothing is feasible, a candidate is unknown, or an artifact does not work; nothing is written.
        DataError: `out` holds something else, or cannot be written.
        RunFolderError: The run or its weights cannot be read.
    """
    run = read_run(run_folder)
    chosen = _winners(run) if candidates is None else _asked(run, candidates)
    out = out.resolve()
    earlier = _earlier_files(out)
    try:
        with _staging(out) as staging:
            manifest = _write(run, chosen, staging)
            _install(staging, out, earlier)
    except OSError as error:
        raise DataError(f"{out}: {error.strerror or error}", "choose a folder that can be written (--out)") from error
    return manifest


def _winners(run: Run) -> tuple[Candidate, ...]:
    if run.state.front:
        return run.state.front
    measured, counts = len(run.state.measured), run.state.counts
    if measured:
        raise ExportError(
            f"{run.folder}: none of the {measured} measured candidates meets the goal's constraints",
            "loosen the constraint, go on with a larger budget, or name candidates with --candidate",
        )
    raise ExportError(
        f"{run.folder}: no candidate is complete yet ({counts['running']} running, {counts['failed']} failed)",
        "look at the failures with: nag report RUN; or let the campaign go on with: nag run CONFIG",
    )


def _asked(run: Run, candidates: Sequence[int]) -> tuple[Candidate, ...]:
    if unknown := [number for number in candidates if number not in run.candidates]:
        known = f"0..{len(run.candidates) - 1}" if run.candidates else "none"
        raise ExportError(
            f"{run.folder} has no candidate {', '.join(map(str, unknown))}", f"candidates of this run: {known}"
        )
    return tuple(run.candidates[number] for number in dict.fromkeys(candidates))


def _write(run: Run, chosen: Sequence[Candidate], folder: Path) -> Manifest:
    names = {candidate.row.id: f"{run.state.config.name}-{candidate.row.id:04d}" for candidate in chosen}
    winners = tuple(_write_winner(run, candidate, names[candidate.row.id], folder) for candidate in chosen)
    table = pd.DataFrame(pareto_rows(run, names))
    table.to_csv(folder / "pareto.csv", index=False)
    table.to_parquet(folder / "pareto.parquet", index=False)
    config = run.state.config
    manifest = Manifest(
        campaign=config.name,
        seed=config.seed,
        goal=goal_json(run.state.goal),
        environment=dict(run.environment),
        winners=winners,
        files=tuple(_entry(path) for path in sorted(folder.iterdir())),
    )
    _write_json(folder / MANIFEST, manifest.to_json())
    return manifest


def _write_winner(run: Run, candidate: Candidate, name: str, folder: Path) -> Winner:
    config = run.state.config
    space = config.make_space()
    network = space.network(space.architecture(candidate.row.slots), config.space.network_options())
    kept = _copy_weights(run, candidate, folder / f"{name}.safetensors")
    try:
        data = emit(network, load_weights(kept) if kept else random_weights(network))
    except ValueError as error:
        raise RunFolderError(
            f"the trained weights of candidate {candidate.row.id} are not those of its network: {error}",
            "the run folder was changed: restore it, or export others with --candidate",
        ) from error
    exact, images = data, images_of(config, network)
    data = converted(exact, config.measure.precision, images, name)
    check_artifact(data, name)
    artifact = folder / f"{name}.tflite"
    artifact.write_bytes(data)
    alike = agreement(exact, data, images.compared)
    winner = make_winner(run, candidate, name, network, _entry(artifact), _entry(kept) if kept else None, alike)
    _write_json(folder / f"{name}.json", winner.to_json())
    return winner


def _copy_weights(run: Run, candidate: Candidate, target: Path) -> Path | None:
    """The weights that the accuracy objective kept; None where it keeps none."""
    if candidate.accuracy is None or candidate.accuracy.weights is None:
        return None
    source = run.folder / candidate.accuracy.weights
    if not source.is_file():
        raise RunFolderError(
            f"the trained weights of candidate {candidate.row.id} are missing: {source}",
            "the run folder is incomplete: restore it, or export others with --candidate",
        )
    shutil.copyfile(source, target)
    return target


def check_artifact(data: bytes, name: str) -> None:
    """Run an artifact once on this machine.

    Raises:
        ExportError: It does not load, does not run, or answers something that is no number.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
        for tensor in interpreter.get_input_details():
            values = np.random.default_rng(0).uniform(-1, 1, tensor["shape"])
            interpreter.set_tensor(tensor["index"], values.astype(tensor["dtype"]))
        interpreter.invoke()
        outputs = [interpreter.get_tensor(tensor["index"]) for tensor in interpreter.get_output_details()]
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"{name}.tflite does not run on this machine: {error}", "nothing was exported") from error
    if not all(np.isfinite(output).all() for output in outputs):
        raise ExportError(
            f"{name}.tflite answers values that are not finite", "its training diverged; export others with --candidate"
        )


def _earlier_files(out: Path) -> frozenset[str]:
    """Names of the files of the export that `out` holds; empty for a new or empty folder."""
    if not out.exists():
        return frozenset()
    if not out.is_dir():
        raise DataError(f"{out} is a file", "choose a folder (--out)")
    if not any(out.iterdir()):
        return frozenset()
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        if manifest["kind"] != KIND:
            raise KeyError(KIND)
        names = frozenset(str(entry["file"]) for entry in manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{out} is not empty and holds no earlier export", "choose a new or empty folder (--out)"
        ) from error
    return frozenset(name for name in names if Path(name).name == name)


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A folder beside `out` that is gone afterwards, unless it became `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".{out.name}.{os.getpid()}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _install(staging: Path, out: Path, earlier: frozenset[str]) -> None:
    """Put the finished files in place: at once for a new folder, else one by one with the manifest last."""
    if not earlier:
        os.replace(staging, out)  # an empty folder may be replaced
        return
    names = sorted(path.name for path in staging.iterdir())
    for name in sorted(names, key=lambda name: name == MANIFEST):
        os.replace(staging / name, out / name)
    for name in earlier.difference(names):
        (out / name).unlink(missing_ok=True)


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(path.name, hashlib.sha256(data).hexdigest(), len(data))


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
