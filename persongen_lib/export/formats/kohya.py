"""A LoRA in the naming of kohya's sd-scripts, which ComfyUI and the like read as well."""

from __future__ import annotations

from persongen_lib.core.lazy import torch
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.export.format import FORMATS, Format, serialized


@FORMATS.register("kohya", order=30)
class KohyaLoRA(Format):
    """<concept>.safetensors; every alpha equals the rank."""

    holds = "LoRA"

    def fits(self, tuned):
        return bool(tuned.layers) and not tuned.has_more and bool(tuned.family.kohya_modules)

    def files(self, tuned):
        family, tensors = tuned.family, {}
        for (module, layer), (down, up) in tuned.layers.items():
            named = family.lora_layer(family.kohya_layers.get(layer, layer)).replace(".", "_")
            start = f"{family.kohya_modules[module]}_{named}"
            tensors[f"{start}.lora_down.weight"] = down
            tensors[f"{start}.lora_up.weight"] = up
            tensors[f"{start}.alpha"] = torch.tensor(float(len(down)))
        return {_file(tuned.spec): serialized(tensors)}

    def loading(self, tuned):
        name = _file(tuned.spec)
        return (
            f"`{name}`, which ComfyUI and the like read as well",
            f'{tuned.load_base()}\npipe.load_lora_weights("FOLDER/{name}")',
        )


def _file(spec: FineTuneSpec) -> str:
    letters = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in spec.concept)
    return f"{letters}.safetensors"
