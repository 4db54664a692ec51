"""Fresh weights of a torch network from a generator of its own.

Constructors draw from torch's global generator, which other threads of a campaign use as well.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from orchestrator.objective.torch_network import TorchNetwork
from profiling.network import Add, Network


def initialised(network: Network, seed: int) -> TorchNetwork:
    """A module whose weights depend on the seed alone, in the channels-last format that convolutions prefer.

    Convolutions as He et al. (ICCV 2015) propose; the classifier as torch's default, uniform in +-1/sqrt(features).
    """
    generator = torch.Generator().manual_seed(seed)
    module = TorchNetwork(network)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def start_residuals_at_zero(module: TorchNetwork) -> None:
    """Let every residual block start as its shortcut: the scale of its branch's last batch-norm becomes zero.

    Goyal et al., arXiv 1706.02677, section 5.1. Deep networks learn far sooner so; but it is for training only, as an
    untrained network that is to be scored would show nothing of its blocks.
    """
    layers = module.network.layers
    branches = {layer.inputs[1] for layer in layers if isinstance(layer, Add) and layer.residual}
    for layer, part in zip(layers, module.layers, strict=True):
        for norm in part.children() if layer.name in branches else ():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.zeros_(norm.weight)
