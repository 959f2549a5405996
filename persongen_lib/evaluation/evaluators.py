"""The metrics of a run with the models that score: chosen once, loaded when they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.data.concepts import Concept
from persongen_lib.evaluation.metric import METRICS, Column, Metric
from persongen_lib.evaluation.micro import PICTURE_SIZE
from persongen_lib.evaluation.sources import Networks, source_digest, source_name


@dataclass(frozen=True)
class Evaluators:
    """Metrics with the models that score; make them with `choose_evaluators`.

    Args:
        sources: the folder or the name of the model, by metric.
        networks: where their networks are loaded.
    """

    sources: Mapping[str, str]
    networks: Networks = field(default_factory=Networks)
    _described: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def columns(self) -> dict[str, tuple[Column, ...]]:
        """The columns that each metric fills."""
        chosen = [METRICS[name] for name in self.sources]
        return {metric.name: metric.fills(chosen) for metric in chosen}

    @property
    def models(self) -> dict[str, str]:
        """The name of each metric's model, as the results table gives it."""
        return {name: source_name(source) for name, source in self.sources.items()}

    def describe(self) -> dict[str, str]:
        """What scores depend on, by metric: the model's name and digest, and the columns; found out once."""
        if not self._described:
            models = self.models
            for name, columns in self.columns.items():
                filled = ", ".join(column.name for column in columns)
                self._described[name] = f"{models[name]} {source_digest(self.sources[name])}: {filled}"
        return self._described

    def load(self, concept: Concept) -> dict[str, Metric]:
        """The metrics, ready to score images against `concept`; UserError for a model that can't be loaded."""
        loaded: dict[str, Metric] = {}
        for name, source in self.sources.items():
            metric = METRICS[name]
            network = metric.load_network and self.networks(metric.load_network, source)
            loaded[name] = metric(concept, network, dict(loaded))
        return loaded


def choose_evaluators(
    images: str | Path | tuple[int, int],
    metrics: Sequence[str] | None = None,
    models: Mapping[str, str | None] | None = None,
    networks: Networks | None = None,
) -> Evaluators:
    """Choose the metrics and models for a sample run; none is loaded.

    Args:
        images: a sample run's folder, or width and height of its images: images of 64 x 64 pixels are taken for
            the micro-world's.
        metrics: some of the registered metrics; None takes all that apply and have their model on this machine,
            but for face, which must be named.
        models: the model by metric, for metrics whose model can be chosen (`clip`: `local-dir:FOLDER` or
            `ARCHITECTURE/TAG` of open_clip, `dino`: a folder or a model of the hub, `face`: a folder or a name).
        networks: where networks are loaded, which also names the device; the evaluators of several runs can
            share it.

    Raises:
        UserError: for an unknown metric, one that does not apply, a metric whose model can't be chosen, a run
            without images, and a face pack that is not on this machine.
    """
    from persongen_lib.sampling.engine.contact_sheets import picture_size

    size = images if isinstance(images, tuple) else picture_size(images)
    micro = size == (PICTURE_SIZE, PICTURE_SIZE)
    known, models = METRICS.names(), {name: model for name, model in (models or {}).items() if model}
    check_known("metric with a model to choose", models, models_to_choose())
    if metrics is None:
        metrics = [name for name in known if METRICS[name].by_default(models.get(name), micro)]
    check_known("metric", metrics, known)
    if not metrics:
        raise UserError(f"no metric is named: choose from {', '.join(known)}")
    if not micro and (worldly := [name for name in metrics if METRICS[name].micro_only]):
        raise UserError(
            f"the metric {worldly[0]} knows only the {PICTURE_SIZE} x {PICTURE_SIZE} pictures of the "
            f"micro-world, not {size[0]} x {size[1]}: leave it out"
        )
    sources = {name: METRICS[name].source(models.get(name), micro) for name in known if name in metrics}
    return Evaluators(sources, networks or Networks())


def models_to_choose() -> dict[str, str]:
    """What names the model of a metric, for each metric whose model can be chosen."""
    return {name: METRICS[name].model_help for name in METRICS.names() if METRICS[name].model_help}
