"""What a metric is: one file in `persongen_lib.evaluation.metrics` that declares the columns it fills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from persongen_lib.core.parameters import Registry

if TYPE_CHECKING:
    from PIL.Image import Image

    from persongen_lib.data.concepts import Concept

T = TypeVar("T")

COSINE = (-1.0, 1.0)
SHARE = (0.0, 1.0)
PIXELS = "pixels"
"""The source of a metric that needs no model."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the results table, as the catalogue lists it.

    Args:
        name: the column's name in tables.
        title: its name in figures and in tables to read.
        range: lowest and highest value; None for words and counts.
        higher_is_better: None where neither direction is better.
        needs: what an image is compared with: the concept's "references", the "prompt", or the other "images"
            of the same prompt; empty where the image is judged alone.
        kind: the pandas type.
        shown: the place among the main measures of notebook tables; None leaves the column out.
        better: the column that notebook tables show instead where they have it.
        part: "subject" or "background" where a metric that knows masks fills the column, by asking this metric
            about that part of the image alone.
        of: the column of the whole image that such a column repeats.
    """

    name: str
    title: str
    range: tuple[float, float] | None = None
    higher_is_better: bool | None = None
    needs: Literal["references", "prompt", "images", ""] = ""
    kind: Literal["float64", "int64", "string"] = "float64"
    shown: int | None = None
    better: str = ""
    part: Literal["subject", "background", ""] = ""
    of: str = ""


@dataclass(frozen=True)
class Batch:
    """Images that are scored together, with all images of a prompt in one batch.

    Args:
        images: PIL images.
        templates: the prompt of each, with `{}` for the concept ("a photo of {} in the snow").
    """

    images: Sequence[Image]
    templates: Sequence[str]
    _seen: dict[Callable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def seen_by(self, network: Callable[[Sequence[Image]], T]) -> T:
        """What `network` returns for the images; it is called once, however many metrics ask."""
        if network not in self._seen:
            self._seen[network] = network(self.images)
        return self._seen[network]


@dataclass(frozen=True)
class Metric(ABC):
    """Scores of images against one concept.

    A subclass declares `columns` and registers itself with `@METRICS.register(name, order)`; everything else
    that it may declare has a default. `micro_only` metrics know only images of the micro-world. A metric whose
    model can be chosen says in `model_help` what names one: the command line then has the option
    `--<name>-model`. `load_network(source, device)` loads what scores with; metrics that name the same function
    and the same source share one network.

    Args:
        concept: whose images are the references.
        network: what `load_network` returned; None for metrics without it.
        others: the metrics of the same run that come before this one, by name.
    """

    concept: Concept
    network: Any = None
    others: Mapping[str, Metric] = field(default_factory=dict)

    name: ClassVar[str] = ""
    columns: ClassVar[tuple[Column, ...]] = ()
    micro_only: ClassVar[bool] = False
    default_source: ClassVar[str] = PIXELS
    model_help: ClassVar[str] = ""
    load_network: ClassVar[Callable[[str, str], Any] | None] = None

    @classmethod
    def source(cls, model: str | None, micro: bool) -> str:
        """The folder or the name of the model that scores.

        Args:
            model: the user's choice, or None.
            micro: whether the images are of the micro-world.
        """
        return model or cls.default_source

    @classmethod
    def by_default(cls, model: str | None, micro: bool) -> bool:
        """Whether the metric scores where the user names no metrics; for the arguments see `source`."""
        return micro or not cls.micro_only

    @classmethod
    def fills(cls, chosen: Sequence[type[Metric]]) -> tuple[Column, ...]:
        """The columns that the metric fills in a run with the metrics `chosen`."""
        return tuple(column for column in cls.columns if not column.part)

    @abstractmethod
    def __call__(self, batch: Batch) -> dict[str, list]:
        """One value per image for every column that the metric fills; None where a score is not defined."""


METRICS: Registry[Metric] = Registry("metric", "persongen_lib.evaluation.metrics")


def catalogue() -> dict[str, Column]:
    """Every column that a metric can fill, by name, in the order of the results table."""
    chosen = [METRICS[name] for name in METRICS.names()]
    return {column.name: column for metric in chosen for column in metric.fills(chosen)}


def ranges() -> dict[str, tuple[float, float]]:
    """The lowest and the highest score of every column of scores."""
    return {name: column.range for name, column in catalogue().items() if column.range}
