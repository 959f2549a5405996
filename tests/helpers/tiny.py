"""Tiny random pipelines of every family: the same form as real ones, made in a moment."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

import persongen_lib  # noqa: F401 - makes torchvision importable before diffusers asks for it

WORDS = ["a", "photo", "of", "sks", "dog", "cat", "in", "the", "snow", "on", "beach", "and"]
LETTERS = sorted({letter for word in WORDS for letter in word})
FAMILIES = ("sd", "sdxl", "pixart", "sd3", "flux")
FLOWS = ("sd3", "flux")
T5_LENGTH = 20
"""Of the text of flows; diffusers' pipelines are told it as `max_sequence_length`."""
BLOCKS = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
DOWN, UP = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")


def tiny_pipeline(
    prediction_type: str = "v_prediction", vae: str = "tiny", seed: int = 0, family: str = "sd", size: int = 8
):
    """A random pipeline of one of `FAMILIES` with latents of 4 x `size` x `size`.

    Pictures are twice that wide; `vae`: "tiny" or "kl".
    """
    torch.manual_seed(seed)
    makers = {"sd": _sd, "sdxl": _sdxl, "pixart": _pixart, "sd3": _sd3, "flux": _flux}
    pipeline = makers[family](prediction_type, vae, size)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_backbone(
    prediction_type: str = "v_prediction", vae: str = "tiny", seed: int = 0, family: str = "sd", size: int = 8
):
    """The same, wrapped."""
    from persongen_lib.backbones import FAMILIES

    pipeline = tiny_pipeline(prediction_type, vae, seed, family, size)
    return FAMILIES[type(pipeline).__name__](pipeline, "tiny").frozen()


def _sd(prediction_type, vae, size):
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    tokenizer, text_encoder = _clip()
    unet = UNet2DConditionModel(
        sample_size=size, in_channels=4, out_channels=4, down_block_types=DOWN, up_block_types=UP,
        cross_attention_dim=32, attention_head_dim=8, **BLOCKS,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type,
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    return StableDiffusionPipeline(
        vae=_autoencoder(vae), text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _sdxl(prediction_type, vae, size):
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModelWithProjection

    tokenizer, text_encoder = _clip()
    tokenizer_2, text_encoder_2 = _clip(CLIPTextModelWithProjection, projection_dim=16)
    unet = UNet2DConditionModel(
        sample_size=size, in_channels=4, out_channels=4, down_block_types=DOWN, up_block_types=UP,
        cross_attention_dim=64, attention_head_dim=(2, 4), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8, **BLOCKS,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type,
        steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=_autoencoder(vae), text_encoder=text_encoder, text_encoder_2=text_encoder_2, tokenizer=tokenizer,
        tokenizer_2=tokenizer_2, unet=unet, scheduler=scheduler, add_watermarker=False,
    )  # fmt: skip


def _pixart(prediction_type, vae, size):
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel

    tokenizer, text_encoder = _t5(32)
    transformer = PixArtTransformer2DModel(
        num_attention_heads=4, attention_head_dim=12, num_layers=2, cross_attention_dim=48, caption_channels=32,
        sample_size=size, patch_size=size // 4, norm_num_groups=8,
    )  # fmt: skip
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.0001, beta_end=0.02, beta_schedule="linear", prediction_type=prediction_type,
        timestep_spacing="linspace",
    )  # fmt: skip
    return PixArtAlphaPipeline(tokenizer, text_encoder, _autoencoder(vae), transformer, scheduler)


def _sd3(prediction_type, vae, size):
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    tokenizer, text_encoder = _clip(CLIPTextModelWithProjection, projection_dim=16)
    tokenizer_2, text_encoder_2 = _clip(CLIPTextModelWithProjection, projection_dim=24)
    tokenizer_3, text_encoder_3 = _t5(64, model_max_length=T5_LENGTH)
    transformer = SD3Transformer2DModel(
        sample_size=size, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=4, joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=40,
        pos_embed_max_size=3 * size // 4, dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer, FlowMatchEulerDiscreteScheduler(shift=3.0), _autoencoder(vae), text_encoder, tokenizer,
        text_encoder_2, tokenizer_2, text_encoder_3, tokenizer_3,
    )  # fmt: skip


def _flux(prediction_type, vae, size):
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    tokenizer, text_encoder = _clip()
    tokenizer_2, text_encoder_2 = _t5(32, model_max_length=T5_LENGTH)
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, guidance_embeds=True, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    transformer.register_to_config(sample_size=size)  # FLUX's own name none
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    pipeline = FluxPipeline(
        scheduler, _autoencoder(vae), text_encoder, tokenizer, text_encoder_2, tokenizer_2, transformer
    )
    pipeline.default_sample_size = size
    return pipeline


def _t5(width, **more):
    """A tokenizer and a text encoder."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -9.0)]
    pieces += [(f"▁{word}", -2.0) for word in WORDS] + [(letter, -9.0) for letter in LETTERS]
    config = T5Config(vocab_size=len(pieces), d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return T5Tokenizer(vocab=pieces, extra_ids=0, **more), T5EncoderModel(config).eval()


def _clip(model=None, **more):
    """A tokenizer and a text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>", *(f"{word}</w>" for word in WORDS)]
    vocabulary = [*words, *LETTERS, *(f"{letter}</w>" for letter in LETTERS if f"{letter}</w>" not in words)]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            if (parts[0], parts[1]) not in merges:
                merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
            if parts[0] not in vocabulary:
                vocabulary.append(parts[0])
    tokenizer = CLIPTokenizer(vocab={word: at for at, word in enumerate(vocabulary)}, merges=merges)
    tokenizer.model_max_length = 16
    config = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=37, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        **more,
    )  # fmt: skip
    return tokenizer, (model or CLIPTextModel)(config)


def _autoencoder(kind):
    from diffusers import AutoencoderKL, AutoencoderTiny

    if kind == "tiny":
        return AutoencoderTiny(
            encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(0, 1),
            num_decoder_blocks=(1, 1), latent_channels=4,
        )  # fmt: skip
    return AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


def save_pictures(folder, count: int = 3, size: int = 20):
    """A folder with random pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(count):
        pixels = np.random.default_rng(at).integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{at}.png")
    return folder
