"""Tensor files: named tensors as safetensors, with a JSON header that says what they are.

The header's `devicenag` entry is JSON. Files are written beside their place and moved there, so that a reader never
sees half of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.space.base import Space

_ENTRY = "devicenag"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header as one safetensors file, in one move. Raises CheckpointError."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(contiguous, {_ENTRY: json.dumps(header, sort_keys=True)})
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # where the folder cannot be used, neither can this
            part.unlink()
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}", "check the disk and the path"
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON header of a safetensors file. Raises CheckpointError when missing or corrupt."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}", "check the path")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_ENTRY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is corrupt or no checkpoint: {error}", "fetch or train it again") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is corrupt: its header is no JSON object", "fetch or train it again")
    return tensors, header


def read_model(
    path: Path, space: Space, *, format: str, noun: str, retrain: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and header of a model of a space.

    Args:
        path: The file.
        space: What the model must have been trained for.
        format: What the header's `format` must say.
        noun: What such a model is called.
        retrain: What to do where it is another.

    Raises:
        CheckpointError: Missing, corrupt, no such model, or of another space.
    """
    weights, header = read_tensors(path)
    if header.get("format") != format:
        raise CheckpointError(f"{path} is not a {noun} (format {header.get('format')!r})", retrain)
    if header.get("space") != space.name:
        raise CheckpointError(f"{path} was trained for {header.get('space')!r}, not for {space.name!r}", retrain)
    if header.get("choices") != [list(choices) for choices in space.choices]:
        raise CheckpointError(f"{path} was trained when {space.name} had other choices", retrain)
    return weights, header


def shipped(name: str, *, missing: str, train: str) -> Path:
    """A checkpoint that ships with the package.

    Args:
        name: Without its suffix.
        missing: What to say where there is none.
        train: What to do then.

    Raises:
        CheckpointError: There is none.
    """
    path = Path(str(resources.files("orchestrator.generate.checkpoints"))) / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(missing, train)
    return path
