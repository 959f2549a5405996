"""LoRA: Hu et al., arXiv 2106.09685, through peft."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import short_hash
from persongen_lib.core.lazy import torch
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.finetune.engine.method import METHODS, Method
from persongen_lib.finetune.engine.trainable import Trainable

LARGEST_RANK, LARGEST_ALPHA = 1024, 10_000


@METHODS.register("lora", order=20)
@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """Add B A of rank `rank`, times `alpha` / `rank`, to linear layers and convolutions of the denoiser.

    A starts normal with deviation 1 / rank, B at 0.

    Args:
        learning_rate: Of A and B in the denoiser; 0 leaves it alone.
        text_encoder_learning_rate: Above 0 it adds A and B to the attention of the text encoders too.
        token_learning_rate: Above 0 it trains the placeholder's embedding.
        train: The part of the denoiser.
        rank: From 1 to 1024.
        alpha: From 0 to 10,000; 0 means the rank.

    Raises:
        UserError: The rank or alpha is out of its range.
    """

    usual_steps: ClassVar[int] = 1000
    leaves_model: ClassVar[bool] = True

    learning_rate: float = 1e-4
    text_encoder_learning_rate: float = 0.0
    token_learning_rate: float = 0.0
    train: Literal["cross_attention", "attention", "all"] = "attention"
    rank: int = 4
    alpha: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.rank <= LARGEST_RANK:
            raise UserError(f"rank of lora must be from 1 to {LARGEST_RANK}, not {self.rank}")
        if not 0 <= self.alpha <= LARGEST_ALPHA:
            raise UserError(
                f"alpha of lora must be from 0 (which means the rank) to {LARGEST_ALPHA}, not {self.alpha:g}"
            )

    def prepare(self, trainable: Trainable, spec: FineTuneSpec) -> None:
        backbone = trainable.backbone
        if self.learning_rate:
            wanted = partial(backbone.is_in, self.train)
            self._add(trainable, "network", wanted, self.learning_rate, spec.seed)
        if self.text_encoder_learning_rate:
            for module in backbone.modules:
                if module != "network":
                    wanted = partial(_ends_in, backbone.text_projections)
                    self._add(trainable, module, wanted, self.text_encoder_learning_rate, spec.seed)
        if self.token_learning_rate:
            trainable.train_token(spec.token, self.token_learning_rate)

    def _add(
        self, trainable: Trainable, module: str, wanted: Callable[[str], bool], rate: float, seed: int
    ) -> None:
        from diffusers.utils.peft_utils import recurse_remove_peft_layers
        from peft import LoraConfig, inject_adapter_in_model

        model = trainable.backbone.modules[module]
        layers = [
            name
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and wanted(name)
        ]
        if not layers:  # as in a T5, whose projections have names of their own
            return
        alpha = self.alpha or self.rank
        config = LoraConfig(r=self.rank, lora_alpha=alpha, target_modules=layers)
        inject_adapter_in_model(config, model)
        trainable.on_close(recurse_remove_peft_layers, model)
        generator = torch.Generator().manual_seed(int(short_hash(f"lora {seed} {module}"), 16))
        for layer in layers:
            wrapped = model.get_submodule(layer)
            down, up = (half["default"].weight for half in (wrapped.lora_A, wrapped.lora_B))
            down.data.copy_(torch.randn(down.shape, generator=generator) / self.rank)
            trainable.add({f"{module}.{layer}.lora_A.weight": down}, rate)
            trainable.add({f"{module}.{layer}.lora_B.weight": up}, rate, alpha / self.rank)


def _ends_in(names: Collection[str], layer: str) -> bool:
    return layer.rpartition(".")[2] in names
