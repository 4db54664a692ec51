"""CostModel: what an architecture uses of a budget, and what every change of it would, from a device's references.

Latency is nearly additive in milliseconds over a space's amounts a(x) (`predict.encodings`), that of the reference
architectures, too. So a device's prices are taken to be linear in those, and nothing is fitted when a device is given:

    latency(x) = a(x)^T P r,      r: the references' latencies,   P: fitted on many devices before training (`fit`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orchestrator.generate.dinas.asked import Asked
from orchestrator.predict.encodings import Encoding

_RIDGE = 5e-4  # of the mean square: references are measured, and amounts that always occur together share a price


class CostModel(nn.Module):
    """Shares of budgets; its weights are fitted in closed form, not trained."""

    prices: Tensor

    def __init__(self, encoding: Encoding, slots: int, width: int, references: int) -> None:
        """Args:
        encoding: Of the space.
        slots: `S`.
        width: `V`.
        references: `R`.
        """
        super().__init__()
        self._amounts_of = encoding.costs
        amounts = self._amounts_of(torch.full((1, slots, width), 1 / width)).shape[-1]
        self.register_buffer("prices", torch.zeros(amounts, references))

    def fit(self, amounts: Tensor, references_ms: Tensor, latencies_ms: Tensor, weights: Tensor) -> None:
        """Ridge regression of the relative error.

        Args:
            amounts: (`N`, `K`) of some architectures.
            references_ms: (`D`, `R`) the references' latencies on many devices.
            latencies_ms: (`D`, `N`) the architectures' latencies on them.
        weights: (`D`,) how much each device counts.
            weights: (`D`,) how much each device counts.
        """
        amounts, references_ms, latencies_ms = amounts.double(), references_ms.double(), latencies_ms.double()
        count, size = self.prices.shape[1], self.prices.numel()
        gram, moment = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
        for references, latencies, weight in zip(references_ms, latencies_ms, weights.double(), strict=True):
            relative = amounts / latencies[:, None]
            gram += weight * torch.kron(relative.T @ relative, torch.outer(references, references))
            moment += weight * torch.kron(relative.sum(0), references)
        ridge = _RIDGE * gram.diagonal().mean() * torch.eye(size, dtype=torch.float64)
        self.prices.copy_(torch.linalg.solve(gram + ridge, moment).unflatten(0, (-1, count)))

    def used(self, vertices: Tensor, asked: Asked) -> Tensor:
        """(`B`, `K`) share of each budget that (`B`, `S`, `V`) architectures use; 0 of budgets that are not asked.

        1 is where an architecture stops being within the budget.
        """
        references = (asked.references - asked.budgets[..., None]).exp() * asked.budget_asked[..., None]
        return torch.einsum("ba,ar,bkr->bk", self._amounts_of(vertices), self.prices, references)

    def forward(self, vertices: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
        """What is `used`, and (`B`, `K`, `S`, `V`) what would be after each change of one slot.

        The amounts are multilinear in the slots, so their slope at an architecture is what a change of one slot adds.
        """
        vertices = vertices.detach().requires_grad_()
        with torch.enable_grad():
            used = self.used(vertices, asked)
            slopes = [
                torch.autograd.grad(column.sum(), vertices, retain_graph=True)[0] for column in used.unbind(dim=1)
            ]
        slope = torch.stack(slopes, dim=1)
        used, here = used.detach(), (slope * vertices.detach()[:, None]).sum(-1, keepdim=True)
        return used, used[..., None, None] + slope - here
