"""Tuned baselines that torch has, as the lines that make them."""

from __future__ import annotations

from search.store.tables import BaselineRow

_LINES = {
    "torch_adamw": "torch.optim.AdamW(model.parameters(), lr={rate:.4g}, weight_decay={decay:.4g})",
    "sgd_momentum": "torch.optim.SGD(model.parameters(), lr={rate:.4g}, momentum=0.9, weight_decay={decay:.4g})",
    "nesterov": (
        "torch.optim.SGD(model.parameters(), lr={rate:.4g}, momentum=0.9, weight_decay={decay:.4g}, nesterov=True)"
    ),
    "torch_muon": (
        "torch.optim.Muon(hidden_matrices, lr={rate:.4g}, weight_decay={decay:.4g}, adjust_lr_fn='match_rms_adamw'),"
        " with torch.optim.AdamW(all_other_weights, lr={rate:.4g}, weight_decay={decay:.4g})"
    ),
}


def torch_code(row: BaselineRow) -> str:
    """Return the expression that makes a tuned baseline from what torch has; its two numbers where torch lacks it."""
    line = _LINES.get(row.name, "{name} with learning rate {rate:.4g} and weight decay {decay:.4g}")
    return line.format(name=row.name, rate=row.learning_rate, decay=row.weight_decay)
