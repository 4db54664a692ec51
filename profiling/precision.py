"""Precision of an artifact: the float32 model as it is, its weights as float16, or everything as int8.

float16 halves the file; most CPU runtimes convert the weights back when they load it, so it is not faster there.
int8 (full-integer: weights per channel and symmetric, activations per tensor, inputs and outputs int8 too) needs
calibration data, which show how large activations become. The quantiser is ai-edge-quantizer (`devicenag[quantize]`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from profiling.network import Shape

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_RANGE_OF_ZEROS = 1.0  # any will do; a tiny one would overflow the biases, which are counted in it
_CALIBRATION_DRAWS = 8


class PrecisionError(ValueError):
    """A model cannot be had in a precision; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def can_convert(precision: Precision) -> bool:
    """Whether what it takes is installed."""
    return precision == "float32" or find_spec("ai_edge_quantizer") is not None


def convert(model: bytes, precision: Precision, calibration: Iterable[NDArray[np.float32]] | None = None) -> bytes:
    """A float32 `.tflite` file in another precision. The same arguments give the same bytes.

    Args:
        model: With one float32 input and a signature, as `profiling.tflite.emit` writes it.
        precision: What to make of it.
        calibration: Inputs as the model will see them (int8 only); None for normal noise, which is enough where only
            latency matters, since it does not depend on the values.

    Raises:
        PrecisionError: The model cannot be converted, or the quantiser is not installed.
    """
    if precision == "float32":
        return model
    try:
        with warnings.catch_warnings():  # it warns that calibration keeps all tensors, which is what calibration is
            warnings.simplefilter("ignore", UserWarning)
            return _converted(_quantizer(model), model, precision, calibration)
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, PrecisionError):
            raise
        raise PrecisionError(f"the model cannot be converted to {precision}: {error}", "use float32 for it") from error


def _converted(
    quantizer: Any, model: bytes, precision: Precision, calibration: Iterable[NDArray[np.float32]] | None
) -> bytes:
    if precision == "float16":
        quantizer.load_quantization_recipe(_float16_recipe())
        result = quantizer.quantize(enable_progress_report=False)
    else:
        from ai_edge_quantizer import recipe

        quantizer.load_quantization_recipe(recipe.static_wi8_ai8())
        seen = [quantizer.calibrate(image, num_threads=1) for image in _calibration(model, calibration)]
        result = quantizer.quantize(_widest(seen), enable_progress_report=False)
    return bytes(result.quantized_model)


def outputs(model: bytes, images: Iterable[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """What a model of any precision answers to float32 inputs, integers scaled on the way in and out."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for image in images:
        interpreter.set_tensor(source["index"], _to_integers(image, source))
        interpreter.invoke()
        answers.append(_to_floats(interpreter.get_tensor(target["index"]), target))
    return answers


def noise(shape: Shape, seed: int = 0) -> list[NDArray[np.float32]]:
    """Normal inputs to calibrate with where no data are at hand."""
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape, dtype=np.float32) for _ in range(_CALIBRATION_DRAWS)]


def _to_integers(values: NDArray[np.float32], detail: dict[str, Any]) -> NDArray[Any]:
    if np.issubdtype(detail["dtype"], np.floating):
        return np.asarray(values, dtype=detail["dtype"])
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.asarray(np.clip(np.round(values / scale + zero), limits.min, limits.max), dtype=detail["dtype"])


def _to_floats(values: NDArray[Any], detail: dict[str, Any]) -> NDArray[np.float32]:
    if np.issubdtype(detail["dtype"], np.floating):
        return np.asarray(values, dtype=np.float32)
    scale, zero = detail["quantization"]
    return np.asarray((values.astype(np.float32) - zero) * scale, dtype=np.float32)


def _calibration(model: bytes, inputs: Iterable[NDArray[np.float32]] | None) -> Iterator[dict[str, Any]]:
    """Each input by the name that the model's signature gives it."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    ((signature, names),) = interpreter.get_signature_list().items()
    shape = tuple(int(size) for size in interpreter.get_input_details()[0]["shape"])
    for image in inputs if inputs is not None else noise(shape):
        yield {signature: [{names["inputs"][0]: image}]}


def _widest(seen: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The range of each tensor over all inputs.

    The quantiser itself would average the ranges of several inputs, and so cut off what is rare: outputs of a
    squeeze-excite block were wrong by 13 % instead of 1 %. And it divides by the range, which is nothing where a tensor
    is always zero, as in networks whose output is constant.
    """
    ranges = {name: dict(limits) for name, limits in seen[0].items()}
    for statistics in seen[1:]:
        for name, limits in statistics.items():
            known = ranges.setdefault(name, dict(limits))
            known["min"] = np.minimum(known["min"], limits["min"])
            known["max"] = np.maximum(known["max"], limits["max"])
    for limits in ranges.values():
        flat = (limits["min"] == 0) & (limits["max"] == 0)
        limits["max"] = np.where(flat, _RANGE_OF_ZEROS, limits["max"])
    return ranges


def _quantizer(model: bytes) -> Any:
    """A quantiser of the model. Raises PrecisionError."""
    try:
        from ai_edge_quantizer import quantizer
        from ai_edge_quantizer.utils import progress_utils
    except ImportError as error:
        raise PrecisionError(
            "float16 and int8 need ai-edge-quantizer, which is not installed", "pip install 'devicenag[quantize]'"
        ) from error
    # Its bars cannot be turned off in every place; they would be drawn over everything else.
    progress_utils.tqdm = SimpleNamespace(tqdm=_no_bar)
    try:
        return quantizer.Quantizer(bytearray(model))
    except Exception as error:  # its parser's errors have no common class
        raise PrecisionError(f"the model cannot be read: {error}", "give a float32 .tflite file") from error


def _no_bar(*arguments: Any, **options: Any) -> Any:
    """A progress bar that shows nothing."""
    from tqdm import tqdm

    return tqdm(*arguments, **{**options, "disable": True})


def _float16_recipe() -> list[dict[str, Any]]:
    """Weights of every operator stored as float16, computed with as float32."""
    config = {
        "weight_tensor_config": {"num_bits": 16, "symmetric": True, "granularity": "TENSORWISE", "dtype": "FLOAT"},
        "compute_precision": "FLOAT",
        "explicit_dequantize": True,
        "skip_checks": False,
        "min_weight_elements": 0,
    }
    return [{"regex": ".*", "operation": "*", "algorithm_key": "float_casting", "op_config": config}]
