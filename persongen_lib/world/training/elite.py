"""Training of ELITE's mappers for a generator of the micro-world, which stays frozen: tower, global part, local part.

Our differences from Wei et al., arXiv 2302.13848: the target shows the individual of the reference in another scene
(the paper reconstructs the reference itself), one global word is trained instead of five, the vision tower is small
and trained for this alone (the CLIP model of the micro-world judges): first without the generator, to give the class
word and to tell individuals apart, and then together with the global part. Words are drawn to the embedding of their
class word instead of to 0, and some rows of a batch are plain captions, which keep what the new projections make of
other prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from persongen_lib.backbones.extra_attention import ExtraAttention
from persongen_lib.backbones.loading import load_backbone
from persongen_lib.encoders.layers import cross_attention_layers, new_mapper
from persongen_lib.encoders.mapper import PROJECTIONS, Mapper
from persongen_lib.encoders.towers import ConvTower
from persongen_lib.world.draw.dataset import PAIR, Pictures
from persongen_lib.world.draw.scene import CLASSES
from persongen_lib.world.language.captions import PLACEHOLDERS
from persongen_lib.world.models.forms.form import FORMS, Tokens
from persongen_lib.world.training.diffusion import EMPTY
from persongen_lib.world.training.evaluators import identity_loss
from persongen_lib.world.training.noising import Noising
from persongen_lib.world.training.placed_words import PlacedWords
from persongen_lib.world.training.precision import mixed_precision
from persongen_lib.world.training.trainer import Draws, Plan
from persongen_lib.world.training.wordings import Wordings

TOWER_PLAN = Plan(steps=800, batch_size=512, learning_rate=2e-3, flat=0.3, warmup=50, ema=0.99)
GLOBAL_PLAN = Plan(steps=2_000, batch_size=512, learning_rate=5e-4, flat=0.4, warmup=50, ema=0.995)
LOCAL_PLAN = Plan(steps=1_000, batch_size=512, learning_rate=1e-3, flat=0.4, warmup=50, ema=0.995)
PLANS = {"tower": TOWER_PLAN, "global": GLOBAL_PLAN, "local": LOCAL_PLAN}
SIDE = 64
"""Pixels of a side of the tower's pictures."""
GLOBAL_LEVELS = 1
SMALL = 0.15
"""The scale of words at the beginning."""
WORD_WEIGHT, VALUE_WEIGHT = 0.1, 1e-4
"""Of the words' mean squared distance from their class words, and of the local values' mean absolute value."""
IDENTITY_WEIGHT, IDENTITY_WIDTH = 0.05, 64
"""Of the contrastive loss over individuals (tower and global part), and the width of its embedding."""
OUTSIDE = 0.2
"""What a place outside the subject's mask counts in the loss of the global part, beside 1.2 inside."""
TOWER_WEIGHT = 10.0
"""Of the words' mean squared distance where the generator has no say (the tower)."""
PRIOR_SHARE = 0.25
"""Share of a batch that are plain captions (the global part): prior preservation."""

Part = Literal["tower", "global", "local"]


