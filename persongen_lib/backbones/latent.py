"""What latent-diffusion pipelines of diffusers have in common: loading, words, the network's call, pictures."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from PIL import ImageOps
from PIL.Image import Image, Resampling

from persongen_lib.adapters.host import Host
from persongen_lib.adapters.overlay import Misfit
from persongen_lib.adapters.rows import split_row
from persongen_lib.backbones.amounts import images_at_once
from persongen_lib.backbones.attention import AttentionControl, Rows, controlled
from persongen_lib.backbones.backbone import MARKS, Conditioning, Weights
from persongen_lib.backbones.extra_attention import ExtraAttention, marked
from persongen_lib.backbones.noise import Kind
from persongen_lib.backbones.offloading import check_reachable, execution_device
from persongen_lib.backbones.settings import LatentScale, check_network
from persongen_lib.backbones.single_file import checkpoint_keys
from persongen_lib.backbones.sources import Source
from persongen_lib.backbones.tuners import adapters_at, check_not_fused, tuner_layers, tuner_state, unwrapped
from persongen_lib.backbones.words import TokenizedWords
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"
"""What transformers calls its warning of a text that is not truncated yet."""


class LatentDiffusion(TokenizedWords):
    """A wrapped diffusers pipeline: text encoders, a denoiser and an autoencoder.

    Args:
        pipeline: a pipeline of the family's `pipeline_class`, which stays as it is.
        name: the model's name.
        device: where latents are computed; None for where the pipeline computes.

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
        checkpoint_part: what the names of some tensors begin with in a single file of the whole model; without, there
            is no such form.
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
    checkpoint_part: ClassVar[str] = ""
    largest_side: ClassVar[int] = 1024

    def __init__(self, pipeline, name: str = "", device: torch.device | None = None) -> None:
        super().__init__()
        self.name, self._pipeline, self._device = name, pipeline, device
        if self.noise_model.kind != self.kind:  # a scheduler that is not understood is refused here
            raise UserError(
                f"a {self.family} model predicts {self.kind}, but its scheduler {type(self.scheduler).__name__} is "
                f"for {self.noise_model.kind}: give the model its own scheduler"
            )
        network = self.modules["network"]
        config = self.network_config(network.config)
        check_network(config, pipeline.vae.config, self.conditions)
        self._scale = LatentScale.of(pipeline.vae)
        size = config["sample_size"]
        height, width = size if isinstance(size, list | tuple) else (size, size)
        self.latent_shape = (config["in_channels"], height, width)
        self.patch = config.get("patch_size") or 1
        self.image_size = height * pipeline.vae_scale_factor
        self._weights_seen: Hashable = None
        self._extra: ExtraAttention | None = None

    @property
    def modules(self):
        parts = {
            module: unwrapped(getattr(self._pipeline, part)) for module, part in self.original_parts.items()
        }
        return {module: part for module, part in parts.items() if part is not None}

    @property
    def scheduler(self):
        return self._pipeline.scheduler

    @property
    def device(self):
        return self._device or execution_device(self._pipeline)

    @property
    def dtype(self):
        return self.modules["network"].dtype

    @property
    def state(self):
        readers = [self.modules[module] for module in self.tokenizers if module in self.modules]
        tables = [reader.get_input_embeddings().weight for reader in readers]
        words = tuple((id(table), table._version, len(table)) for table in tables)
        return *super().state, words, tuner_state(readers)

    def frozen(self) -> Self:
        """The same, with networks in evaluation mode and without gradients: for a pipeline that is our own."""
        for module in (*self.modules.values(), self._pipeline.vae):
            module.eval().requires_grad_(False)
        return self

    @classmethod
    def load(
        cls,
        place: Source,
        device: torch.device,
        dtype: torch.dtype,
        compile: bool = False,
        channels_last: bool = False,
        vae_slicing: bool = False,
        vae_tiling: bool = False,
        offload: bool = False,
        **options: Any,
    ) -> Self:
        """Load from a folder or hub id in diffusers format, or one checkpoint file; safetensors only.

        Args:
            place: where the model is.
            device: where the networks compute.
            dtype: the number type of the networks.
            compile: compile the denoiser.
            channels_last: put convolutions in this memory format.
            vae_slicing: decode images one by one.
            vae_tiling: encode and decode large images in tiles.
            offload: keep on the GPU only the part that computes.
            options: further options of the pipeline's `from_pretrained`: `revision`, `variant`, `vae`.
        """
        pipeline = cls._pipeline_at(place, dtype=dtype, **cls.load_options, **options)
        for name in cls.tokenizers.values():  # `encode` says which words are left out
            getattr(pipeline, name).deprecation_warnings[TOO_LONG] = True
        if offload:
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.to(device)
        backbone = cls(pipeline, place.name, device).frozen()
        if channels_last:
            for module in (backbone.modules["network"], pipeline.vae):
                module.to(memory_format=torch.channels_last)
        if vae_slicing:
            pipeline.vae.enable_slicing()
        if vae_tiling:
            pipeline.vae.enable_tiling()
        if compile:
            backbone.modules["network"].compile()
        return backbone

    @property
    def vae_tiling(self):
        return bool(getattr(self._pipeline.vae, "use_tiling", False))

    def adapter_host(self) -> Host:
        learns = hasattr(self._pipeline, "load_textual_inversion")
        encoders = (
            {module: self.embedding_keys.get(module, "") for module in self.tokenizers} if learns else {}
        )
        return Host(self.name, self.pipeline_class, self.modules, self.original_parts, encoders)

    def load_adapter(self, adapter: Any, scale: float = 1.0) -> None:
        check_reachable(self.modules.values())
        check_not_fused(self.modules.values())
        super().load_adapter(adapter, scale)

    def unload_adapter(self) -> None:
        if self.adapter is not None:
            check_not_fused(self.modules.values())
        if self._extra is not None:
            self._extra.remove()
        self._extra, self._placeholders = None, set()
        super().unload_adapter()

    def _extend(self, extra: Sequence[Mapping[str, Tensor]]) -> None:
        super()._extend(extra)
        if not extra:
            return
        for path in self._room:
            if not self.is_in("cross_attention_kv", f"{path.removeprefix('network.')}.to_k"):
                raise Misfit(path)
        places = [split_row(name) for name in extra[0]]
        reader = f"{next(iter(self.tokenizers))}."
        self._placeholders = {row for table, row in filter(None, places) if table.startswith(reader)}
        self._extra = ExtraAttention({layer: partial(_constant, layer) for layer in self._room.values()})

    @classmethod
    def _pipeline_at(cls, place: Source, **options: Any) -> Any:
        import diffusers

        made = getattr(diffusers, cls.pipeline_class)
        if place.file is None:
            return made.from_pretrained(place.folder or place.repo, use_safetensors=True, **options)
        part = cls.checkpoint_part
        if not part:
            raise UserError(
                f"one checkpoint file of a {cls.pipeline_class} is not read: give a diffusers folder or a hub id"
            )
        if not any(name.startswith(part) for name in checkpoint_keys(place.file)):
            raise UserError(
                f"{place.file} is no checkpoint of a whole {cls.pipeline_class}, which its configuration in "
                f"{place.folder} is of: give the configuration of its own family, or a diffusers folder"
            )
        pipeline = made.from_single_file(
            str(place.file), config=str(place.folder), local_files_only=True, **options
        )
        for name, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module) and any(weight.is_meta for weight in module.parameters()):
                raise UserError(
                    f"{place.file} lacks weights of the {name}: give the checkpoint of a whole model"
                )
        return pipeline

    @classmethod
    def is_in(cls, part: str, name: str) -> bool:
        """Whether a layer or a parameter of the denoiser belongs to a part, one of `layers`."""
        check_known(f"part of a {cls.family} network", [part], cls.layers)
        return any(piece in f".{name}." for piece in cls.layers[part])

    @classmethod
    def network_config(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The denoiser's config, whose in_channels, out_channels, patch_size and sample_size are of the latents."""
        return config

    @staticmethod
    def lora_layer(layer: str) -> str:
        """A layer's name in LoRA files: what a CLIPTextModel of transformers 5 calls "encoder" has a prefix there."""
        return f"text_model.{layer}" if layer.startswith("encoder.") else layer

    def forward(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        text, latents = dict(conditioning.tensors), latents.to(self.dtype)
        added = {name: text.pop(name) for name in self.added if name in text}
        for condition, values in self.size_conditions(*latents.shape[2:]).items():
            columns = [latents.new_full((len(latents),), value) for value in values]
            added[condition] = torch.stack(columns, 1)
        network, marks = self.modules["network"], text.pop(MARKS, None)
        with marked(self._extra, marks):
            output, *_ = network(
                latents, timestep=timesteps, added_cond_kwargs=added, return_dict=False, **text
            )
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

    def check_original(self) -> None:
        if not tuner_layers(self.modules.values()):
            super().check_original()

    @contextmanager
    def using(self, weights: Weights) -> Iterator[None]:
        if weights == "personalized":
            with super().using(weights):
                yield
            return
        modules = list(self.modules.values())
        if (seen := tuner_state(modules)) != self._weights_seen:
            self._between.clear()
            self._weights_seen = seen
        with adapters_at(modules, 0.0 if weights == "original" else weights), super().using(weights):
            yield

    def by_pipeline(
        self, pipeline: Any, prompt: str, noise: Tensor, num_steps: int, guidance_scale: float
    ) -> Tensor:
        """Latents (rows, C, H, W) that a pipeline of the family samples from one prompt by its own call.

        Args:
            pipeline: the pipeline.
            prompt: the prompt of all rows.
            noise: of unit variance, (rows, C, H, W).
            num_steps: the number of steps.
            guidance_scale: of guidance away from the empty prompt, above 1.
        """
        return pipeline(
            prompt, num_images_per_prompt=len(noise), num_inference_steps=num_steps, latents=noise,
            guidance_scale=guidance_scale, output_type="latent", **self.call_options,
        ).images  # fmt: skip

    def decode(self, latents: Tensor) -> list[Image]:
        processor = self._pipeline.image_processor
        with torch.no_grad():
            return processor.numpy_to_pil(processor.pt_to_numpy(self.pixels(latents)))

    def pixels(self, latents: Tensor) -> Tensor:
        vae = self._pipeline.vae
        with torch.no_grad(), self._exact(overflows(vae)):
            pixels = self._pixels(latents)
        if vae.dtype != torch.float32 and not (fine := pixels.isfinite().flatten(1).all(1)).all():
            with torch.no_grad(), self._exact():
                pixels[~fine] = self._pixels(latents[~fine])
        if not pixels.isfinite().all():
            raise UserError(
                f"{self.name}'s autoencoder gives values that are not finite: lower the guidance, or check the "
                "autoencoder's weights"
            )
        return self._pipeline.image_processor.postprocess(pixels, output_type="pt")

    @contextmanager
    def _exact(self, wanted: bool = True) -> Iterator[None]:
        """The autoencoder in fp32 in a block."""
        vae, dtype = self._pipeline.vae, self._pipeline.vae.dtype
        if wanted:
            vae.to(torch.float32)
        try:
            yield
        finally:
            if wanted:
                vae.to(dtype)

    def _pixels(self, latents: Tensor) -> Tensor:
        vae = self._pipeline.vae
        own = self._scale.to_own(latents).to(vae.dtype)
        at_once = images_at_once(*(side * self.pixels_per_latent for side in latents.shape[2:]))
        return torch.cat([vae.decode(part, return_dict=False)[0].float() for part in own.split(at_once)])

    def encode_images(self, images: Sequence[Image], size: tuple[int, int] | None = None) -> Tensor:
        size = size or (self.image_size, self.image_size)
        fitted = [ImageOps.fit(image.convert("RGB"), size, Resampling.LANCZOS) for image in images]
        at_once = images_at_once(*size)
        with torch.no_grad(), self._exact(overflows(self._pipeline.vae)):
            parts = [self._encoded(fitted[at : at + at_once]) for at in range(0, len(fitted), at_once)]
        return self._scale.from_own(torch.cat(parts).float())

    def _encoded(self, images: Sequence[Image]) -> Tensor:
        vae = self._pipeline.vae
        pixels = self._pipeline.image_processor.preprocess(list(images)).to(self.device, vae.dtype)
        encoded = vae.encode(pixels)
        return encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()

    def latent_masks(self, masks: Sequence[Image], size: tuple[int, int] | None = None) -> Tensor:
        width, height = size or (self.image_size, self.image_size)
        grid = (width // self.pixels_per_latent, height // self.pixels_per_latent)
        grids = [np.asarray(ImageOps.fit(mask, grid, Resampling.BOX)) for mask in masks]
        return torch.tensor(np.stack(grids), device=self.device).unsqueeze(1) / 255

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Its networks by name: `modules`, and the autoencoder as "vae"."""
        return {**self.modules, "vae": self._pipeline.vae}

    @property
    def pixels_per_latent(self) -> int:
        """Pixels of an image's side per entry of its latents' side."""
        return self._pipeline.vae_scale_factor


def _constant(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """The extra keys and values of a layer, (1, n, inner width)."""
    return layer.extra_k[None], layer.extra_v[None]


def overflows(vae: torch.nn.Module) -> bool:
    """Whether an autoencoder is in fp16 and says that it must not be, as SDXL's does."""
    return vae.dtype == torch.float16 and bool(vae.config.get("force_upcast"))
