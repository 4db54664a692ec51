"""The denoiser: p(x_0 | z_t, conditions) of each slot, by a transformer over the slots that conditions modulate.

Bayes' rule splits the logits of a slot into what its own noisy value says, what is known before anything is seen, and
what the other slots and the conditions say:

    log p(x_0[i] = v | z_t, c) = log q(z_t[i] | x_0[i] = v) + log m_i[v] + f_i[v](z_t, c) + const.

The first two terms are known in closed form; the network learns f, whose output layer starts at zero: an untrained
network is the exact denoiser of independent slots. Unlike the original, it is told the noise level.

A budget is read relative to its device: log milliseconds less the mean log latency of the reference architectures,
beside the references themselves, so that units and a device's overall speed need not be learned. A cost model says how
much of the budget the noisy architecture uses and what every change would; the network learns how much that matters,
which depends on the noise still to be removed. Any number of budgets is embedded one by one and summed; what is not
asked is replaced by a learned null.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.generate.diffusion_nag.score_network import NoiseLevelEmbedding
from orchestrator.generate.dinas.asked import Asked
from orchestrator.generate.dinas.cost_model import CostModel
from orchestrator.generate.dinas.transitions import Transitions
from orchestrator.predict.encodings import Encoding

_LEAST_SPREAD = 0.05  # of a device's log latencies: one that runs all architectures equally fast divides by no less
_STEEPNESS = (1.0, 5.0, 25.0)  # of how a change is felt that goes beyond a budget: from proportionally to sharply
_MOST_USED = 3.0  # times a budget; more looks alike to the network
_LEAST_ALPHA = 1e-4  # noise levels beyond it look alike to the network


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a denoiser.

    Attributes:
        channels: Width of a slot's embedding.
        layers: Transformer blocks.
        heads: Attention heads; divides `channels`.
        expansion: Width of the feed-forward layers, as a multiple of `channels`.
        references: `R`, reference architectures that a device is known by.
        thrift: Ways in which costs may matter to a slot.
        rarest: Smallest top share in accuracy that conditions distinguish.
    """

    channels: int = 64
    layers: int = 4
    heads: int = 4
    expansion: int = 2
    references: int = 10
    thrift: int = 8
    rarest: float = 0.002


class Denoiser(nn.Module):
    """Logits of p(x_0 | z_t, conditions)."""

    marginals: Tensor
    choice_mask: Tensor

    def __init__(self, slot_sizes: tuple[int, ...], encoding: Encoding, config: NetworkConfig) -> None:
        """Args:
        slot_sizes: Choices of each slot, length `S`; `V` is the largest.
        encoding: Of the space.
        config: Its size.
        """
        super().__init__()
        self.references = config.references
        slots, width, channels = len(slot_sizes), max(slot_sizes), config.channels
        exists = torch.arange(width) < torch.tensor(slot_sizes)[:, None]
        self.register_buffer("choice_mask", exists, persistent=False)
        # Part of the weights: a checkpoint carries the distribution that its slots forget to.
        self.register_buffer("marginals", exists / exists.sum(-1, keepdim=True))
        self.choice = nn.Parameter(0.3 * torch.randn(slots, width, channels))
        self.noise_level = NoiseLevelEmbedding(channels)
        self.cost_model = CostModel(encoding, slots, width, config.references)
        self.conditions = ConditionEmbedding(config)
        self.blocks = nn.ModuleList(ModulatedBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, width)
        self.thrift = nn.Linear(channels, len(_STEEPNESS) * config.thrift)
        for layer in (self.head, self.thrift):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def transitions(self) -> Transitions:
        """The forward process that it denoises."""
        return Transitions(self.marginals)

    def forward(self, z: Tensor, alpha: Tensor, asked: Asked) -> Tensor:
        """(`B`, `S`, `V`) logits, for (`B`, `S`) noisy slots, abar_t of each (`B`,), and conditions."""
        level = alpha.clamp(_LEAST_ALPHA, 1 - _LEAST_ALPHA)
        used, changed = self.cost_model(self._vertices(z), asked)  # (B, K), (B, K, S, V)
        conditions, budgets = self.conditions(asked, used)
        context = self.noise_level(((1 - level) / level).sqrt()) + conditions
        hidden = self.choice[torch.arange(z.shape[1]), z]
        for block in self.blocks:
            hidden = block(hidden, context)
        hidden = self.norm(hidden)
        excess = [functional.softplus(steepness * (changed - 1)) / steepness for steepness in _STEEPNESS]
        thrift = self.thrift(hidden).unflatten(-1, (len(_STEEPNESS), -1))  # (B, S, F, G)
        weights = torch.einsum("bsfg,bkg->bksf", thrift, budgets[..., : thrift.shape[-1]])
        said = self.head(hidden) + torch.einsum("bksf,bksvf->bsv", weights, torch.stack(excess, dim=-1))
        logits = self.transitions.evidence(z, alpha) + self.marginals.log() + said
        return logits.masked_fill(~self.choice_mask, -math.inf)

    def excess(self, slots: Tensor, asked: Asked) -> Tensor:
        """(`B`,) by which share (`B`, `S`) architectures exceed a budget, by the cost model; at most 0 within all."""
        return self.cost_model.used(self._vertices(slots), asked).amax(dim=1) - 1

    def _vertices(self, slots: Tensor) -> Tensor:
        """(`B`, `S`, `V`) one-hot form of (`B`, `S`) slots."""
        return functional.one_hot(slots, self.choice_mask.shape[1]).to(self.cost_model.prices.dtype)


