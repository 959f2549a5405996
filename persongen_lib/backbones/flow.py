"""What the flow-matching families have in common: their layers, how steps are spaced, how training levels are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_TEXT = (".add_q_proj.", ".add_k_proj.", ".add_v_proj.", ".to_add_out.")


class FlowTransformer(LatentDiffusion):
    """A transformer whose image and text attend to each other in joint layers, trained by flow matching.

    None of its layers is cross-attention alone: that part is the text's projections in joint layers, and its keys and
    values are those that joint layers make of the text. Its LoRA files have no kohya form.

    Attributes:
        largest_shift: the shift for the longest sequence where the scheduler's config names none.
    """

    kind = "velocity"
    load_options = {"feature_extractor": None, "image_encoder": None}
    half = "bf16"
    cross_attention = False
    layers = {
        "cross_attention": _TEXT,
        "cross_attention_kv": (".add_k_proj.", ".add_v_proj."),
        "attention": (".attn.", ".attn2."),
        "qkv": (".to_q.", ".to_k.", ".to_v.", *_TEXT[:3]),
        "all": (".",),
    }
    largest_shift: ClassVar[float]

    def spacing(self, num_steps: int, height: int, width: int) -> Mapping[str, Any]:
        """The shift of the noise levels for the number of image tokens, as diffusers' pipelines choose it."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        config = self.scheduler.config
        if not config.get("use_dynamic_shifting"):
            return {}
        tokens = (height // self.patch) * (width // self.patch)
        shift = calculate_shift(
            tokens,
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", self.largest_shift),
        )
        return {"mu": shift}

    def training_timesteps(self, rows: int, generator: torch.Generator) -> Tensor:
        """Logit-normal, with the scheduler's fixed shift: Esser et al., arXiv 2403.03206, equations 19 and 23."""
        config, noise = self.scheduler.config, torch.randn(rows, generator=generator).sigmoid()
        shift = 1.0 if config.get("use_dynamic_shifting") else config.get("shift", 1.0)
        return config.num_train_timesteps * shift * noise / (1 + (shift - 1) * noise)
