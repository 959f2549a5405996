"""Table rows: "<parameter>[<row>]" takes the place of one row, such as a placeholder's embedding."""

from __future__ import annotations

import re

from persongen_lib.adapters.kind import Kind
from persongen_lib.adapters.overlay import Misfit, known_as, known_parameter
from persongen_lib.core.lazy import torch

_ROW = re.compile(r"(.+)\[(\d+)\]")


def split_row(name: str) -> tuple[str, int] | None:
    """The table and the number of a row's name, or None for the name of anything else."""
    match = _ROW.fullmatch(name)
    return (match[1], int(match[2])) if match else None


class TableRows(Kind):
    """Rows that replace rows of a table, whatever else changes the table."""

    def owns(self, name):
        return split_row(name) is not None

    def change(self, modules, tensors, scale, changed):
        for name, tensor in tensors.items():
            place = split_row(name)
            if place is None:
                raise Misfit(name)
            table, row = place
            own = known_parameter(modules, table)
            if own.shape[1:] != tensor.shape or row >= len(own):
                raise Misfit(name)
            table = known_as(modules, table, changed)
            if table not in changed:
                changed[table] = torch.empty_like(own).copy_(own)
            new = tensor.to(own.device, own.dtype)
            if scale != 1:
                new = torch.lerp(own[row].float(), new.float(), scale).to(own.dtype)
            changed[table][row].copy_(new)
