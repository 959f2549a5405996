"""A random vision transformer of a few thousand weights, with its image processor, in transformers' form."""

from pathlib import Path


def save_tiny_dino(folder: Path, kind: str = "dinov2", seed: int = 0) -> Path:
    """Write configuration, weights and image processor of a "dinov2" or a "vit"; returns the folder."""
    import torch
    from transformers import AutoConfig, AutoModel, BitImageProcessor, ViTImageProcessor

    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = AutoConfig.for_model(kind, image_size=28, patch_size=7, initializer_range=0.3, **shape)
    AutoModel.from_config(config).save_pretrained(folder)
    crop = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}}
    whole = {"size": {"height": 28, "width": 28}}
    processor = BitImageProcessor(**crop) if kind == "dinov2" else ViTImageProcessor(**whole)
    processor.save_pretrained(folder)
    return folder
