"""Small models, and interpreters whose runtime misbehaves, for tests of what runs them."""

from __future__ import annotations

import sys
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from device_agent.device import Artifact
from profiling.network import INPUT, Conv2D, FullyConnected, GlobalMean, Network
from profiling.tflite import emit
from profiling.weights import random_weights


def small_artifact(filters: int = 8) -> Artifact:
    """A convolution, a mean and a classifier: some 0.1 ms."""
    layers = (
        Conv2D("conv", (INPUT,), filters, 3, activation="relu"),
        GlobalMean("mean", ("conv",)),
        FullyConnected("classes", ("mean",), 10),
    )
    network = Network("small", (1, 32, 32, 3), layers)
    return Artifact.of(emit(network, random_weights(network)), f"small-{filters}")


def edited(
    artifact: Artifact, *, operator_version: int = 1, custom_operator: str = "", input_size: int = 0
) -> Artifact:
    """The same model with its first operator changed to one that no runtime has, or with an input that fits nowhere."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(artifact.data, 0))
    operator = model.operatorCodes[0]
    operator.version = operator_version
    if custom_operator:
        operator.builtinCode = operator.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        operator.customCode = custom_operator.encode()
    if input_size:
        graph = model.subgraphs[0]
        graph.tensors[graph.inputs[0]].shape = [1, input_size, input_size, 3]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return Artifact.of(bytes(builder.Output()), f"edited-{artifact.label}")


_STUB = """\
import ctypes, os, resource, runpy, signal, sys, time
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from ai_edge_litert import interpreter
count = 0
def invoke(self):
    global count
    count += 1
    {body}
interpreter.Interpreter.invoke = invoke
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def misbehaving_python(folder: Path, body: str) -> Path:
    """An interpreter, to be passed as `python=`, in which invoking any model executes `body` instead."""
    script = folder / "stub.py"
    script.write_text(_STUB.format(body=body))
    return executable(folder / "python", f'exec "{sys.executable}" "{script}" "$@"')


def executable(path: Path, shell: str) -> Path:
    """A shell script that can be run."""
    path.write_text(f"#!/bin/sh\n{shell}\n")
    path.chmod(0o755)
    return path
