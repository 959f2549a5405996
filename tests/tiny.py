"""Tiny random Stable Diffusion pipelines: the same form as real ones, made in a moment."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

import persongen_lib  # noqa: F401 - makes torchvision importable before diffusers asks for it

WORDS = ["a", "photo", "of", "sks", "dog", "cat", "in", "the", "snow", "on", "beach", "and"]


def tiny_pipeline(prediction_type: str = "v_prediction", vae: str = "tiny", seed: int = 0):
    """A random pipeline with 8x8 latents of 4 channels and 16x16 pictures; `vae`: "tiny" or "kl"."""
    from diffusers import (
        AutoencoderKL,
        AutoencoderTiny,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(seed)
    words = ["<|startoftext|>", "<|endoftext|>", *(f"{word}</w>" for word in WORDS)]
    letters = sorted({letter for word in WORDS for letter in word})
    vocabulary = [*words, *letters, *(f"{letter}</w>" for letter in letters if f"{letter}</w>" not in words)]
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
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary), hidden_size=32, intermediate_size=37, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=8, norm_num_groups=8,
    )  # fmt: skip
    if vae == "tiny":
        autoencoder = AutoencoderTiny(
            encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(0, 1),
            num_decoder_blocks=(1, 1), latent_channels=4,
        )  # fmt: skip
    else:
        autoencoder = AutoencoderKL(
            block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type,
        clip_sample=False, set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=autoencoder, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_backbone(prediction_type: str = "v_prediction", vae: str = "tiny", seed: int = 0):
    """The same, wrapped."""
    from persongen_lib.backbones import StableDiffusion

    return StableDiffusion(tiny_pipeline(prediction_type, vae, seed), "tiny")


def save_pictures(folder, count: int = 3, size: int = 20):
    """A folder with random pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(count):
        pixels = np.random.default_rng(at).integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{at}.png")
    return folder
