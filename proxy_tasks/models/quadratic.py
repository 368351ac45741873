"""The noisy quadratic model (Wu et al., arXiv:1803.02021; Zhang et al., arXiv:1907.04164)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from proxy_tasks.checks import real
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.model import Leaf, Model


def quadratic(dataset: Dataset, power: float = 1.0) -> Model:
    """Return weights w `[D]` from N(0, 1) with loss 1/2 sum_i h_i (w_i - x_i)^2 on a sample x.

    The curvatures are h_i = i^-power. The condition number is D^power.

    Raises:
        InputError: `power` is out of range.
    """
    real("model quadratic", "power", power, 0, 10)
    dimensions = dataset.valid_x[0].numel()
    h = torch.arange(1, dimensions + 1, dtype=torch.float64).pow(-power).float().to(dataset.train_x.device)  # [D]

    def losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
        """Return losses. `params`: w [R, D]; `x`: [1 or R, B, D]; `y` is not used -> [R]."""
        # The mean over a minibatch is that at its centre plus its spread: nothing of size [R, B, D] for a shared one.
        x = x.flatten(2)
        spread, centre = torch.var_mean(x, dim=1, correction=0)  # [1 or R, D]
        return 0.5 * (h * ((params[0] - centre) ** 2 + spread)).sum(1)

    return Model((Leaf("w", (dimensions,), std=1.0),), losses)
