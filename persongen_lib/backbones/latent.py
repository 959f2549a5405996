"""What latent-diffusion pipelines of diffusers have in common: loading, words, the network's call, pictures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import ImageOps
from PIL.Image import Image, Resampling
from torch import Tensor

from persongen_lib.backbones.attention import AttentionControl, Rows, controlled
from persongen_lib.backbones.backbone import Backbone, Conditioning
from persongen_lib.backbones.noise import NoiseModel
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError


class LatentDiffusion(Backbone):
    """A wrapped diffusers pipeline: text encoders, a denoiser and an autoencoder.

    Args:
        pipeline: a pipeline of the family's `pipeline_class`; its modules are frozen.
        name: the model's name.
        device: where latents are computed; None for the denoiser's device.

    Attributes:
        pipeline_class: the family's pipeline in diffusers.
        load_options: options with which the pipeline is made.
        call_options: the options of its call without which it would change what it is given.
        tokenizers: the tokenizer of each text encoder.
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
    tokenizers: ClassVar[Mapping[str, str]] = {"text_encoder": "tokenizer"}
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
        NoiseModel.of(self.scheduler)  # refused here where it is not understood
        self.modules = {module: getattr(pipeline, part) for module, part in self.original_parts.items()}
        for module in (*self.modules.values(), pipeline.vae):
            module.eval().requires_grad_(False)
        network = self.modules["network"]
        self.device, self.dtype = device or network.device, network.dtype
        size = network.config.sample_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        self.latent_shape = (network.config.in_channels, height, width)
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
        network = self.modules["network"]
        output = network(
            latents.to(self.dtype), timestep=timesteps, added_cond_kwargs=added, return_dict=False, **text
        )[0]
        return output[:, : self.latent_shape[0]].float()

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
        return vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0].float()

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        vae, size = self._pipeline.vae, (self.image_size, self.image_size)
        squares = [ImageOps.fit(image.convert("RGB"), size, Resampling.LANCZOS) for image in images]
        pixels = self._pipeline.image_processor.preprocess(squares).to(self.device, vae.dtype)
        encoded = vae.encode(pixels)
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        return latents.float() * vae.config.scaling_factor

    def latent_masks(self, masks: Sequence[Image]) -> Tensor:
        size = self.latent_shape[:0:-1]
        grids = [np.asarray(ImageOps.fit(mask, size, Resampling.BOX)) for mask in masks]
        return torch.tensor(np.stack(grids), device=self.device).unsqueeze(1) / 255

    def token_rows(self, token: str) -> dict[str, list[int]]:
        rows = {}
        for module, name in self.tokenizers.items():
            tokenizer = getattr(self._pipeline, name)
            rows[f"{module}.{_table(self.modules[module])}"] = found = []
            for word in token.split():
                ids = self._ids(word, name)
                if len(ids) != 1 or ids[0] in (tokenizer.eos_token_id, tokenizer.unk_token_id):
                    raise UserError(
                        f"{word!r} is not one word of {self.name}'s vocabulary: take one that is, as 'sks'"
                    )
                found += ids
            if len(set(found)) < len(found):
                raise UserError(f"the token {token!r} repeats a word: take different ones")
        return rows

    def span(self, before: str, words: str) -> tuple[int, int]:
        first = len(self._pipeline.tokenizer("").input_ids) - 1
        start, stop = (first + len(self._ids(text.strip())) for text in (before, before + words))
        room = self.max_length - 1
        if stop > room:
            raise UserError(
                f"{words!r} lies too far back in the prompt: {self.name} reads {room - first} pieces of words"
            )
        return start, stop

    @property
    def max_length(self) -> int:
        """Length of the conditioning sequence, start and end tokens included."""
        return self._pipeline.tokenizer.model_max_length

    def _ids(self, text: str, tokenizer: str = "tokenizer") -> list[int]:
        return getattr(self._pipeline, tokenizer)(text, add_special_tokens=False).input_ids

    def _warn_of_unknown_words(self, prompts: Sequence[str]) -> None:
        for prompt in prompts:
            if self._pipeline.tokenizer.unk_token_id in self._ids(prompt):
                warnings.warn(f"{self.name} does not know every word of {prompt!r}", stacklevel=3)


def _table(text_encoder: torch.nn.Module) -> str:
    """The embedding table's name; of names for one table (T5's) the last, where the encoder looks words up."""
    table = text_encoder.get_input_embeddings().weight
    parameters = text_encoder.named_parameters(remove_duplicate=False)
    return [name for name, parameter in parameters if parameter is table][-1]
