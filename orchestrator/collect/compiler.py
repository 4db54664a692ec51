"""Compiler: a model in a precision -> its artifact, at the moment it is needed and not kept for longer."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from device_agent.device import Artifact
from orchestrator.collect.config import CollectConfig, FolderModels
from orchestrator.collect.records import ORIGINAL, CollectArtifact, CollectModel
from orchestrator.collect.store import CollectStore
from orchestrator.space.base import NetworkOptions, Space
from profiling.network import Network
from profiling.precision import Precision, PrecisionError, convert, noise, outputs
from profiling.records import Failure
from profiling.tflite import emit
from profiling.weights import random_weights

_COMPARED = 2  # inputs on which outputs are compared
_UNSEEN = 1  # seed of inputs that int8 was not calibrated with


class Compiler:
    """Makes artifacts, and writes down what they are."""

    def __init__(
        self,
        config: CollectConfig,
        store: CollectStore,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Args:
        config: Says where models come from.
        store: Gets a row for every artifact.
        alone: Entered while compiling; keeps it apart from latency blocks on this machine.
        """
        self._store = store
        self._alone = alone
        self._spaces: dict[int, tuple[Space, NetworkOptions]] = {}
        self._folders: dict[int, Path] = {}
        for index, source in enumerate(config.models):
            if isinstance(source, FolderModels):
                self._folders[index] = source.path
            else:
                self._spaces[index] = source.space.make(), source.space.network_options()
        self._kept: OrderedDict[tuple[int, str], Artifact | Failure] = OrderedDict()
        # All settings of a model follow one another on a device: one model for each is enough.
        self._most = len(config.device_names) * len(config.settings.precision)

    def artifact(self, model: CollectModel, precision: str) -> Artifact | Failure:
        """What devices run, or why it cannot be had: that is the model's failure on every device."""
        key = model.id, precision
        if key not in self._kept:
            with self._alone():
                self._kept[key] = self._made(model, precision)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _made(self, model: CollectModel, precision: str) -> Artifact | Failure:
        network: Network | None = None
        original = self._file(model) if model.source in self._folders else None
        if isinstance(original, Failure):
            return original
        if original is None:
            space, options = self._spaces[model.source]
            network = space.network(space.parse(model.architecture or ""), options)
            # Fixed weights: equal networks are equal bytes, whoever compiles them.
            original = emit(network, random_weights(network))
        try:
            data, error = _converted(original, precision)
        except PrecisionError as refused:
            return Failure("model", "not_convertible", f"{refused.message}; {refused.hint}")
        if error is not None and not math.isfinite(error):
            return Failure("model", "conversion_wrong", f"as {precision}, its outputs are no numbers")
        artifact = Artifact.of(data, model.name)
        self._store.add_artifact(
            model,
            precision,
            CollectArtifact(
                artifact.sha256,
                len(data),
                network.parameters if network is not None else None,
                network.multiply_adds if network is not None else None,
                error,
            ),
        )
        return artifact

    def _file(self, model: CollectModel) -> bytes | Failure:
        """The bytes that were in the folder when the collection was planned."""
        path = self._folders[model.source] / model.name
        try:
            data = path.read_bytes()
        except OSError as error:
            return Failure("user", "unreadable_file", f"{path}: {error.strerror}")
        if hashlib.sha256(data).hexdigest() != model.sha256:
            return Failure("user", "file_changed", f"{path} is not what it was when the collection began")
        return data


def _converted(original: bytes, precision: str) -> tuple[bytes, float | None]:
    """The file in a precision, and how far its outputs are from the original's. Raises PrecisionError."""
    if precision in (ORIGINAL, "float32"):
        return original, None
    data = convert(original, cast(Precision, precision))
    return data, output_error(original, data)


def output_error(exact: bytes, rounded: bytes) -> float | None:
    """Root mean square of the difference of two models' outputs, relative to that of the first one's.

    They are compared on inputs that int8 was not calibrated with. Random weights make deep residual networks amplify
    the rounding, of float16 too: how large is too large, only trained weights can tell.

    Returns:
        None for models that do not have one image as input and one output.

    Raises:
        PrecisionError: The converted model does not run on this machine.
    """
    interpreter = Interpreter(model_content=exact, num_threads=1)
    sources, targets = interpreter.get_input_details(), interpreter.get_output_details()
    shape = tuple(int(size) for size in sources[0]["shape"])
    if len(sources) != 1 or len(targets) != 1 or len(shape) != 4 or sources[0]["dtype"] != np.float32:
        return None
    images = noise(shape, _UNSEEN)[:_COMPARED]
    try:
        pairs = list(zip(outputs(exact, images), outputs(rounded, images), strict=True))
    except RuntimeError as error:
        raise PrecisionError(f"the converted model does not run: {error}", "use float32 for it") from error
    difference = sum(float(np.square(a - b).sum()) for a, b in pairs)
    scale = sum(float(np.square(a).sum()) for a, _ in pairs)
    return math.sqrt(difference / scale) if scale > 0 else math.sqrt(difference)
