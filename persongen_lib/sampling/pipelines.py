"""Pipelines of diffusers that sample by a strategy, for code that expects a pipeline's class.

`PersongenStableDiffusionPipeline.from_pretrained(model)` loads a model into one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffusers import PixArtAlphaPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline

from persongen_lib.sampling.attach import attach


class _ByStrategy:
    """Called as `attach`'s pipelines are, with the arguments of `attach` beside."""

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        token: str,
        class_name: str,
        strategy: str = "mixed",
        parameters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Sample by a strategy; `parameters` are the strategy's."""
        attached = attach(self, strategy, token=token, class_name=class_name, **(parameters or {}))
        return attached(prompt, **options)


class PersongenStableDiffusionPipeline(_ByStrategy, StableDiffusionPipeline):
    """Stable Diffusion by a strategy."""


class PersongenStableDiffusionXLPipeline(_ByStrategy, StableDiffusionXLPipeline):
    """Stable Diffusion XL by a strategy."""


class PersongenPixArtAlphaPipeline(_ByStrategy, PixArtAlphaPipeline):
    """PixArt-alpha by a strategy."""
