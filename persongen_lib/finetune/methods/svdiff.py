"""SVDiff: Han et al., arXiv 2303.11305."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from persongen_lib.adapters.spectral import SHIFT
from persongen_lib.core.lazy import torch
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.finetune.engine.method import METHODS, Method
from persongen_lib.finetune.engine.trainable import Trainable


@METHODS.register("svdiff", order=30)
@dataclass(frozen=True, kw_only=True)
class SVDiff(Method):
    """Train shifts of the singular values of every weight.

    The weights are those of linear layers, convolutions (flattened to out x the rest) and embeddings; of norms, which
    are vectors, the entries are shifted. Decompositions are kept in the user's cache folder (`adapters.spectra`).

    Args:
        learning_rate: Of the shifts in the denoiser; 0 leaves it alone.
        vector_learning_rate: Of the entries of vectors; it trains nothing by itself.
        text_encoder_learning_rate: Above 0 it trains shifts in the text encoders too.
        token_learning_rate: Above 0 it trains the placeholder's embedding.

    Han et al., arXiv 2303.11305, eq. 2: U diag(relu(S + shift)) V^T.
    """

    usual_steps: ClassVar[int] = 2000

    learning_rate: float = 1e-3
    vector_learning_rate: float = field(default=1e-6, metadata={"trains_alone": False})
    text_encoder_learning_rate: float = 0.0
    token_learning_rate: float = 0.0

    def prepare(self, trainable: Trainable, spec: FineTuneSpec) -> None:
        if self.learning_rate:
            self._shift(trainable, "network", self.learning_rate)
        if self.token_learning_rate:
            trainable.train_token(spec.token, self.token_learning_rate)
        if self.text_encoder_learning_rate:
            for module in trainable.backbone.modules:
                if module != "network":
                    self._shift(trainable, module, self.text_encoder_learning_rate)

    def _shift(self, trainable: Trainable, module: str, rate: float) -> None:
        from torch.nn.utils import parametrize

        from persongen_lib.finetune.engine.spectral_shift import SpectralShift

        layers = {
            layer.weight: (name, layer)
            for name, layer in trainable.backbone.modules[module].named_modules(remove_duplicate=False)
            if isinstance(getattr(layer, "weight", None), torch.nn.Parameter)
        }
        for weight, (name, layer) in layers.items():
            shift = SpectralShift(weight)
            parametrize.register_parametrization(layer, "weight", shift, unsafe=True)
            trainable.on_close(parametrize.remove_parametrizations, layer, "weight", False)
            own_rate = self.vector_learning_rate if weight.ndim == 1 else rate
            trainable.add({f"{module}.{name}.weight{SHIFT}": shift.shift}, own_rate)
