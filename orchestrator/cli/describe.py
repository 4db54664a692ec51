"""`nag describe`: the network of an architecture, or a `.tflite` file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from orchestrator.space.base import NetworkOptions, Space


def describe(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL.tflite", help="A file, by whomever.", show_default=False)
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Or a search space: nasbench201, mobilenetv3 or mobilenetv3:resolutions=160,192,224.",
            show_default=False,
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="Architecture in the space's own notation, or OFA's dictionary as JSON.", show_default=False),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option("--input", metavar="H,W,C", help="Height, width, channels; default: what the space is known for."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Outputs of the classifier; default: what the space is known for.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=NUMBER", help="A size of the networks, e.g. channels=16 or width=1.2."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the .tflite here, with random weights, for nag measure.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Layers, parameters, multiply-adds and the compiled artifact of an architecture; or what a model file takes."""
    import hashlib
    import json

    from orchestrator.cli.describe_model import describe_model
    from orchestrator.errors import ConfigError, Problem
    from orchestrator.space.registry import parse_space
    from profiling.tflite import emit
    from profiling.weights import random_weights

    if model is not None:
        given: dict[str, object] = {
            "--space": space,
            "--arch": arch,
            "--input": input_shape,
            "--classes": classes,
            "--option": option,
        }
        given |= {"--out": out}
        if problems := [Problem(name, value, "nothing beside a file") for name, value in given.items() if value]:
            raise ConfigError("nag describe", problems)
        describe_model(model, as_json=as_json)
        return
    if space is None or arch is None:
        raise ConfigError(
            "nag describe", [Problem("--space/--arch", (space, arch), "both of them, or a .tflite file instead")]
        )
    chosen = parse_space(space)
    architecture = chosen.parse(arch)
    network = chosen.network(architecture, _options(chosen, input_shape, classes, option or []))
    artifact = emit(network, random_weights(network))
    if out is not None:
        _write(out, artifact)
    layers: list[dict[str, Any]] = [
        {
            "name": layer.name,
            "operation": type(layer).__name__,
            "inputs": list(layer.inputs),
            "output_shape": list(network.shapes[layer.name]),
            "parameters": layer.parameters(network.input_shapes(layer)),
            "multiply_adds": layer.multiply_adds(network.input_shapes(layer)),
        }
        for layer in network.layers
    ]
    notations = chosen.other_notations(architecture)
    values = {
        "space": chosen.name,
        "architecture": architecture.text,
        **notations,
        "isomorphism_class": chosen.isomorphism_class(architecture),
        "parameters": network.parameters,
        "multiply_adds": network.multiply_adds,
        "artifact_sha256": hashlib.sha256(artifact).hexdigest(),
        "artifact_bytes": len(artifact),
        "layers": layers,
    }
    if as_json:
        print(json.dumps(values, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{architecture.text}[/]", highlight=False)
    console.print(
        f"{network.parameters:,} parameters, {network.multiply_adds / 1e6:,.2f} M multiply-adds, "
        f"{len(artifact):,} bytes of TFLite (sha256 {values['artifact_sha256']})",
        soft_wrap=True,
    )
    for name, value in notations.items():
        console.print(f"{name}: {json.dumps(value)}", highlight=False, markup=False, soft_wrap=True)
    table = Table("layer", "operation", "output", "parameters", "multiply-adds", box=None, pad_edge=False)
    for layer in layers:
        shape = "x".join(map(str, layer["output_shape"]))
        table.add_row(
            layer["name"], layer["operation"], shape, f"{layer['parameters']:,}", f"{layer['multiply_adds']:,}"
        )
    console.print(table)


def _options(space: Space, input_shape: str | None, classes: int | None, sizes: Sequence[str]) -> NetworkOptions:
    """What the network is built with. Raises ConfigError."""
    from orchestrator.errors import ConfigError, Problem
    from orchestrator.space.base import NetworkOptions

    usual = space.usual_network
    try:
        batch, height, width, channels = (
            usual.input_shape if input_shape is None else (1, *(int(part) for part in input_shape.split(",")))
        )
        options = {name: _number(value) for name, value in (text.split("=", 1) for text in sizes)}
    except ValueError as error:
        raise ConfigError(
            "nag describe", [Problem("--input/--option", (input_shape, list(sizes)), "H,W,C and NAME=NUMBER")]
        ) from error
    return NetworkOptions((batch, height, width, channels), usual.classes if classes is None else classes, options)


def _write(path: Path, artifact: bytes) -> None:
    """Raises NagError."""
    from orchestrator.errors import NagError

    try:
        path.write_bytes(artifact)
    except OSError as error:
        raise NagError(
            f"{path}: cannot be written: {error.strerror}", "give --out a file in a folder of yours"
        ) from error


def _number(text: str) -> int | float:
    """A whole number where it is one. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        return float(text)
