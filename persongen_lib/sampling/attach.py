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
from persongen_lib.sampling.engine.noise import drawn_noise, latent_shape
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
        true_cfg_scale: float | None = None,
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
            guidance_scale: the total that the strategy shares out, from 1; None for the pipeline's own default. Of
                FLUX the guidance that the network takes as a condition, as in diffusers.
            negative_prompt: what guidance leads away from.
            num_images_per_prompt: images per prompt.
            generator: of the initial noise and of the noise that a stochastic scheduler adds; one, or one per image.
            latents: unit-variance noise (images, C, H, W) in place of a generator; of FLUX packed, as in diffusers.
            guidance_rescale: from 0 to 1, the share of rescaled guidance.
            clip_skip: how many of the last layers of CLIP text encoders are left out.
            true_cfg_scale: of FLUX, the total that the strategy shares out, from 1; None for 3.
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
        steps = check_steps(
            self._usual("num_inference_steps") if num_inference_steps is None else num_inference_steps
        )
        total = self._total(backbone, guidance_scale, true_cfg_scale)
        strategy = self.strategy.resolved(total, steps)
        count = len(templates) * num_images_per_prompt
        if latents is None:
            shape = (count, *latent_shape(backbone, height, width))
            latents = drawn_noise(shape, generator, backbone)
        elif self._packs and latents.ndim == 3:
            factor = self.pipe.vae_scale_factor
            sides = [factor * side for side in latent_shape(backbone, height, width)[1:]]
            latents = self.pipe._unpack_latents(latents, *sides, factor)
        one = torch.default_generator if generator is None else generator
        generators = [one] * count if isinstance(one, Generator) else list(one)
        refine = (strategy.refine_steps, steps, *latents.shape)
        result = sample(
            backbone, strategy, templates, self.token, self.class_name, steps, latents=latents,
            output=OUTPUTS[output_type], scheduler=self._scheduler(), batch_size=count, height=height, width=width,
            refine_noise=drawn_noise(refine, generator, backbone) if strategy.refine_steps else None,
            negative_prompt="" if negative_prompt is None else negative_prompt, clip_skip=clip_skip,
            guidance_rescale=guidance_rescale, generators=generators,
        )  # fmt: skip
        self.pipe.maybe_free_model_hooks()
        if output_type != "latent":
            return self._output(result.images, return_dict)
        made = result.latents
        return self._output(self.pipe._pack_latents(made, *made.shape) if self._packs else made, return_dict)

    @property
    def _packs(self) -> bool:
        """Whether the pipeline's latents are packed, two by two, as FLUX's are."""
        return hasattr(self.pipe, "_pack_latents")

    def _total(self, backbone: Backbone, guidance_scale: float | None, true_cfg_scale: float | None) -> float:
        """The total of guidance between branches; what the network takes as a condition is set."""
        name, total = "guidance_scale", guidance_scale
        if "true_cfg_scale" in inspect.signature(self._own_class.__call__).parameters:
            if guidance_scale is not None and backbone.guidance is not None:
                backbone.guidance = guidance_scale
            usual = backbone.usual.guidance_scale
            name, total = "true_cfg_scale", usual if true_cfg_scale is None else true_cfg_scale
        elif true_cfg_scale is not None:
            raise UserError(f"a {self._own_class.__name__} takes no true_cfg_scale: give guidance_scale")
        if total is None:
            total = self._usual("guidance_scale")
        if not isinstance(total, int | float) or total < 1:
            raise UserError(f"{name} must be a number from 1, not {total!r}")
        return float(total)

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
