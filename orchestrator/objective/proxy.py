"""ProxyObjective: scores of the untrained network, in a fraction of a second.

The three of eleven that ranked the NAS-Bench-201 tables best. `benchmarks/proxies.py` prints how well they and some
that were left out do, beside the plain count of multiply-adds, which is a strong baseline.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from orchestrator.errors import ObjectiveFailed
from orchestrator.objective.base import AccuracyJob, AccuracyResult
from orchestrator.objective.config import RANDOM_IMAGES, ProxyConfig, ProxyName
from orchestrator.objective.dataset import Split, load_dataset
from orchestrator.objective.failures import stopped
from orchestrator.objective.initialise import initialised
from orchestrator.objective.torch_network import TorchNetwork
from orchestrator.space.base import NetworkOptions, Space

_JACOBIAN_WEIGHT = 2.0
_NOTHING = 1e-12  # norms below this are rounding


Proxy = Callable[[TorchNetwork, Split], float]


def jacobian(module: TorchNetwork, sample: Split) -> float:
    """How differently the network reacts to different images (Mellor et al., arXiv 2006.04647v1).

    With v the eigenvalues of the correlation matrix of the B images' Jacobians and k = 1e-5, the paper's score is
    -sum(log(v + k) + 1 / (v + k)). It spans orders of magnitude, so this is minus the logarithm of its size per image:
    0 when no two images are alike to the network, -11 when all are.
    """
    module.train()
    images = sample.images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(images).sum(), images)
    rows = gradient.reshape(len(images), -1).double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    if (norms < _NOTHING).any():  # the output does not depend on the image
        rows, norms = torch.ones_like(rows), torch.full_like(norms, math.sqrt(rows.shape[1]))
    rows = rows / norms
    values = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0) + 1e-5
    return -math.log((values.log() + 1 / values).mean().item())


def jacobian_macs(module: TorchNetwork, sample: Split) -> float:
    """Capacity and trainability: log(multiply-adds) + 2 `jacobian`.

    Multiply-adds alone rank well but like deep plain networks too much; `jacobian` sees just that. Adding scores that
    err differently follows AZ-NAS (Lee & Ham, CVPR 2024). The weight 2 was chosen on 320 random NAS-Bench-201
    networks of two sizes; from 1 to 4 their rank correlation changes by 0.03.
    """
    return math.log(module.network.multiply_adds) + _JACOBIAN_WEIGHT * jacobian(module, sample)


def meco(module: TorchNetwork, sample: Split) -> float:
    """Least correlated feature maps (MeCo, Jiang et al., NeurIPS 2023).

    The sum over convolutions of the smallest eigenvalue of the correlation matrix of the output's channels, for the
    first image of the sample.
    """
    smallest: list[float] = []

    def hook(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        maps = output[0].flatten(1).double()
        maps = maps - maps.mean(dim=1, keepdim=True)
        maps = maps / maps.norm(dim=1, keepdim=True).clamp_min(_NOTHING)
        smallest.append(torch.linalg.eigvalsh(maps @ maps.T)[0].item())

    module.train()
    hooks = [layer.register_forward_hook(hook) for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        module(sample.images)
    for handle in hooks:
        handle.remove()
    return sum(smallest)


def zico(module: TorchNetwork, sample: Split) -> float:
    """Size against spread of the gradients of two halves of the sample (ZiCo, Li et al., ICLR 2023).

    The sum over layers of log(1 + sum over weights of mean |gradient| / standard deviation); the 1, which the paper has
    not, lets a layer that nothing reaches count nothing.
    """
    module.train()
    weights = [layer.weight for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    halves = zip(sample.images.chunk(2), sample.labels.chunk(2), strict=True)
    gradients = [torch.autograd.grad(cross_entropy(module(images), labels), weights) for images, labels in halves]
    score = 0.0
    for pair in zip(*gradients, strict=True):
        both = torch.stack(pair)
        spread = both.std(dim=0)
        moving = spread > 0
        score += math.log1p((both.abs().mean(dim=0)[moving] / spread[moving]).sum().item())
    return score


PROXIES: Mapping[ProxyName, Proxy] = {"jacobian_macs": jacobian_macs, "meco": meco, "zico": zico}


class ProxyObjective:
    """A zero-cost proxy in place of the accuracy; its scale is its own, larger is better."""

    name = "proxy"
    uses_host = True

    def __init__(self, config: ProxyConfig, space: Space, network: NetworkOptions) -> None:
        """Args:
        config: Which proxy, and what it is shown.
        space: Whose architectures are scored.
        network: Input shape and classes of the images.

        Raises:
            DataError: The data set cannot be used.
        """
        self._config = config
        self._space = space
        self._closed = threading.Event()
        self._sample = make_sample(config, network)

    def evaluate(self, job: AccuracyJob) -> AccuracyResult:
        """The mean score over `repeats` initialisations; with several, also its standard error.

        Raises:
            ObjectiveFailed: The score is not finite, or `close` was called.
        """
        started = time.monotonic()
        torch.set_num_threads(self._config.threads)  # a setting of the calling thread
        network = self._space.network(job.architecture, job.network)
        _, height, width, _ = network.input_shape
        sample = self._sample.at((height, width))
        seeds = np.random.SeedSequence(job.seed).generate_state(self._config.repeats, np.uint64)
        scores: list[float] = []
        for seed in seeds.tolist():
            job.yield_host()
            if self._closed.is_set():
                raise stopped()
            scores.append(PROXIES[self._config.proxy](initialised(network, seed), sample))
        if not all(map(math.isfinite, scores)):
            raise ObjectiveFailed(
                f"proxy {self._config.proxy} of {job.architecture.text} is {scores}",
                "its gradients or activations overflow; another proxy may do",
                code="not_finite",
            )
        return AccuracyResult(
            accuracy=statistics.fmean(scores),
            standard_error=statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None,
            seconds=time.monotonic() - started,
            details={"proxy": self._config.proxy, "scores": scores},
        )

    def close(self) -> None:
        """A running evaluation ends before its next initialisation."""
        self._closed.set()


def make_sample(config: ProxyConfig, network: NetworkOptions) -> Split:
    """The images that every candidate is shown: noise, or the first of a data set's training images, shuffled.

    Raises:
        DataError: The data set cannot be used.
    """
    generator = torch.Generator().manual_seed(config.sample_seed)
    _, height, width, channels = network.input_shape
    if config.dataset == RANDOM_IMAGES:
        images = torch.randn(config.batch, channels, height, width, generator=generator)
        labels = torch.randint(0, network.classes, (config.batch,), generator=generator)
    else:
        train = load_dataset(str(config.dataset), network.input_shape, network.classes).train
        rows = torch.randperm(len(train), generator=generator)[: config.batch]
        images, labels = train.images[rows], train.labels[rows]
    return Split(images.contiguous(memory_format=torch.channels_last), labels)
