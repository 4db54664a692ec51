"""What a collection is made of: models, settings, jobs and their results."""

from __future__ import annotations

from dataclasses import dataclass

from profiling.records import Failure, Measurement

ORIGINAL = "original"
"""The precision of a `.tflite` file that is measured as it is."""


@dataclass(frozen=True)
class CollectModel:
    """Something to be measured: an architecture of a space, or a `.tflite` file.

    Attributes:
        id: Position in the plan, from 0.
        name: What people call it: the architecture's text, or the file's path in its folder; unique in its source.
        space: The space's kind; empty for a file.
        architecture: Canonical text in the space's notation; None for a file.
        source: Which entry of the configuration's `models` it comes from.
        sha256: Of the file when the collection was planned; empty for an architecture.
        failure: Why it is not measured at all, e.g. a corrupt file; None: it is.
    """

    id: int
    name: str
    space: str = ""
    architecture: str | None = None
    source: int = 0
    sha256: str = ""
    failure: Failure | None = None


@dataclass(frozen=True)
class Setting:
    """How a model is run.

    Attributes:
        precision: `float32`, `float16`, `int8`; or `original`, a file as it is.
        delegate: As in `profiling.plan.MeasurementPlan`.
        threads: The same.
    """

    precision: str
    delegate: str
    threads: int


@dataclass(frozen=True)
class CollectJob:
    """One measurement that the collection wants.

    Attributes:
        id: Position in the randomised order, from 0.
        model: What.
        setting: How.
        device: Where: a device's name, or a phone model, whose phones share its jobs.
        replicate: 0, or for models that are measured on several phones of a kind: 1, 2, ..., each on another phone.
        overlap: Whether the model is one of those.
        attempts: How often devices failed at it, in a way that says nothing of the model.
    """

    id: int
    model: CollectModel
    setting: Setting
    device: str
    replicate: int = 0
    overlap: bool = False
    attempts: int = 0


@dataclass(frozen=True)
class CollectArtifact:
    """What a model was compiled to.

    Attributes:
        sha256: Names it; empty on devices that are keyed by architecture (tables).
        bytes: Size of the file.
        parameters, multiply_adds: Of the network; None for files.
        output_error: Distance of its outputs from the float32 model's, relative (root mean square); None where there
            is nothing to compare: float32 itself, and files as they are.
    """

    sha256: str
    bytes: int
    parameters: int | None = None
    multiply_adds: int | None = None
    output_error: float | None = None


@dataclass(frozen=True)
class CollectedResult:
    """A job's result.

    Attributes:
        job: What was wanted.
        artifact: What ran; None: it could not be compiled, and `result` says why.
        result: The measurement with all its blocks (it says on which phone), or why there is none.
        at: When it arrived, in seconds since the epoch.
        suspect: Why a drift of the phone may have touched it; empty: none was seen.
    """

    job: CollectJob
    artifact: CollectArtifact | None
    result: Measurement | Failure
    at: float
    suspect: str = ""
