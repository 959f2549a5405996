"""The text-to-image models of the micro-world: small latent diffusion models, their text encoders trained jointly.

v-prediction (Salimans and Ho 2022) on Stable Diffusion's scaled-linear betas; some captions are empty, for guidance. A
middle layer is aligned with the features of an encoder, which makes the loss fall several times faster.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from persongen_lib.world.draw.dataset import Pictures
from persongen_lib.world.models.forms.form import FORMS, Form
from persongen_lib.world.training.alignment import WEIGHT, Alignment, LatentEncoder
from persongen_lib.world.training.noising import Noising
from persongen_lib.world.training.precision import mixed_precision
from persongen_lib.world.training.trainer import Draws, Plan
from persongen_lib.world.training.wordings import Wordings

PLAN = Plan(steps=7_000, batch_size=32, learning_rate=1e-3, flat=0.45, final=0.02, warmup=200, ema=0.999)
EMPTY = 0.1
"""Share of empty captions."""


def latent_scale(latents: np.ndarray) -> float:
    """The factor that gives latents unit deviation (the pipeline's `scaling_factor`), from 4096 of them."""
    return round(1.0 / float(latents[:4096].astype(np.float32).std()), 4)


class DiffusionTask:
    """Loss of a batch of latents and captions, and of the alignment.

    Args:
        data: The folder of rendered pictures, for their labels.
        latents: The file of their latents.
        family: The name of a form.
        encoder: The safetensors file of a trained `LatentEncoder`.
        start: A diffusers folder whose weights are trained on, or None.
        device: "cpu", "cuda" ...
    """

    def __init__(self, data: str, latents: str, family: str, encoder: str, start: str | None, device: str):
        stored = np.load(latents, mmap_mode="c")
        self.scale, self.form, self.device = latent_scale(stored), FORMS[family], device
        self.latents = torch.from_numpy(stored).to(device)
        self.wordings = Wordings(Pictures(data).labels, self.form, EMPTY, device)
        self.start = start
        self.encoder = LatentEncoder().requires_grad_(False).to(device).eval()
        self.encoder.load_state_dict(load_file(encoder))
        self.noising = Noising(device)

    def build(self) -> nn.Module:
        modules = nn.ModuleDict({**self.form.modules(), "alignment": Alignment(self.form.channels)})
        if self.start:
            begin_from(self.form, modules, Path(self.start))
        denoiser = self.form.denoiser(modules)
        denoiser.get_submodule(self.form.aligned).register_forward_hook(self._keep)
        if self.device.startswith("cuda"):
            denoiser.compile()
        return modules

    def _keep(self, layer: nn.Module, inputs: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        self.hidden = output[0] if isinstance(output, tuple) else output

    def loss(self, model: nn.Module, batch_size: int, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        rows = torch.randint(len(self.latents), (batch_size,), generator=draws.torch, device=self.device)
        tokens = self.wordings.draw(rows, draws.torch)
        x0 = self.latents[rows].float() * self.scale
        noisy, timesteps, v = self.noising(x0, draws.torch)
        with mixed_precision(self.device):
            prediction = self.form.predict(model, tokens, noisy, timesteps)
            with torch.no_grad():
                features = self.encoder(x0)
            hidden = self.hidden
            if hidden.ndim == 3:  # the tokens of a transformer
                hidden = hidden.mT.unflatten(2, features.shape[2:])
            aligned = model["alignment"].loss(hidden, features.float())
        diffusion = (prediction.float() - v).square().mean()
        return diffusion + WEIGHT * aligned, {"diffusion": diffusion.detach(), "aligned": aligned.detach()}


def begin_from(form: type[Form], modules: nn.ModuleDict, folder: Path) -> None:
    """Put the weights of a diffusers folder into the modules.

    Attention that the folder lacks begins as if it were not there: its last projection is zero.

    Args:
        form: The family of the modules.
        modules: The networks of the form by name, changed in place.
        folder: A folder with one subfolder of safetensors files per network.

    Raises:
        ValueError: The folder holds weights that the modules have no place for.
    """
    for name in form.modules():
        files = [*(folder / name).glob("*.safetensors")]
        weights = {key: value.float() for file in files for key, value in load_file(file).items()}
        missing, unexpected = modules[name].load_state_dict(weights, strict=False)
        if unexpected:
            raise ValueError(f"{folder / name} does not fit this form: {unexpected[0]}")
        for key in missing:
            if ".proj_out." in key:
                modules[name].get_parameter(key).data.zero_()
