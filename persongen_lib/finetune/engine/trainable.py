"""The tensors that a fine-tuning trains, in the places of the model's own during the training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from persongen_lib.adapters import overlay
from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


class Trainable:
    """What a method trains: `tensors` (float32) by the names of the adapter file, each with its learning rate.

    A context manager: at its end the backbone is as it was, bit for bit.
    """

    def __init__(self, backbone: LatentDiffusion) -> None:
        self.backbone = backbone
        self.tensors: dict[str, nn.Parameter] = {}
        self._rates: dict[str, float] = {}
        self._factors: dict[str, float] = {}
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for tensor in self.tensors.values():
            tensor.requires_grad_(False)
            tensor.grad = None
        self._undo.close()

    def add(self, tensors: Mapping[str, nn.Parameter], learning_rate: float, factor: float = 1.0) -> None:
        """Train these tensors.

        Args:
            tensors: Parameters by their names in the adapter file.
            learning_rate: The learning rate of all of them.
            factor: What they are multiplied by in the adapter file.
        """
        for name, tensor in tensors.items():
            tensor.data = tensor.data.float()
            self.tensors[name] = tensor.requires_grad_()
            self._rates[name], self._factors[name] = learning_rate, factor

    def on_close(self, undo: Callable[..., Any], *arguments: Any) -> None:
        """Call this at the end."""
        self._undo.callback(undo, *arguments)

    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups, one per learning rate."""
        rates = dict.fromkeys(self._rates.values())
        return [
            {
                "params": [self.tensors[name] for name, own in self._rates.items() if own == rate],
                "lr": rate,
                "full_lr": rate,
            }
            for rate in rates
        ]

    @property
    def changes_text(self) -> bool:
        """Whether what prompts are encoded to changes in training."""
        return any(not name.startswith("network.") for name in self.tensors)

    def adapter(self, values: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The tensors of the adapter file: of `values` where given (a moving average), or else as they are now."""
        values = self.tensors if values is None else values
        return {
            name: (self._factors[name] * tensor.detach()).cpu().contiguous()
            for name, tensor in values.items()
        }

    def save_memory(self) -> None:
        """Recompute the denoiser's activations in the backward pass instead of keeping them."""
        network = self.backbone.modules["network"]
        network.enable_gradient_checkpointing()
        self.on_close(network.disable_gradient_checkpointing)

    def train_parameters(self, names: Iterable[str], learning_rate: float) -> None:
        """Train parameters of the model's modules themselves, on copies."""
        modules = self.backbone.modules
        copies = {
            name: overlay.parameter_of(modules, name).data.to(torch.float32, copy=True) for name in names
        }
        self.on_close(overlay.install, modules, overlay.install(modules, copies))
        self.add({name: overlay.parameter_of(modules, name) for name in copies}, learning_rate)

    def train_layers(self, part: str, learning_rate: float) -> None:
        """Train a part of the denoiser, one of the family's `layers`."""
        network = self.backbone.modules["network"]
        names = [
            f"network.{name}" for name, _ in network.named_parameters() if self.backbone.is_in(part, name)
        ]
        self.train_parameters(names, learning_rate)

    def train_text_encoders(self, learning_rate: float) -> None:
        """Train all of every text encoder."""
        names = [
            f"{module}.{name}"
            for module, encoder in self.backbone.modules.items()
            if module != "network"
            for name, _ in encoder.named_parameters()
        ]
        self.train_parameters(names, learning_rate)

    def train_token(self, token: str, learning_rate: float, start: str | None = None) -> None:
        """Train the embeddings of the placeholder's words, and no other row of a table.

        Args:
            token: The placeholder, one word or several.
            learning_rate: The learning rate of its embeddings.
            start: The word whose embedding they begin with; None for their own.

        Raises:
            UserError: A word is not one token of the model's own.
        """
        starts = self.backbone.token_rows(start) if start else {}
        for table, numbers in self.backbone.token_rows(token).items():
            module, _, name = table.partition(".")
            embedding = self.backbone.modules[module].get_submodule(name.removesuffix(".weight"))
            rows = {}
            for number in numbers:
                first = starts[table][0] if start else number
                rows[number] = torch.nn.Parameter(embedding.weight[first].detach().clone())
            self.on_close(embedding.register_forward_hook(_putting(rows)).remove)
            self.add({f"{table}[{number}]": row for number, row in rows.items()}, learning_rate)


def _putting(rows: Mapping[int, Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """A forward hook of an embedding that gives these rows instead of the table's."""

    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        for number, row in rows.items():
            output = torch.where((inputs[0] == number).unsqueeze(-1), row.to(output.dtype), output)
        return output

    return hook
