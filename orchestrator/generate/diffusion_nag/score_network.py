"""The score network: a graph transformer over the slots of an architecture.

It is parameterised as a categorical denoiser. An architecture is discrete, so E[x_0 | x_t] = 2p - 1, where p holds
each slot's posterior probabilities; the network gives their logits and the score follows by Tweedie's formula, exactly:
every estimate lies in the simplex, where predictors are at home. (The original emits the score itself, unbounded.)

Bayes' rule splits the logits of slot i into what its own noisy vector says and what the other slots say about it:

    log p(s_i = v | x_t) = 2 x_t[i, v] / sigma^2 + log sum_{s_-i} p(s_i = v, s_-i) prod_{j != i} q_j(s_j) + const,

with q_j = softmax(2 x_t[j] / sigma^2). The first term is known, so the network learns the second only, from the q_j,
which carry all that it depends on. Its output layer starts at zero, so an untrained network is already the exact
denoiser of independent uniform slots; what it learns is how the training set differs from that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.space.base import BoolArray


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a score network.

    Attributes:
        channels: Width of a slot's embedding.
        layers: Transformer blocks.
        heads: Attention heads; divides `channels`.
        expansion: Width of the feed-forward layers, as a multiple of `channels`.
    """

    channels: int = 64
    layers: int = 4
    heads: int = 4
    expansion: int = 2


class ScoreNetwork(nn.Module):
    """E[x_0 | x_t] of noisy architectures."""

    choice_mask: Tensor
    attention_mask: Tensor

    def __init__(self, slot_sizes: tuple[int, ...], attention_mask: BoolArray, config: NetworkConfig) -> None:
        """Args:
        slot_sizes: Choices of each slot, length `S`; `V` is the largest.
        attention_mask: (`S`, `S`): which slots may look at each other.
        config: Its size.
        """
        super().__init__()
        slots, width = len(slot_sizes), max(slot_sizes)
        mask = torch.arange(width) < torch.tensor(slot_sizes)[:, None]
        self.register_buffer("choice_mask", mask, persistent=False)
        # A slot always sees itself: a row without any key would make attention undefined.
        graph = torch.from_numpy(attention_mask) | torch.eye(slots, dtype=torch.bool)
        self.register_buffer("attention_mask", graph, persistent=False)
        self.embedding = nn.Linear(width, config.channels)
        self.position = nn.Parameter(0.02 * torch.randn(slots, config.channels))
        self.noise_level = NoiseLevelEmbedding(config.channels)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.channels)
        self.head = nn.Linear(config.channels, width)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def probabilities(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(`B`, `S`, `V`) posterior p(slot = choice | x_t) for noisy (`B`, `S`, `V`) at noise levels (`B`,)."""
        evidence = (2 * x / sigma[:, None, None] ** 2).masked_fill(~self.choice_mask, -math.inf)
        hidden = self.embedding(evidence.softmax(dim=-1)) + self.position + self.noise_level(sigma)[:, None, :]
        for block in self.blocks:
            hidden = block(hidden, self.attention_mask)
        return (evidence + self.head(self.norm(hidden))).softmax(dim=-1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x_0 | x_t] in [-1, 1], (`B`, `S`, `V`); choices that a slot does not have are -1."""
        return 2 * self.probabilities(x, sigma) - 1


class Block(nn.Module):
    """Pre-norm transformer block whose attention follows the space's graph."""

    def __init__(self, config: NetworkConfig) -> None:
        """Args:
        config: Size of the network.
        """
        super().__init__()
        inner = config.expansion * config.channels
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.channels)
        self.queries_keys_values = nn.Linear(config.channels, 3 * config.channels)
        self.attention_out = nn.Linear(config.channels, config.channels)
        self.mixer = nn.Sequential(
            nn.LayerNorm(config.channels),
            nn.Linear(config.channels, inner),
            nn.ReLU(),
            nn.Linear(inner, config.channels),
        )

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(`B`, `S`, channels) -> the same shape; `mask` is (`S`, `S`)."""
        batch, slots, channels = hidden.shape
        heads = self.queries_keys_values(self.attention_norm(hidden)).view(
            batch, slots, 3, self.heads, channels // self.heads
        )
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, S, channels / heads)
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        hidden = hidden + self.attention_out(attended.transpose(1, 2).reshape(batch, slots, channels))
        return hidden + self.mixer(hidden)


class NoiseLevelEmbedding(nn.Module):
    """Sinusoids of log sigma, mixed by two layers."""

    frequencies: Tensor

    def __init__(self, channels: int) -> None:
        """Args:
        channels: Width of the embedding.
        """
        super().__init__()
        # log sigma spans about 4, so periods from a quarter of that to several times it tell levels apart.
        self.register_buffer("frequencies", torch.logspace(-1, 1, channels // 2), persistent=False)
        self.mix = nn.Sequential(nn.Linear(2 * (channels // 2), channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, sigma: Tensor) -> Tensor:
        """(`B`,) -> (`B`, channels)."""
        angle = sigma.log()[:, None] * self.frequencies
        return self.mix(torch.cat([angle.sin(), angle.cos()], dim=-1))
