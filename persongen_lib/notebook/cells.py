"""What a chapter samples, with every default filled in and shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from persongen_lib.data.concepts import load_concept
from persongen_lib.data.prompts import load_prompts
from persongen_lib.study import Cell

if TYPE_CHECKING:
    import pandas as pd


def complete(cell: Cell) -> Cell:
    """Fill in what a cell leaves open; parameters of the strategy that are None count as left open.

    Args:
        cell: Its steps and parameters are the backbone's defaults where they are None or missing.

    Returns:
        The cell with templates as prompts, numbers as seeds, its number of steps and every parameter of its strategy.

    Raises:
        UserError: The concept, prompts, seeds, steps, strategy or a parameter is not valid.
    """
    from persongen_lib.sampling import sample_spec

    concept = load_concept(cell.concept, cell.class_name)
    spec = sample_spec(
        cell.strategy,
        load_prompts(cell.prompts, concept.kind),
        cell.seeds,
        cell.num_steps,
        backbone=cell.backbone,
        loading=cell.loading,
        class_name=concept.class_name,
        **{name: value for name, value in cell.parameters.items() if value is not None},
    )
    return replace(
        cell, prompts=spec.prompts, seeds=spec.seeds, num_steps=spec.num_steps, parameters=spec.parameters
    )


def parameter_table(cell: Cell) -> pd.DataFrame:
    """The number of steps and the strategy's parameters of a complete cell, one row each."""
    import pandas as pd

    values = {"num_steps": cell.num_steps, **cell.parameters}
    return pd.Series(values, dtype=object).to_frame(cell.name)
