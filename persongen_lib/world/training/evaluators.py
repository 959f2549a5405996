"""Training of the evaluators: CLIP on pictures and captions, the others on the renderer's ground truth.

All see rendered pictures, pictures decoded from noisy latents, and blurred ones, so that blur does not mislead them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persongen_lib.world.draw.dataset import PAIR, Pictures, words_of
from persongen_lib.world.language.captions import caption
from persongen_lib.world.language.vocabulary import LENGTH, word_tokenizer
from persongen_lib.world.models.networks import HEADS, Reader, SegmenterNetwork, new_clip
from persongen_lib.world.training.precision import mixed_precision
from persongen_lib.world.training.trainer import Draws, Plan

CLIP_PLAN = Plan(
    steps=1_100, batch_size=96, learning_rate=1e-3, flat=0.3, weight_decay=0.1, betas=(0.9, 0.98)
)
SEGMENTER_PLAN = Plan(steps=700, batch_size=48, learning_rate=2e-3, flat=0.3)
ORACLE_PLAN = Plan(steps=2_200, batch_size=96, learning_rate=2e-3, flat=0.3, weight_decay=0.05)
JUDGE_PLAN = Plan(
    steps=2_000, batch_size=96, learning_rate=1e-3, flat=0.3, weight_decay=0.05, warmup=200, seed=1
)
DECODED_SHARE, BLURRED_SHARE = 0.6, 0.2
"""Of the pictures that are kept decoded, and of all."""
REACH = 4
"""The most pixels by which an image is shifted in each direction."""


class Views:
    """Training images as the evaluators see them: rendered or decoded, some blurred, light and noise varied.

    Args:
        data: The folder of rendered images.
        decoded: The file of decoded images that `decode_latents` writes.
        device: "cpu", "cuda" ...
    """

    def __init__(self, data: str, decoded: str, device: str):
        self.pictures, self.device = Pictures(data), device
        self.decoded = np.load(decoded, mmap_mode="r")
        self._rendered, self._decoded = held(self.pictures, device), held(self.decoded, device)

    def __call__(self, rows: np.ndarray, draws: Draws) -> Tensor:
        """(n, 3, 64, 64) in [-1, 1]."""
        return self.shifted(rows, draws)[0]

    def shifted(self, rows: np.ndarray, draws: Draws) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The same, and what shifts another (n, C, 64, 64) tensor alike."""
        pictures = self._rendered(rows)
        replaced = (rows < len(self.decoded)) & (draws.numpy.uniform(size=len(rows)) < DECODED_SHARE)
        pictures[torch.from_numpy(replaced).to(self.device)] = self._decoded(rows[replaced])
        x = pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        blurred = draws.numpy.uniform(size=len(rows)) < BLURRED_SHARE
        if blurred.any():
            index = torch.from_numpy(np.flatnonzero(blurred)).to(self.device)
            small = F.interpolate(
                x[index], scale_factor=float(draws.numpy.uniform(0.5, 0.8)), mode="bilinear", antialias=True
            )
            x[index] = F.interpolate(small, size=64, mode="bilinear")
        by = torch.from_numpy(draws.numpy.uniform(-REACH, REACH + 1, (len(rows), 2)).astype(int))
        move = partial(moved, by=by.to(self.device))
        x = move(x)
        gain = 1 + 0.08 * torch.randn((len(rows), 1, 1, 1), generator=draws.torch, device=self.device)
        noise = torch.randn(x.shape, generator=draws.torch, device=self.device)
        return (x * gain + 0.03 * noise).contiguous(memory_format=torch.channels_last), move


def held(pictures: Pictures | np.ndarray, device: str) -> Callable[[np.ndarray], Tensor]:
    """What gives uint8 images (n, 64, 64, 3) at rows: read from disk on a CPU, else kept in the device's memory."""
    if device == "cpu":
        return lambda rows: torch.from_numpy(pictures[rows])
    kept = torch.from_numpy(np.array(pictures[np.arange(len(pictures))])).to(device)
    return lambda rows: kept[torch.from_numpy(rows).to(device)]


def moved(x: Tensor, by: Tensor) -> Tensor:
    """Images shifted by whole pixels, their edges repeated.

    Args:
        x: (n, C, H, W).
        by: (n, 2) whole numbers, the pixels down and to the right.
    """
    rows, columns = (
        (torch.arange(size, device=x.device) - by[:, k, None]).clamp(0, size - 1)
        for k, size in enumerate(x.shape[2:])
    )
    number = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


