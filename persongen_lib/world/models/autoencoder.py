"""The autoencoder that all text-to-image models of the micro-world share."""

from __future__ import annotations


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
