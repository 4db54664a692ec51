"""`nag describe`: the network of an architecture."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def describe(
    space: Annotated[str, typer.Option(help="Search space, e.g. nasbench201.", show_default=False)],
    arch: Annotated[str, typer.Option(help="Architecture in the space's own notation.", show_default=False)],
    input_shape: Annotated[
        str, typer.Option("--input", metavar="H,W,C", help="Height, width and channels of the input.")
    ] = "32,32,3",
    classes: Annotated[int, typer.Option(help="Outputs of the classifier.")] = 10,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=NUMBER", help="A size of the space's networks, e.g. channels=16."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Layers, parameters, multiply-adds and the compiled artifact of an architecture."""
    import hashlib
    import json

    from orchestrator.errors import ConfigError, Problem
    from orchestrator.space.base import NetworkOptions
    from orchestrator.space.registry import make_space
    from profiling.tflite import emit
    from profiling.weights import random_weights

    try:
        height, width, channels = (int(part) for part in input_shape.split(","))
        options = {name: int(value) for name, value in (text.split("=", 1) for text in option or [])}
    except ValueError as error:
        raise ConfigError(
            "nag describe", [Problem("--input/--option", (input_shape, option), "H,W,C and NAME=NUMBER")]
        ) from error
    chosen = make_space(space)
    architecture = chosen.parse(arch)
    network = chosen.network(architecture, NetworkOptions((1, height, width, channels), classes, options))
    artifact = emit(network, random_weights(network))
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
    values = {
        "space": chosen.name,
        "architecture": architecture.text,
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
    table = Table("layer", "operation", "output", "parameters", "multiply-adds", box=None, pad_edge=False)
    for layer in layers:
        shape = "x".join(map(str, layer["output_shape"]))
        table.add_row(
            layer["name"], layer["operation"], shape, f"{layer['parameters']:,}", f"{layer['multiply_adds']:,}"
        )
    console.print(table)
