"""`attach`: a pipeline of diffusers that is called as usual and samples by a strategy."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.loading import load_backbone
from persongen_lib.backbones.schedulers import scheduler_name
from persongen_lib.core.checks import check_known, check_steps, check_words
from persongen_lib.core.errors import UserError
from persongen_lib.sampling.engine.noise import latent_shape
from persongen_lib.sampling.engine.sampler import sample
from persongen_lib.sampling.engine.strategy import Strategy, make_strategy

OUTPUTS = {"pil": "images", "np": "numpy", "pt": "tensors", "latent": "latents"}
"""Diffusers' output types, and ours."""


def attach(pipe: Any, strategy: str = "mixed", *, token: str, class_name: str, **parameters: Any) -> Attached:
    """The pipeline with another way of sampling; the pipeline itself stays as it is.

    Args:
        pipe: a text-to-image pipeline of diffusers, whose weights, scheduler and adapters are sampled as they are at
            each call.
        strategy: one of `list_strategies`.
        token: the placeholder, "sks".
        class_name: the class word, "dog".
        parameters: of the strategy; scales that are not given are shares of the call's `guidance_scale`.

    Raises:
        UserError: another kind of pipeline, an unknown strategy or parameter, or a wrong value.
    """
    load_backbone(pipe)
    words = check_words("token", token), check_words("class_name", class_name)
    return Attached(pipe, make_strategy(strategy, **parameters), *words)


class Attached:
    """A pipeline that samples by a strategy; everything beside its call is the pipeline's own."""

    def __init__(self, pipe: Any, strategy: Strategy, token: str, class_name: str) -> None:
        self.pipe, self.strategy, self.token, self.class_name = pipe, strategy, token, class_name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["pipe"], name)

    def to(self, *args: Any, **kwargs: Any) -> Attached:
        """Move the pipeline; see diffusers."""
        self.pipe.to(*args, **kwargs)
        return self

    def __call__(
        self,
        prompt: str | Sequence[str],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        num_images_per_prompt: int = 1,
        generator: Generator | Sequence[Generator] | None = None,
        latents: Tensor | None = None,
        guidance_rescale: float = 0.0,
        clip_skip: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        **others: Any,
    ) -> Any:
        """Sample as the pipeline's own call does, with the strategy in the place of plain guidance.

        Args:
            prompt: with the placeholder and the class word, or the placeholder alone: "a photo of sks dog".
            height: of the images in pixels; None for the model's own.
            width: of the images in pixels; None for the model's own.
            num_inference_steps: None for the pipeline's own default.
            guidance_scale: the total that the strategy shares out, from 1; None for the pipeline's own default.
            negative_prompt: what guidance leads away from.
            num_images_per_prompt: images per prompt.
            generator: of the initial noise; one, or one per image.
            latents: unit-variance noise (images, C, H, W) in place of a generator.
            guidance_rescale: from 0 to 1, the share of rescaled guidance.
            clip_skip: how many of the last layers of CLIP text encoders are left out.
            output_type: "pil", "np", "pt" or "latent".
            return_dict: whether diffusers' output class is returned, or a tuple.
            others: nothing else is understood.

        Raises:
            UserError: an argument that is not understood, a wrong value, or a prompt without the placeholder.
        """
        check_known(
            "argument", others, _ARGUMENTS, where=f" of a pipeline with {self.strategy.name} attached"
        )
        check_known("output_type", [output_type], OUTPUTS)
        check_steps(num_images_per_prompt, what="num_images_per_prompt")
        backbone = load_backbone(self.pipe)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        templates = [self._template(one) for one in prompts]
        steps = check_steps(num_inference_steps or self._usual("num_inference_steps"))
        total = self._usual("guidance_scale") if guidance_scale is None else guidance_scale
        if not isinstance(total, int | float) or total < 1:
            raise UserError(f"guidance_scale must be a number from 1, not {total!r}")
        strategy = self.strategy.resolved(float(total), steps)
        count = len(templates) * num_images_per_prompt
        if latents is None:
            shape = (count, *latent_shape(backbone, height, width))
            latents = _noise(shape, generator, backbone)
        refine = (strategy.refine_steps, steps, *latents.shape)
        result = sample(
            backbone, strategy, templates, self.token, self.class_name, steps, latents=latents,
            output=OUTPUTS[output_type], scheduler=self._scheduler(), batch_size=count, height=height, width=width,
            refine_noise=_noise(refine, generator, backbone) if strategy.refine_steps else None,
            negative_prompt=negative_prompt or "", clip_skip=clip_skip, guidance_rescale=guidance_rescale,
        )  # fmt: skip
        self.pipe.maybe_free_model_hooks()
        return self._output(result.latents if output_type == "latent" else result.images, return_dict)

    def _template(self, prompt: str) -> str:
        """The prompt with `{}` for "sks dog", or for "sks" where the class word does not follow."""
        words = rf"(?<!\w){re.escape(self.token)}(?:\s+{re.escape(self.class_name)})?(?!\w)"
        template, found = re.subn(words, "{}", prompt)
        if found != 1:
            raise UserError(
                f"the prompt {prompt!r} must say '{self.token} {self.class_name}' or '{self.token}' exactly once"
            )
        return template

    def _usual(self, argument: str) -> Any:
        return inspect.signature(self._own_class.__call__).parameters[argument].default

    @property
    def _own_class(self) -> type:
        """The class of diffusers that the pipeline is of, or is derived from."""
        return next(
            cls for cls in type(self.pipe).__mro__ if cls.__module__.startswith("diffusers.pipelines.")
        )

    def _scheduler(self) -> str:
        """Our name for the pipeline's scheduler."""
        own = self.pipe.scheduler
        if own.config.get("algorithm_type") == "sde-dpmsolver++":
            return "dpm++-sde"
        try:
            return scheduler_name(type(own).__name__)
        except UserError:
            raise UserError(
                f"the pipeline's scheduler {type(own).__name__} is not offered: give it another one, as "
                "pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)"
            ) from None

    def _output(self, images: Any, return_dict: bool) -> Any:
        """Images in the output class of the pipeline, as its own call returns them."""
        module = inspect.getmodule(self._own_class)
        classes = [
            cls
            for name, cls in vars(module).items()
            if name.endswith("PipelineOutput") and isinstance(cls, type)
        ]
        flagged = (
            {"nsfw_content_detected": None} if "nsfw_content_detected" in classes[0].__annotations__ else {}
        )
        if not return_dict:
            return images, *flagged.values()
        return classes[0](images=images, **flagged)


_ARGUMENTS = tuple(
    name
    for name, parameter in inspect.signature(Attached.__call__).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD and name != "self"
)


def _noise(shape: Sequence[int], generator: Any, backbone: Backbone) -> Tensor:
    """Noise as diffusers' pipelines draw it; one generator per image draws along the images."""
    from diffusers.utils.torch_utils import randn_tensor

    many = isinstance(generator, list | tuple)
    images = shape[-4]
    if many and len(generator) != images:
        raise UserError(f"give one generator, or {images}, one per image, not {len(generator)}")
    if not many or len(shape) == 4:
        drawn = list(generator) if many else generator
        return randn_tensor(shape, generator=drawn, device=backbone.device, dtype=backbone.dtype).float()
    rest = (*shape[:-4], *shape[-3:])
    draws = [
        randn_tensor(rest, generator=one, device=backbone.device, dtype=backbone.dtype) for one in generator
    ]
    return torch.stack(draws, dim=len(shape) - 4).float()
