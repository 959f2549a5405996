"""Rescaled guidance: the guided prediction with a share of the conditional prediction's standard deviation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from persongen_lib.sampling.engine.predictions import Predictions
from persongen_lib.sampling.engine.strategy import Guided

if TYPE_CHECKING:
    from torch import Tensor

_CONDITIONAL = ("concept", "superclass", "empty")


def rescaled(guided: Guided, predict: Predictions, share: float) -> Guided:
    """The guided prediction, rescaled as in Lin et al., arXiv 2305.08891, section 3.4.

    The standard deviation, of one image's prediction in the network's own terms, is brought to that of the concept
    branch, or of the superclass branch where the strategy asked for no concept. No further prediction is made.

    Args:
        guided: the strategy's.
        predict: the predictions that the strategy asked for.
        share: from 0, which changes nothing, to 1.
    """
    conditional = _conditional(predict)
    if not share or conditional is None:
        return guided
    model, x, step = predict.encoder.backbone.noise_model, predict.latents, predict.step
    own = model.output(guided.prediction, x, step)
    wanted = _deviation(model.output(conditional, x, step)) / _deviation(own)
    output = own * (share * wanted + 1 - share)
    return replace(guided, prediction=model.prediction(output, x, step))


def _conditional(predict: Predictions) -> Tensor | None:
    """The prediction that guidance leads to, with the personalized weights where both are known."""
    known = sorted(predict.known, key=lambda branch: branch[1] != "personalized")
    for wanted in _CONDITIONAL:
        for branch in known:
            if branch[0] == wanted:
                return predict.known[branch]
    return None


def _deviation(prediction: Tensor) -> Tensor:
    return prediction.std(dim=(1, 2, 3), keepdim=True)
