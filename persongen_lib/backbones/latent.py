"""What latent-diffusion pipelines of diffusers have in common: loading, words, the network's call, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from PIL import ImageOps
from PIL.Image import Image, Resampling

from persongen_lib.backbones.attention import AttentionControl, Rows, controlled
from persongen_lib.backbones.backbone import Conditioning
from persongen_lib.backbones.noise import Kind
from persongen_lib.backbones.settings import LatentScale, check_network
from persongen_lib.backbones.words import TokenizedWords
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class LatentDiffusion(TokenizedWords):
    """A wrapped diffusers pipeline: text encoders, a denoiser and an autoencoder.

    Args:
        pipeline: a pipeline of the family's `pipeline_class`; its modules are frozen.
        name: the model's name.
        device: where latents are computed; None for the denoiser's device.

    Attributes:
        pipeline_class: the family's pipeline in diffusers.
        load_options: options with which the pipeline is made.
        call_options: the options of its call without which it would change what it is given.
        kind: what predictions of its models are converted to.
        conditions: the settings of its denoiser that ask for conditions beside text and time.
        added: the tensors of its conditioning that are conditions beside the text.
        layers: parts of the denoiser that can be trained, each with what the dotted names of its parameters contain.
        text_projections: the last names of the attention projections of its text encoders.
        kohya_modules: the prefix of each module in kohya's LoRA files; without prefixes there is no such form.
        kohya_layers: the layers named otherwise in kohya's LoRA files.
        embedding_keys: the key of each text encoder in a file of learned embeddings, for families with several.
        largest_side: pixels of a side of the largest images that its models make.
    """

    pipeline_class: ClassVar[str]
    load_options: ClassVar[Mapping[str, Any]] = {}
    call_options: ClassVar[Mapping[str, Any]] = {}
    kind: ClassVar[Kind] = "epsilon"
    conditions: ClassVar[Mapping[str, Any]] = {}
    added: ClassVar[tuple[str, ...]] = ()
    layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "cross_attention": (".attn2.",),
        "cross_attention_kv": (".attn2.to_k.", ".attn2.to_v."),
        "attention": (".attn1.", ".attn2."),
        "qkv": (".to_q.", ".to_k.", ".to_v."),
        "all": (".",),
    }
    text_projections: ClassVar[tuple[str, ...]] = ("q_proj", "k_proj", "v_proj", "out_proj")
    kohya_modules: ClassVar[Mapping[str, str]] = {}
    kohya_layers: ClassVar[Mapping[str, str]] = {}
    embedding_keys: ClassVar[Mapping[str, str]] = {}
    largest_side: ClassVar[int] = 1024

    def __init__(self, pipeline, name: str = "", device: torch.device | None = None) -> None:
        super().__init__()
        self.name = name
        self.scheduler = pipeline.scheduler
        if self.noise_model.kind != self.kind:  # a scheduler that is not understood is refused here
            raise UserError(
                f"a {self.family} model predicts {self.kind}, but its scheduler {type(self.scheduler).__name__} is "
                f"for {self.noise_model.kind}: give the model its own scheduler"
            )
        self.modules = {module: getattr(pipeline, part) for module, part in self.original_parts.items()}
        for module in (*self.modules.values(), pipeline.vae):
            module.eval().requires_grad_(False)
        network = self.modules["network"]
        check_network(network.config, pipeline.vae.config, self.conditions)
        self._scale = LatentScale.of(pipeline.vae)
        self.device, self.dtype = device or network.device, network.dtype
        size = network.config.sample_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        self.latent_shape = (network.config.in_channels, height, width)
        self.patch = network.config.get("patch_size") or 1
        self.image_size = height * pipeline.vae_scale_factor
        self._pipeline = pipeline

    @classmethod
    def load(
        cls,
        path: str | Path,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        compile: bool = False,
        channels_last: bool = False,
        vae_slicing: bool = False,
        offload: bool = False,
        **options: Any,
    ) -> Self:
        """Load from a folder or hub id in diffusers format; safetensors only. See `load_backbone`.

        Args:
            path: the folder or hub id.
            name: the model's name.
            device: where the networks compute.
            dtype: the number type of the networks.
            compile: compile the denoiser.
            channels_last: put convolutions in this memory format.
            vae_slicing: decode images one by one.
            offload: keep on the GPU only the part that computes.
            options: further options of the pipeline's `from_pretrained`, such as the hub's `revision`.
        """
        import diffusers

        pipeline = getattr(diffusers, cls.pipeline_class).from_pretrained(
            path, dtype=dtype, use_safetensors=True, **cls.load_options, **options
        )
        if offload:
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.to(device)
        backbone = cls(pipeline, name, device)
        if channels_last:
            for module in (backbone.modules["network"], pipeline.vae):
                module.to(memory_format=torch.channels_last)
        if vae_slicing:
            pipeline.vae.enable_slicing()
        if compile:
            backbone.modules["network"].compile()
        return backbone

    @classmethod
    def is_in(cls, part: str, name: str) -> bool:
        """Whether a layer or a parameter of the denoiser belongs to a part, one of `layers`."""
        check_known(f"part of a {cls.family} network", [part], cls.layers)
        return any(piece in f".{name}." for piece in cls.layers[part])

    @staticmethod
    def lora_layer(layer: str) -> str:
        """A layer's name in LoRA files: what a CLIPTextModel of transformers 5 calls "encoder" has a prefix there."""
        return f"text_model.{layer}" if layer.startswith("encoder.") else layer

    def forward(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        text = dict(conditioning.tensors)
        added = {name: text.pop(name) for name in self.added if name in text}
        for condition, values in self.size_conditions(*latents.shape[2:]).items():
            columns = [latents.new_full((len(latents),), value, dtype=self.dtype) for value in values]
            added[condition] = torch.stack(columns, 1)
        network = self.modules["network"]
        output = network(
            latents.to(self.dtype), timestep=timesteps, added_cond_kwargs=added, return_dict=False, **text
        )[0]
        return output[:, : self.latent_shape[0]].float()

    def size_conditions(self, height: int, width: int) -> dict[str, Sequence[float]]:
        """What the denoiser is told of the picture's size, by the names of its conditions.

        Args:
            height: of the latents.
            width: of the latents.
        """
        return {}

    def controlled(self, control: AttentionControl | None, rows: Rows) -> AbstractContextManager[None]:
        return controlled(self.modules["network"], control, rows)

    def decode(self, latents: Tensor) -> list[Image]:
        vae = self._pipeline.vae
        pixels = self._pixels(latents)
        if vae.dtype != torch.float32 and not (fine := pixels.isfinite().flatten(1).all(1)).all():
            dtype = vae.dtype
            vae.to(torch.float32)  # where the autoencoder overflows in fp16, as SDXL's does
            try:
                pixels[~fine] = self._pixels(latents[~fine])
            finally:
                vae.to(dtype)
        if not pixels.isfinite().all():
            raise UserError(
                f"{self.name}'s autoencoder gives values that are not finite: lower the guidance, or check the "
                "autoencoder's weights"
            )
        return self._pipeline.image_processor.postprocess(pixels, output_type="pil")

    def _pixels(self, latents: Tensor) -> Tensor:
        vae = self._pipeline.vae
        return vae.decode(self._scale.to_own(latents).to(vae.dtype), return_dict=False)[0].float()

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        vae, size = self._pipeline.vae, (self.image_size, self.image_size)
        squares = [ImageOps.fit(image.convert("RGB"), size, Resampling.LANCZOS) for image in images]
        pixels = self._pipeline.image_processor.preprocess(squares).to(self.device, vae.dtype)
        encoded = vae.encode(pixels)
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        return self._scale.from_own(latents.float())

    def latent_masks(self, masks: Sequence[Image]) -> Tensor:
        size = self.latent_shape[:0:-1]
        grids = [np.asarray(ImageOps.fit(mask, size, Resampling.BOX)) for mask in masks]
        return torch.tensor(np.stack(grids), device=self.device).unsqueeze(1) / 255
