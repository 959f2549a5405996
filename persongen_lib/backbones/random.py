"""Full-size networks with random weights: what benchmarks need of a model, without its gigabytes.

The denoisers have the public configurations of data/benchmark_configs.json. The text encoders have the right
width, but one layer and the micro-world's words; the autoencoder is a toy. So times are those of the denoiser.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from persongen_lib.core.checks import check_known
from persongen_lib.core.paths import DATA

if TYPE_CHECKING:
    import torch

    from persongen_lib.backbones.backbone import Backbone
    from persongen_lib.backbones.latent import LatentDiffusion


def list_random_models() -> tuple[str, ...]:
    """Names that `random_backbone` knows."""
    return tuple(_known())


def random_backbone(name: str, device: str = "auto", dtype: str = "bf16", seed: int = 0) -> Backbone:
    """A backbone of its family with random weights, made on the device.

    Args:
        name: one of `list_random_models`.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        dtype: "fp32", "bf16" or "fp16".
        seed: of the weights.

    Raises:
        UserError: an unknown name, dtype or device.
    """
    import diffusers
    import torch

    from persongen_lib.backbones.devices import dtype_named, resolve_device

    check_known("random model", [name], _known())
    about, place, number_type = _known()[name], resolve_device(device), dtype_named(dtype)
    with torch.random.fork_rng(), torch.device(place):
        torch.manual_seed(seed)
        parts = {part: make_component(config) for part, config in about["components"].items()}
        vae = diffusers.AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=8,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
    modules = {part: module.to(number_type) for part, module in {**parts, "vae": vae}.items()}
    return assembled(about["pipeline"], modules, name)


def assembled(pipeline: str, modules: dict[str, Any], name: str) -> LatentDiffusion:
    """A backbone of these networks, with the micro-world's words and the usual noise levels.

    Args:
        pipeline: the pipeline class of its family.
        modules: the pipeline's networks, by their names in it.
        name: the name of the backbone.
    """
    import diffusers
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    from persongen_lib.backbones.families import FAMILIES

    check_known("family", [pipeline], FAMILIES)
    family = FAMILIES[pipeline]
    tokenizers = {
        part: _tokenizer(getattr(modules[encoder].config, "max_position_embeddings", 77))
        for encoder, part in family.tokenizers.items()
    }
    with unset_fake_temporarily():  # its constructor reads values
        flow = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler = (
        flow
        if family.kind == "velocity"
        else diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
    )
    whole = getattr(diffusers, family.pipeline_class)(
        **modules, **tokenizers, **family.load_options, scheduler=scheduler
    )
    return family(whole, name).frozen()


def make_component(config: dict[str, Any]) -> torch.nn.Module:
    """A network of diffusers, or a text encoder of transformers for the micro-world's words."""
    import diffusers
    import transformers

    config = dict(config)
    name = config.pop("class")
    if hasattr(diffusers, name):
        return getattr(diffusers, name).from_config(config)
    words = _tokenizer()
    special = {f"{which}_token_id": getattr(words, f"{which}_token_id") for which in ("bos", "eos", "pad")}
    kind = getattr(transformers, name)
    return kind(kind.config_class(**{"vocab_size": len(words), **special, **config}))


def _tokenizer(length: int = 77) -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(DATA / "models/micro-sd/tokenizer", model_max_length=length)


@functools.cache
def _known() -> dict[str, dict[str, Any]]:
    return json.loads((DATA / "benchmark_configs.json").read_text(encoding="utf-8"))
