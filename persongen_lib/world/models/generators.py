"""The networks of the micro-world's text-to-image models."""

from __future__ import annotations

from persongen_lib.world.language.vocabulary import LENGTH, clip_tokenizer


def new_autoencoder():
    """A random autoencoder of the micro-world's form."""
    from diffusers import AutoencoderTiny

    width = (48, 48, 48)
    return AutoencoderTiny(
        encoder_block_out_channels=width,
        decoder_block_out_channels=width,
        latent_channels=8,
        num_encoder_blocks=(0, 1, 2),
        num_decoder_blocks=(3, 1, 1),
        act_fn="relu",
    )


SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


WIDTH = 128


def new_text_encoder():
    """A random CLIP text encoder over the vocabulary of the micro-world."""
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = clip_tokenizer()
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=WIDTH,
        )
    )


def new_sd_network():
    """A Stable-Diffusion-shaped UNet on (8, 16, 16) latents with attention at 8 x 8."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=(64, 160),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 5),
        norm_num_groups=16,
        cross_attention_dim=WIDTH,
    )


NETWORKS = {"sd": new_sd_network}
