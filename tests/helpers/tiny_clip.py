"""A random CLIP of a few thousand weights in open_clip's folder form, with a word tokenizer."""

import json
from pathlib import Path

WORDS = (
    "a",
    "photo",
    "of",
    "dog",
    "cat",
    "teapot",
    "in",
    "on",
    "the",
    "snow",
    "beach",
    "grass",
    "wearing",
    "hat",
)


def save_tiny_clip(folder: Path, seed: int = 0) -> Path:
    """Write config, weights and tokenizer for 64 x 64 pictures; returns the folder."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    vocabulary = {
        word: index for index, word in enumerate(("[pad]", "[start]", *WORDS, "[unknown]", "[end]"))
    }
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[unknown]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, vocabulary[name]) for name in ("[start]", "[end]")]
    words.post_processor = processors.TemplateProcessing(single="[start] $A [end]", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[pad]",
        bos_token="[start]",
        eos_token="[end]",
        unk_token="[unknown]",
    ).save_pretrained(folder)
    model = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": len(vocabulary),
            "hf_tokenizer_name": "tokenizer",
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    }
    half = [0.5, 0.5, 0.5]
    preprocessing = {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model, "preprocess_cfg": preprocessing})
    )
    torch.manual_seed(seed)
    network = open_clip.model.CLIP(**json.loads(json.dumps(model)))
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    return folder
