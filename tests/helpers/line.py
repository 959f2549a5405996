"""The smallest training of the micro-world, in a module that worker processes import in a moment."""

import math

import torch


class Line:
    """Fits y = 3x - 1 and tells the mean of x, or how often its loss was asked for.

    From step `breaks` on the loss is no number, and after `stop` steps the training ends as by a kill.
    """

    def __init__(self, device: str, breaks: float = math.inf, stop: float = math.inf, counts=False):
        self.breaks, self.stop, self.counts, self.calls = breaks, stop, counts, 0

    def build(self):
        return torch.nn.Linear(1, 1)

    def loss(self, model, batch_size, draws):
        self.calls += 1
        if self.calls > self.stop:
            raise RuntimeError("killed")
        x = torch.randn(batch_size, 1, generator=draws.torch)
        loss = (model(x) - (3 * x - 1)).square().mean()
        told = {"z": 1.0, "a": float(self.calls)} if self.counts else {"x": x.mean().item()}
        return (loss * math.nan if self.calls > self.breaks else loss), told