def mappers_in(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a training without those of the head that its contrastive loss needs."""
    return {name: value for name, value in weights.items() if not name.startswith("identity.")}


@dataclass(frozen=True)
class Size:
    """The size of an encoder, so that it takes at most 4 MiB in half precision.

    Args:
        widths: Of the tower's levels: 16 x 16, 8 x 8 and 4 x 4 patches of a picture of 64 pixels.
        words: The width of the hidden layers of the global mapper.
        local: The same of the local mapper.
    """

    widths: tuple[int, ...]
    words: int
    local: int


SIZES = {
    "sd": Size((64, 96, 128), 256, 160),
    "sdxl": Size((56, 80, 112), 128, 96),
    "pixart": Size((48, 72, 104), 128, 64),
}


class EliteTask:
    """Loss of the frozen generator on pictures of individuals that the mapper has seen in another scene.

    Args:
        part: "tower" trains the tower and the word, without the generator; "global" these and the projections of all
            prompts; "local" the local words and their projections, with the loss inside the subject's mask.
        data: The folder of rendered pictures with their masks; pictures 2k and 2k + 1 show one individual.
        latents: The file of their latents.
        generator: The folder of the generator.
        trained: The safetensors file of the finished part before this one; None for the first.
        device: "cpu", "cuda" ...
        prior_share: Of the batch, from 0 to below 1.
    """

    def __init__(
        self,
        part: Part,
        data: str,
        latents: str,
        generator: str,
        trained: str | None,
        device: str,
        prior_share: float = PRIOR_SHARE,
    ):
        self.part, self.device = part, device
        self.trained = load_file(trained) if trained else {}
        self.prior_share = prior_share if part == "global" else 0.0
        self.backbone = load_backbone(generator, device=device, dtype="fp32")
        self.form, self.noising = FORMS[self.backbone.family], Noising(device)
        parts = self.backbone.original_parts.items()
        self.modules = {part: self.backbone.modules[name] for name, part in parts}
        self._read(Pictures(data), latents)
        self.text = PlacedWords(self.backbone, PLACEHOLDERS[0])
        self.classes = torch.stack([self.text.embedding(name) for name in CLASSES])
        self.class_numbers = torch.tensor([self.text.number_of(name) for name in CLASSES], device=device)

    def _read(self, pictures: Pictures, latents: str) -> None:
        """Pictures, masks and latents on the device; pairs whose reference has its own colors."""
        shards = [np.array(shard) for shard in pictures.shards]
        self.pictures = torch.cat([torch.from_numpy(shard).to(self.device) for shard in shards])
        masks = np.concatenate([np.unpackbits(np.asarray(shard), axis=-1) for shard in pictures.masks])
        self.masks = torch.from_numpy(masks).to(self.device)
        scale = float(self.backbone.parts["vae"].config.scaling_factor)
        self.latents = torch.from_numpy(np.load(latents)).to(self.device) * scale
        self.labels = torch.from_numpy(pictures.labels.astype(np.int64)).to(self.device)
        empty = EMPTY if self.part == "global" else 0.0
        self.wordings = Wordings(pictures.labels, self.form, empty, self.device)
        rows = torch.arange(len(self.labels), device=self.device)
        others = rows + 1 - 2 * (rows % PAIR)
        self.pairs = torch.stack([rows, others], 1)[self.labels[:, 3] == 0]

    def build(self) -> nn.Module:
        layers = cross_attention_layers(self.backbone)
        size = SIZES[self.backbone.family]
        self.tower = ConvTower(size.widths)
        self.mapper = new_mapper(self.tower.widths[:GLOBAL_LEVELS], size.words, self.text.width, layers)
        for name, parameter in self.mapper.named_parameters():
            if ".6." in name:  # the last layers: words begin as large as the table's
                parameter.data *= SMALL
        read = next(iter(layers.values())).to_k.in_features
        local = new_mapper(self.tower.widths, size.local, read, layers)
        for layer, attention in layers.items():
            attention.to_k, attention.to_v = (self.mapper.projection(layer, name) for name in PROJECTIONS)
        whole = nn.ModuleDict({"tower": self.tower, "global": self.mapper}).to(self.device)
        if self.part != "local":
            whole["identity"] = nn.Linear(self.tower.widths[0], IDENTITY_WIDTH)
            whole.load_state_dict(self.trained or whole.state_dict())
            return whole.requires_grad_()
        whole.load_state_dict(mappers_in(self.trained))
        whole.requires_grad_(False).eval()
        self.extra = ExtraAttention(
            {attention: self._extra(local, layer) for layer, attention in layers.items()}
        )
        return nn.ModuleDict({"local": local.requires_grad_()})

    def _extra(self, local: Mapper, layer: str):
        def extra() -> tuple[Tensor, Tensor]:
            keys, values = (local.projection(layer, name)(self.local_words) for name in PROJECTIONS)
            self.values.append(values.float().abs().mean())
            return keys, values

        return extra

    def loss(self, model: nn.Module, batch_size: int, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(len(self.pairs), (batch_size,), generator=draws.torch, device=self.device)
        references, targets = self.pairs[chosen].unbind(1)
        if self.part == "tower":
            return self._without_generator(model, references, targets)
        plain = torch.arange(batch_size, device=self.device) < int(self.prior_share * batch_size)
        tokens = self._tokens(targets, plain, draws)
        noisy, timesteps, v = self.noising(self.latents[targets].float(), draws.torch)
        with mixed_precision(self.device):
            features = self.tower(self._seen(references))
            self.text.words = self.mapper.words(features)[:, 0]
            if self.part == "local":
                objects, kept = self._objects(references)
                local = model["local"].local_words(self.tower(objects))
                self.local_words, self.values = local * kept, list[Tensor]()
                self.extra.marks = (tokens.ids == self.text.number).float()
            predicted = self.form.predict(self.modules, tokens, noisy, timesteps)
        errors = (predicted.float() - v).square().mean(1)
        inside = F.avg_pool2d(self.masks[targets].float(), 4)
        if self.part == "local":
            values = torch.stack(self.values).mean()
            loss = _weighted(errors, inside)
            return loss + VALUE_WEIGHT * values, {"values": values.detach()}
        words, diffusion = self._apart(references), _weighted(errors, inside + OUTSIDE)
        identity = self._identity(model["identity"], features, references, targets)
        loss = diffusion + WORD_WEIGHT * words + IDENTITY_WEIGHT * identity
        return loss, {
            "diffusion": diffusion.detach(),
            "words": words.detach(),
            "identity": identity.detach(),
        }

    def _without_generator(
        self, model: nn.Module, references: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        with mixed_precision(self.device):
            features = self.tower(self._seen(references))
            self.text.words = self.mapper.words(features)[:, 0]
        words = self._apart(references)
        identity = self._identity(model["identity"], features, references, targets)
        loss = TOWER_WEIGHT * words + IDENTITY_WEIGHT * identity
        return loss, {"words": words.detach(), "identity": identity.detach()}

    def _apart(self, references: Tensor) -> Tensor:
        """The mean squared distance of the words from the class words."""
        return (self.text.words.float() - self.classes[self.labels[references, 0]]).square().mean()

    def _identity(
        self, head: nn.Module, features: list[Tensor], references: Tensor, targets: Tensor
    ) -> Tensor:
        """The contrastive loss of references and targets, which show the same individuals."""
        with mixed_precision(self.device):
            others = self.tower(self._seen(targets))
            deepest = torch.cat([features[0][:, 0], others[0][:, 0]])
            embedding = F.normalize(head(deepest).float(), dim=-1)
        rows = torch.cat([references, targets])
        return identity_loss(embedding, rows // PAIR, self.labels[rows, 3] == 0)

    def _tokens(self, targets: Tensor, plain: Tensor, draws: Draws) -> Tokens:
        """Captions, the placeholder in the place of the class word but for plain ones."""
        tokens = self.wordings.draw(targets, draws.torch)
        named = tokens.ids == self.class_numbers[self.labels[targets, 0]][:, None]
        return tokens._replace(ids=torch.where(named & ~plain[:, None], self.text.number, tokens.ids))

    def _seen(self, rows: Tensor) -> Tensor:
        """Pictures (n, 3, 64, 64) in [-1, 1]."""
        x = self.pictures[rows].permute(0, 3, 1, 2).float().div(127.5).sub(1)
        return x.contiguous(memory_format=torch.channels_last)

    def _objects(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures on black, and whether each of their 16 x 16 patches is the subject, (n, 256, 1)."""
        masks = self.masks[rows].float().unsqueeze(1)
        kept = F.interpolate(masks, (16, 16), mode="nearest").flatten(2).mT
        return (self._seen(rows) + 1) * masks - 1, kept


def _weighted(errors: Tensor, weights: Tensor) -> Tensor:
    """The mean over images of each image's weighted mean error; both (n, H, W)."""
    return ((errors * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1)).mean()
