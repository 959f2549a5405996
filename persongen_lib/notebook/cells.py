"""What a chapter samples: its cell with every default filled in, the runs beside it, and variants of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.backbones.defaults import alike
from persongen_lib.data.concepts import load_concept
from persongen_lib.data.prompts import load_prompts
from persongen_lib.study import Cell, run_cell

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


def limits(cell: Cell) -> dict[str, Cell]:
    """Base and superclass sampling of a complete cell, with its total guidance scale and from its noise."""
    scales = ("guidance_scale", "concept_scale", "superclass_scale")
    total = sum(cell.parameters.get(name, 0.0) for name in scales)
    return {
        name: replace(cell, strategy=name, parameters={"guidance_scale": total})
        for name in ("base", "superclass")
    }


def beside_limits(cell: Cell, runs: str | Path = "runs", device: str = "auto") -> pd.DataFrame:
    """The results of base sampling, of a complete cell, and of superclass sampling, one row per image.

    Args:
        cell: Of any strategy; the other two start from its noise.
        runs: The folder of finished work.
        device: "auto", "cpu", "cuda", "cuda:1" ...
    """
    import pandas as pd

    around = limits(cell)
    cells = {"base": around["base"], cell.strategy: cell, "superclass": around["superclass"]}
    return pd.concat([run_cell(one, runs, device).table for one in cells.values()], ignore_index=True)


def elsewhere(cell: Cell, backbones: Sequence[str] | None = None) -> dict[str, Cell]:
    """A complete cell's concept, prompts, noise and strategy on other models, with each model's own defaults.

    Args:
        cell: The cell.
        backbones: Short names or folders; None for the models that are sampled like the cell's, as those of the
            micro-world are.
    """
    names = alike(cell.backbone) if backbones is None else backbones
    return {
        name: complete(replace(cell, backbone=name, loading={}, num_steps=None, parameters={}))
        for name in names
    }


def side_by_models(
    cells: Mapping[str, Cell], prompts: Sequence[str], runs: str | Path = "runs", device: str = "auto"
) -> pd.DataFrame:
    """The results of cells of several models, each between base and superclass sampling of its model.

    Args:
        cells: Complete cells by the name of their model.
        prompts: Some of the cells' templates.
        runs: The folder of finished work.
        device: "auto", "cpu", "cuda", "cuda:1" ...

    Returns:
        One row per image of the first noise; a label is the strategy and the model.
    """
    import pandas as pd

    tables = []
    for name, cell in cells.items():
        few = replace(cell, prompts=tuple(prompts), seeds=cell.seeds[:1])
        table = beside_limits(few, runs, device)
        tables.append(table.assign(label=table["label"] + f", {name.removeprefix('micro-')}"))
    return pd.concat(tables, ignore_index=True)


def variants(
    cell: Cell,
    changes: Mapping[str, Mapping[str, Any]],
    prompts: Sequence[str],
    runs: str | Path = "runs",
    device: str = "auto",
) -> pd.DataFrame:
    """The results of a complete cell with other parameters, between those of base and superclass sampling.

    Args:
        cell: The cell; its own images are taken where nothing changes.
        changes: The parameters that differ, by the label of the variant.
        prompts: Some of the cell's templates.
        runs: The folder of finished work.
        device: "auto", "cpu", "cuda", "cuda:1" ...

    Returns:
        One row per image of the cell's first noise.
    """
    import pandas as pd

    few = replace(cell, prompts=tuple(prompts), seeds=cell.seeds[:1])
    cells = limits(cell)
    own = {
        label: cell
        if all(cell.parameters[name] == value for name, value in change.items())
        else replace(few, parameters={**cell.parameters, **change})
        for label, change in changes.items()
    }
    tables = []
    for label, one in {"base": cells["base"], **own, "superclass": cells["superclass"]}.items():
        table = run_cell(one, runs, device).table
        kept = table["template"].isin(prompts) & (table["seed"] == cell.seeds[0])
        tables.append(table[kept].assign(label=label))
    return pd.concat(tables, ignore_index=True)
