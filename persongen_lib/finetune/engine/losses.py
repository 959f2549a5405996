"""Errors of predictions and how they make a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from persongen_lib.core.errors import UserError


def squared_error(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of every row.

    Args:
        output: (rows, C, H, W), the predictions.
        target: (rows, C, H, W), what should have been predicted.
        mask: (rows, 1, H, W), from 0 to 1, how much each place counts; where it is 0, nothing of `output` and `target`
            matters. None weighs all places alike.

    Returns:
        Shape (rows,), float32.
    """
    error = (output.float() - target.float()) ** 2
    if mask is None:
        return error.mean(dim=(1, 2, 3))
    inside = torch.where(mask > 0, error * mask, 0)
    return inside.sum(dim=(1, 2, 3)) / (mask.sum(dim=(1, 2, 3)) * error.shape[1])


def min_snr_weights(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Weights of noise levels that limit how much the nearly clean ones count.

    The weight is min(SNR, gamma), divided by SNR if the model predicts noise, and by SNR + 1 if it predicts v.

    Args:
        snr: Signal-to-noise ratios, of any shape.
        gamma: The highest ratio that counts in full, above 0.
        prediction_type: What the model predicts: "epsilon", "v_prediction" or "sample".

    Returns:
        The weights, in the shape of `snr`.

    Raises:
        UserError: A model that predicts something else.

    Hang et al., arXiv 2303.09556.
    """
    capped = snr.clamp(max=gamma)
    weights = {"epsilon": (gamma / snr).clamp(max=1), "v_prediction": capped / (snr + 1), "sample": capped}
    if prediction_type not in weights:
        raise UserError(
            f"min_snr_gamma is not defined for models that predict {prediction_type}: leave it at 0"
        )
    return weights[prediction_type]


def prior_preservation_loss(errors: Tensor, half: int, prior_weight: float) -> Tensor:
    """The mean error on the concept plus `prior_weight` times the mean error on the class images.

    Args:
        errors: (rows,), the error of every row, the concept's first.
        half: The number of rows that are the concept's; without further rows there is no second term.
        prior_weight: What the class images count, 0 or more.

    Returns:
        A scalar.
    """
    loss = errors[:half].mean()
    if len(errors) > half:
        loss = loss + prior_weight * errors[half:].mean()
    return loss
