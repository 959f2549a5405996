"""DreamBooth: Ruiz et al., arXiv 2208.12242, with prior preservation on pictures the model made itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from persongen_lib.backbones import Backbone, Conditioning, overlay
from persongen_lib.data import Concept, read_picture
from persongen_lib.finetune.method import METHODS, Method
from persongen_lib.sampling import Prompts, read_pictures, run_sample, sample_spec
from persongen_lib.specs import FineTuneSpec, UserError, check_template
from persongen_lib.store import Store

LAYERS = {
    "cross_attention": lambda name: ".attn2." in name,
    "attention": lambda name: ".attn1." in name or ".attn2." in name,
    "qkv": lambda name: any(f".{part}." in name for part in ("to_q", "to_k", "to_v")),
    "all": lambda name: True,
}


@METHODS.register("dreambooth")
@dataclass(frozen=True, kw_only=True)
class DreamBooth(Method):
    """Train layers of the denoiser, and the placeholder's embedding, on "a photo of sks dog".

    A step takes `batch_size` pictures of the concept and as many class pictures, whose loss counts
    `prior_weight` times; with `prior_weight` 0 there are no class pictures. `train` chooses the layers,
    `token_learning_rate` 0 leaves the text encoder alone. `template` makes the training prompts.
    """

    learning_rate: float = 1e-3
    token_learning_rate: float = 5e-3
    train: Literal["cross_attention", "attention", "qkv", "all"] = "cross_attention"
    batch_size: int = 4
    prior_weight: float = 1.0
    num_class_images: int = 48
    class_num_steps: int = 25
    class_guidance_scale: float = 4.0
    template: str = "a photo of {}"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template(self.template)
        if min(self.learning_rate, self.token_learning_rate, self.prior_weight) < 0:
            raise UserError("learning rates and prior_weight of dreambooth must be 0 or more")
        if max(self.learning_rate, self.token_learning_rate) == 0:
            raise UserError("dreambooth has nothing to train: one of its learning rates must be above 0")
        for name in ("batch_size", "num_class_images", "class_num_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} of dreambooth must be 1 or more")

    def start(
        self, spec: FineTuneSpec, backbone: Backbone, concept: Concept, store: Store
    ) -> DreamBoothTraining:
        with torch.no_grad():
            instances = backbone.encode_images(concept.images)
            priors = self._class_latents(spec, backbone, store) if self.prior_weight else None
        return DreamBoothTraining(self, backbone, spec.token, spec.class_name, instances, priors)

    def _class_latents(self, spec: FineTuneSpec, backbone: Backbone, store: Store) -> Tensor:
        pictures = sample_spec(
            "superclass",
            prompts=[self.template],
            seeds=range(self.num_class_images),
            num_steps=self.class_num_steps,
            backbone=spec.backbone,
            class_name=spec.class_name,
            token=spec.token,
            guidance_scale=self.class_guidance_scale,
        )
        folder = run_sample(pictures, store, backbone=backbone, kind="class_images")
        images = [read_picture(folder / row["file"]) for row in read_pictures(folder)]
        return torch.cat([backbone.encode_images(images[at : at + 8]) for at in range(0, len(images), 8)])


class DreamBoothTraining:
    """The parameters under training and the loss of a step."""

    def __init__(
        self,
        method: DreamBooth,
        backbone: Backbone,
        token: str,
        class_name: str,
        instances: Tensor,
        priors: Tensor | None,
    ) -> None:
        self.method, self.backbone = method, backbone
        self.instances, self.priors = instances, priors
        prompts = Prompts(method.template, token, class_name)
        self.prompts = [prompts["concept"]] if priors is None else [prompts["concept"], prompts["superclass"]]
        chosen = {
            f"network.{name}": parameter.data.clone()
            for name, parameter in backbone.modules["network"].named_parameters()
            if method.learning_rate > 0 and LAYERS[method.train](f".{name}")
        }
        self._own = overlay.install(backbone.modules, chosen)
        self._layers = {
            name: overlay.parameter_of(backbone.modules, name).requires_grad_() for name in chosen
        }
        self._rows: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        if method.token_learning_rate > 0:
            for table, index in backbone.token_rows(token).items():
                self._train_token_row(table, index)
        self._fixed = None
        if not self._rows:
            with torch.no_grad():
                self._fixed = backbone.encode(self.prompts)

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {**self._layers, **self._rows}

    def groups(self) -> list[dict[str, Any]]:
        rates = (self._layers, self.method.learning_rate), (self._rows, self.method.token_learning_rate)
        return [
            {"params": list(tensors.values()), "lr": rate} for tensors, rate in rates if tensors and rate > 0
        ]

    def loss(self, generator: torch.Generator) -> Tensor:
        half = self.method.batch_size
        chosen = [draw(self.instances, half, generator)]
        if self.priors is not None:
            chosen.append(draw(self.priors, half, generator))
        latents = torch.cat(chosen)
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        levels = self.backbone.scheduler.config.num_train_timesteps
        timesteps = torch.randint(levels, (len(latents),), generator=generator).to(latents.device)
        noisy, target = self.backbone.add_noise(latents, noise, timesteps)
        output = self.backbone.forward(noisy, timesteps, self._conditioning().repeat(half))
        return prior_preservation_loss(output, target, half, self.method.prior_weight)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for parameter in self._layers.values():
            parameter.requires_grad_(False)
            parameter.grad = None
        overlay.install(self.backbone.modules, self._own)

    def _conditioning(self) -> Conditioning:
        return self._fixed if self._fixed is not None else self.backbone.encode(self.prompts)

    def _train_token_row(self, table: str, index: int) -> None:
        module, _, name = table.partition(".")
        embedding = self.backbone.modules[module].get_submodule(name.removesuffix(".weight"))
        row = nn.Parameter(embedding.weight[index].detach().clone())

        def put_row(_, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return torch.where((inputs[0] == index).unsqueeze(-1), row, output)

        self._hooks.append(embedding.register_forward_hook(put_row))
        self._rows[f"{table}[{index}]"] = row


def draw(latents: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` rows of `latents` with replacement."""
    return latents[torch.randint(len(latents), (count,), generator=generator).to(latents.device)]


def prior_preservation_loss(output: Tensor, target: Tensor, half: int, prior_weight: float) -> Tensor:
    """Squared error of the first `half` rows (the concept) plus `prior_weight` times that of the rest."""
    loss = F.mse_loss(output[:half], target[:half])
    if len(output) > half:
        loss = loss + prior_weight * F.mse_loss(output[half:], target[half:])
    return loss
