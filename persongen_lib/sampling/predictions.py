"""Asking the network for branches: encoded once a prompt, batched, remembered for the step, counted."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from persongen_lib.backbones import Backbone, Conditioning, Step
from persongen_lib.specs import check_known, check_template


def branch_prompts(template: str, token: str, class_name: str) -> dict[str, str]:
    """The prompt of each branch: the template filled with "{token} {class}", with the class, with nothing."""
    before, after = check_template(template).split("{}")
    return {
        "null": "",
        "concept": f"{before}{token} {class_name}{after}",
        "superclass": f"{before}{class_name}{after}",
        "empty": " ".join(f"{before} {after}".split()),
    }


class Encoder:
    """Encodes each prompt once with each set of weights, for as long as it lives."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._known: dict[tuple, Conditioning] = {}

    def __call__(self, prompt: str, weights: str) -> Conditioning:
        """One row; must be called with these weights in use."""
        key = prompt, weights, self.backbone.adapter
        if key not in self._known:
            self._known[key] = self.backbone.encode([prompt])
        return self._known[key]


class Predictions:
    """Noise predictions at one step for `latents` (rows, C, H, W), by branch and weights.

    `evaluations` counts network rows a picture; what is asked for again costs nothing.
    """

    def __init__(self, encoder: Encoder, prompts: Mapping[str, str], latents: Tensor, step: Step) -> None:
        self.encoder, self.prompts, self.latents, self.step = encoder, prompts, latents, step
        self.evaluations = 0
        self.known: dict[tuple[str, str], Tensor] = {}

    def __call__(self, *branches: str, weights: str = "personalized") -> list[Tensor]:
        check_known("branch", branches, self.prompts)
        check_known("weights", [weights], ("personalized", "original"))
        missing = [b for b in dict.fromkeys(branches) if (b, weights) not in self.known]
        if missing:
            self.evaluations += len(missing)
            for branch, prediction in zip(missing, self._evaluate(missing, weights), strict=True):
                self.known[branch, weights] = prediction
        return [self.known[branch, weights] for branch in branches]

    def _evaluate(self, branches: list[str], weights: str) -> tuple[Tensor, ...]:
        backbone, pictures = self.encoder.backbone, len(self.latents)
        with backbone.using(weights):
            encoded = Conditioning.cat([self.encoder(self.prompts[b], weights) for b in branches])
            rows = self.latents.repeat(len(branches), 1, 1, 1)
            return backbone.predict_noise(rows, self.step, encoded.repeat(pictures)).split(pictures)