class ConditionEmbedding(nn.Module):
    """Accuracy and budgets as one vector a sample."""

    def __init__(self, config: NetworkConfig) -> None:
        """Args:
        config: Size of the network.
        """
        super().__init__()
        channels, wide = config.channels, 2 * config.channels
        self.rarest = math.log(config.rarest)
        self.accuracy = nn.Sequential(nn.Linear(2, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.budget = nn.Sequential(
            nn.Linear(2 * config.references + 4, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU(),
            nn.Linear(wide, channels),
        )  # fmt: skip
        self.no_accuracy = nn.Parameter(torch.zeros(channels))
        self.no_budget = nn.Parameter(torch.zeros(channels))
        self.mix = nn.Sequential(nn.Linear(2 * channels, wide), nn.SiLU(), nn.Linear(wide, channels))

    def forward(self, asked: Asked, used: Tensor) -> tuple[Tensor, Tensor]:
        """(`B`, channels) all conditions, and (`B`, `K`, channels) each budget, which is 0 if not asked.

        Args:
            asked: The conditions.
            used: (`B`, `K`) share of each budget that the noisy architecture uses.
        """
        share = asked.share.clamp_min(self.rarest)
        accuracy = self.accuracy(torch.stack([share / self.rarest, share.exp()], dim=-1))
        accuracy = torch.where(asked.share_asked[:, None], accuracy, self.no_accuracy)
        speed = asked.references.mean(-1, keepdim=True)
        shape = asked.references - speed
        spread = shape.square().mean(-1, keepdim=True).sqrt().clamp_min(_LEAST_SPREAD)
        room = asked.budgets[..., None] - speed
        left = 1 - used.clamp(0, _MOST_USED)[..., None]
        features = torch.cat([shape, shape / spread, room, room / spread, spread.log(), left], dim=-1)
        budgets = self.budget(features) * asked.budget_asked[..., None]
        either = torch.where(asked.budget_asked.any(-1, keepdim=True), budgets.sum(1), self.no_budget)
        return self.mix(torch.cat([accuracy, either], dim=-1)), budgets


class ModulatedBlock(nn.Module):
    """Transformer block whose normalisations and residuals are scaled by the context (Peebles & Xie, ICCV 2023)."""

    def __init__(self, config: NetworkConfig) -> None:
        """Args:
        config: Size of the network.
        """
        super().__init__()
        channels, inner = config.channels, config.expansion * config.channels
        self.heads = config.heads
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(channels, 6 * channels))
        self.queries_keys_values = nn.Linear(channels, 3 * channels)
        self.attention_out = nn.Linear(channels, channels)
        self.mixer = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        """(`B`, `S`, channels) -> the same shape, under a context (`B`, channels)."""
        batch, slots, channels = hidden.shape
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(context)[:, None].chunk(6, dim=-1)
        normed = functional.layer_norm(hidden, (channels,)) * (1 + scale1) + shift1
        heads = self.queries_keys_values(normed).view(batch, slots, 3, self.heads, channels // self.heads)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, S, channels / heads)
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        attended = self.attention_out(attended.transpose(1, 2).reshape(batch, slots, channels))
        hidden = hidden + (1 + gate1) * attended
        normed = functional.layer_norm(hidden, (channels,)) * (1 + scale2) + shift2
        return hidden + (1 + gate2) * self.mixer(normed)
