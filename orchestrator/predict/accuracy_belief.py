"""AccuracyBelief: what is believed of accuracies on a campaign's data set before anything was trained there.

A surrogate takes it for what it is, a belief: see `orchestrator.predict.surrogates.SurrogateFitter.accuracy`. The
initial design asks it which of several equally useful architectures to train first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from orchestrator.generate.pool import width
from orchestrator.space.base import FloatArray, IntArray, Space, one_hot

_SOFT = 0.25  # over how many doubts the mean bends towards its floor

_BELOW = 3.0  # how many doubts below all that was measured it is no matter how bad an architecture is


@dataclass(frozen=True)
class AccuracyBelief:
    """A prediction for a whole space, made elsewhere.

    Attributes:
        mean: (..., `S`, `V`) relaxed architectures -> (...) expected percent; differentiable.
        doubt: Standard deviation in percent of what differs between architectures and is not in the mean.
        rest: Standard deviation in percent of a single training.
    """

    mean: Callable[[Tensor], Tensor]
    doubt: float
    rest: float

    def of(self, slots: IntArray, space: Space) -> FloatArray:
        """(`B`,) expected percent of (`B`, `S`) architectures."""
        with torch.no_grad():
            values: FloatArray = self.mean(torch.from_numpy(one_hot(slots, width(space)))).double().numpy()
        return values

    def levelled(self, slots: Tensor, values: Tensor, floor: float) -> Callable[[Tensor], Tensor]:
        """The mean at the level of what was measured, and like it never far below the floor.

        Trainings elsewhere were shorter or longer: how good all architectures are is for the campaign to say, not for
        the belief.

        Args:
            slots: (`N`, `S`, `V`) measured architectures.
            values: (`N`,) percent.
            floor: Values below it count as this.
        """
        above = values > floor
        above = above if above.any() else torch.ones_like(above)
        shift = (values - self.mean(slots))[above].median()
        least, bend = max(floor, float(values.min()) - _BELOW * self.doubt), _SOFT * self.doubt
        return lambda asked: least + bend * softplus((self.mean(asked) + shift - least) / bend)
