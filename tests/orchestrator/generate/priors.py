"""Exact denoisers, E[x_0 | x_t], of priors whose posterior is known in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from orchestrator.generate.diffusion_nag.sampler import Denoiser
from orchestrator.space.mobilenetv3 import FIRST_BLOCK, POSITIONS, STAGES
from orchestrator.space.mobilenetv3_blocks import BLOCK_CHOICES, DEPTHS


def denoiser_of(x0: Tensor) -> Denoiser:
    """Under a uniform prior over the given (`N`, `S`, `V`) architectures, by Bayes' rule."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        # |x - x0|^2 up to what is the same for all of them: every x0 has the same norm.
        affinity = torch.einsum("bsv,nsv->bn", x, x0) / sigma**2
        return torch.einsum("bn,nsv->bsv", affinity.softmax(dim=1), x0)

    return denoise


def denoise_mobilenetv3(x: Tensor, sigma: float) -> Tensor:
    """Under uniform draws of MobileNetV3 architectures (depths, then blocks; inactive blocks are the first choice).

    Stages are independent. Given its depth so are a stage's blocks, each uniform where active, known where not:

        p(depth = d | x) ~ q(d) prod_{active} mean_v q(v) prod_{inactive} q(0),     q = exp(2 x / sigma^2),

    and a block's posterior mixes what it is when active and when not, by the posterior of being active.
    """
    evidence = 2 * x.double() / sigma**2
    depths = evidence[:, :STAGES, : len(DEPTHS)]
    blocks = evidence[:, FIRST_BLOCK:].unflatten(1, (STAGES, POSITIONS))  # (B, 5, 4, 9)
    as_active = blocks.logsumexp(dim=-1) - math.log(len(BLOCK_CHOICES))
    as_inactive = blocks[..., 0]
    log_depths = [
        depths[..., index] + as_active[..., :depth].sum(dim=-1) + as_inactive[..., depth:].sum(dim=-1)
        for index, depth in enumerate(DEPTHS)
    ]
    p_depth = torch.stack(log_depths, dim=-1).softmax(dim=-1)
    deep_enough = torch.tensor([[depth > position for depth in DEPTHS] for position in range(POSITIONS)])
    p_active = (p_depth[:, :, None, :] * deep_enough).sum(dim=-1)
    p_block = p_active[..., None] * blocks.softmax(dim=-1)
    p_block[..., 0] += 1 - p_active
    p = torch.zeros_like(evidence)
    p[:, :STAGES, : len(DEPTHS)] = p_depth
    p[:, FIRST_BLOCK:] = p_block.flatten(1, 2)
    return (2 * p - 1).to(x.dtype)
