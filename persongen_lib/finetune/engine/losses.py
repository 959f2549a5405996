"""Errors of predictions and how they make a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from persongen_lib.core.errors import UserError


def squared_error(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of every row (rows,) of (rows, C, H, W) tensors, float32.

    `mask` (rows, 1, H, W), from 0 to 1, says how much each place counts; where it is 0, nothing of `output` and
    `target` matters.
    """
    error = (output.float() - target.float()) ** 2
    if mask is None:
        return error.mean(dim=(1, 2, 3))
    inside = torch.where(mask > 0, error * mask, 0)
    return inside.sum(dim=(1, 2, 3)) / (mask.sum(dim=(1, 2, 3)) * error.shape[1])


def min_snr_weights(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Weights of noise levels (Hang et al., arXiv 2303.09556), given their signal-to-noise ratios.

    min(SNR, gamma), over SNR where the model predicts noise, over SNR + 1 where it predicts v.

    Raises:
        UserError: A model that predicts something else.
    """
    capped = snr.clamp(max=gamma)
    weights = {"epsilon": (gamma / snr).clamp(max=1), "v_prediction": capped / (snr + 1), "sample": capped}
    if prediction_type not in weights:
        raise UserError(
            f"min_snr_gamma is not defined for models that predict {prediction_type}: leave it at 0"
        )
    return weights[prediction_type]


def prior_preservation_loss(errors: Tensor, half: int, prior_weight: float) -> Tensor:
    """The mean of the first `half` rows' errors (the concept) plus `prior_weight` times that of the rest."""
    loss = errors[:half].mean()
    if len(errors) > half:
        loss = loss + prior_weight * errors[half:].mean()
    return loss
