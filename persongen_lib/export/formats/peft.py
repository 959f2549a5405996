"""A LoRA as one folder of peft per module, for `PeftModel.from_pretrained`."""

from __future__ import annotations

import json

from persongen_lib.adapters.low_rank import DOWN, UP
from persongen_lib.export.format import FORMATS, Format, serialized


@FORMATS.register("peft", order=20)
class PeftLoRA(Format):
    """adapter_config.json and adapter_model.safetensors in unet/, text_encoder/ ..."""

    holds = "LoRA"

    def fits(self, tuned):
        return bool(tuned.layers) and not tuned.has_more

    def files(self, tuned):
        files = {}
        for module, part in tuned.family.original_parts.items():
            layers = {layer: pair for (own, layer), pair in tuned.layers.items() if own == module}
            if layers:
                tensors = {
                    f"base_model.model.{layer}{half}": tensor
                    for layer, pair in layers.items()
                    for half, tensor in zip((DOWN, UP), pair, strict=True)
                }
                rank = len(next(iter(layers.values()))[0])
                files[f"{part}/adapter_config.json"] = _config(tuned.base, rank, sorted(layers))
                files[f"{part}/adapter_model.safetensors"] = serialized(tensors)
        return files

    def loading(self, tuned):
        network = next(iter(tuned.family.original_parts.values()))
        return (
            f"`{network}/adapter_model.safetensors`, and so every other folder with an adapter_config.json",
            f"{tuned.load_base()}\nfrom peft import PeftModel\n"
            f'PeftModel.from_pretrained(pipe.{network}, "FOLDER/{network}")',
        )


def _config(base: str, rank: int, layers: list[str]) -> bytes:
    config = {
        "base_model_name_or_path": base,
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": layers,
        "inference_mode": True,
    }
    return (json.dumps(config, indent=2) + "\n").encode()