class ClipTask:
    """Symmetric contrastive loss of images and captions.

    Args:
        data: The folder of rendered images.
        decoded: The file of decoded images that `decode_latents` writes.
        device: "cpu", "cuda" ...

    Radford et al. 2021.
    """

    def __init__(self, data: str, decoded: str, device: str):
        self.views, self.device = Views(data, decoded, device), device
        self.tokenizer = word_tokenizer()
        self.tokenizer.enable_padding(length=LENGTH)

    def build(self) -> nn.Module:
        return new_clip().to(memory_format=torch.channels_last)

    def loss(self, model: nn.Module, batch_size: int, draws: Draws) -> tuple[Tensor, dict[str, float]]:
        rows = draws.numpy.integers(len(self.views.pictures), size=batch_size)
        captions = [caption(*words_of(self.views.pictures.labels[row]), draws.numpy) for row in rows]
        ids = torch.tensor([e.ids for e in self.tokenizer.encode_batch(captions)], device=self.device)
        x = self.views(rows, draws)
        with mixed_precision(x.device):
            image, text, scale = model(x, ids)
        logits = scale.float() * image.float() @ text.float().T
        target = torch.arange(batch_size, device=self.device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return loss, {"accuracy": (logits.argmax(1) == target).float().mean().item()}


class ReaderTask:
    """Classification by the renderer's labels, and a supervised contrastive loss over identities.

    Half of a batch are pairs of one class, so that the identity embedding must tell individuals of a class apart.

    Args:
        network: Makes what is trained: `OracleNetwork` or `JudgeNetwork`.
        data: The folder of rendered images.
        decoded: The file of decoded images that `decode_latents` writes.
        device: "cpu", "cuda" ...

    Khosla et al. 2020.
    """

    def __init__(self, network: Callable[[], Reader], data: str, decoded: str, device: str):
        self.network = network
        self.views, self.device = Views(data, decoded, device), device
        self.labels = self.views.pictures.labels
        classes = self.labels[::PAIR, 0]
        self.pairs_of = [np.flatnonzero(classes == k) for k in range(len(HEADS["class"]))]

    def build(self) -> nn.Module:
        return self.network().to(memory_format=torch.channels_last)

    def loss(self, model: nn.Module, batch_size: int, draws: Draws) -> tuple[Tensor, dict[str, float]]:
        count = batch_size // PAIR
        one_class = self.pairs_of[draws.numpy.integers(len(self.pairs_of))]
        pairs = np.concatenate(
            [
                draws.numpy.integers(len(self.labels) // PAIR, size=count - count // 2),
                draws.numpy.choice(one_class, count // 2, replace=False),
            ]
        )
        rows = (pairs[:, None] * PAIR + np.arange(PAIR)).reshape(-1)
        labels = torch.from_numpy(self.labels[rows].astype(np.int64)).to(self.device)
        x = self.views(rows, draws)
        with mixed_precision(x.device):
            outputs = model(x)
        losses = [
            F.cross_entropy(outputs[name].float(), labels[:, k], label_smoothing=0.02)
            for k, name in enumerate(HEADS)
        ]
        values = {
            name: (outputs[name].argmax(1) == labels[:, k]).float().mean().item()
            for k, name in enumerate(HEADS)
        }
        pair = torch.from_numpy(pairs).to(self.device).repeat_interleave(PAIR)
        return sum(losses) + identity_loss(outputs["identity"], pair, labels[:, 3] == 0), values


class SegmenterTask:
    """Cross entropy of the renderer's masks, pixel by pixel, and of the subject's color word.

    Args:
        data: The folder of rendered images with their masks.
        decoded: The file of decoded images that `decode_latents` writes.
        device: "cpu", "cuda" ...
    """

    def __init__(self, data: str, decoded: str, device: str):
        self.views, self.device = Views(data, decoded, device), device

    def build(self) -> nn.Module:
        return SegmenterNetwork().to(memory_format=torch.channels_last)

    def loss(self, model: nn.Module, batch_size: int, draws: Draws) -> tuple[Tensor, dict[str, float]]:
        pictures = self.views.pictures
        rows = draws.numpy.integers(len(pictures), size=batch_size)
        x, move = self.views.shifted(rows, draws)
        masks = torch.from_numpy(pictures.masks_at(rows)).to(self.device).float()
        masks = move(masks.unsqueeze(1))[:, 0]
        colors = torch.from_numpy(pictures.labels[rows, 3].astype(np.int64)).to(self.device)
        with mixed_precision(x.device):
            outputs = model(x)
        mask, color = outputs["mask"].float(), outputs["color"].float()
        loss = F.binary_cross_entropy_with_logits(mask, masks) + 0.2 * F.cross_entropy(color, colors)
        found, wanted = mask > 0, masks > 0.5
        values = {
            "iou": ((found & wanted).sum() / (found | wanted).sum()).item(),
            "color": (color.argmax(1) == colors).float().mean().item(),
        }
        return loss, values


def identity_loss(embedding: Tensor, pair: Tensor, own_colors: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss over individuals.

    Args:
        embedding: (n, D) of unit length.
        pair: (n,), the number of the individual that each image shows.
        own_colors: (n,) bool; images whose colors were overridden by a color word are false and take no part.
        temperature: The number by which cosine similarities are divided.

    Returns:
        A scalar.
    """
    embedding, pair = embedding[own_colors], pair[own_colors]
    logits = embedding @ embedding.T / temperature
    self_mask = torch.eye(len(pair), dtype=torch.bool, device=pair.device)
    same = (pair[:, None] == pair[None]) & ~self_mask
    log_probability = logits - logits.masked_fill(self_mask, -torch.inf).logsumexp(1, keepdim=True)
    return -log_probability[same].mean()
