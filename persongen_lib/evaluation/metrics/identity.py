"""Identity similarity: is it this very dog, whatever surrounds it?

Micro-world images are scored by its identity encoder, trained to bring images of one individual together and to
keep individuals of a class apart.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from persongen_lib.data.concepts import Concept
from persongen_lib.evaluation.features import mean_cosine
from persongen_lib.evaluation.metric import COSINE, METRICS, Batch, Column, Metric
from persongen_lib.evaluation.micro import ORACLE, load_oracle

if TYPE_CHECKING:
    from torch import Tensor


@METRICS.register("identity", order=40)
class Identity(Metric):
    """`identity`: mean cosine, in [-1, 1], of the image's identity features with every reference's."""

    columns = (
        Column(
            name="identity", title="identity similarity", range=COSINE, higher_is_better=True,
            needs="references", shown=10,
        ),
        Column(
            name="identity_subject", title="identity similarity of the subject", range=COSINE,
            higher_is_better=True, needs="references", part="subject", of="identity",
        ),
    )  # fmt: skip
    micro_only = True
    default_source = ORACLE
    load_network = staticmethod(load_oracle)

    @cached_property
    def references(self) -> Tensor:
        return self.network(self.concept.images).identity

    def __call__(self, batch: Batch) -> dict[str, list]:
        return {"identity": mean_cosine(batch.seen_by(self.network).identity, self.references)}


def reference_identity(concept: Concept, device: str = "cpu") -> float:
    """Mean cosine of the identity features of different references; there must be two of them."""
    features = load_oracle(device=device)(concept.images).identity
    cosines, count = features @ features.T, len(features)
    return float((cosines.sum() - cosines.trace()) / (count * (count - 1)))
