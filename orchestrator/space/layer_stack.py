"""LayerStack: collects the layers of a network under construction."""

from __future__ import annotations

from profiling.network import Layer, Network


class LayerStack:
    """Layers in execution order, named by their position, so that equal networks are equal bytes."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def add(self, layer: type[Layer], *inputs: str, **fields: object) -> str:
        """Append a layer that reads these and return its name."""
        name = f"{len(self.layers):03d}_{layer.__name__.lower()}"
        self.layers.append(layer(name, inputs, **fields))
        return name

    def network(self, name: str, input_shape: tuple[int, int, int, int]) -> Network:
        """The network of what was added; the last layer is its output."""
        return Network(name, input_shape, tuple(self.layers))
