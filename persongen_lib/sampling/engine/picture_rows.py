"""A line of pictures.jsonl: what a picture is, read strictly, as people write such files too."""

from __future__ import annotations

import reprlib
from typing import Any

from persongen_lib.core.checks import check_inside, check_known, check_seed, check_template
from persongen_lib.core.errors import UserError
from persongen_lib.core.objects import read_object
from persongen_lib.sampling.engine.options import OPTIONS, checked_options

KEYS = ("file", "prompt_index", "template", "prompt", "seed", "evaluations")
NUMBERS = ("prompt_index", "seed", "evaluations")
EXAMPLE = '{"file": "images/1.png", "template": "a photo of {} in the snow"}'


def picture_row(line: str, where: str) -> dict[str, Any]:
    """What a line of pictures.jsonl says.

    Args:
        line: a JSON object with `file` (in the run's folder), and where known `template`, `prompt`, and the whole
            numbers `prompt_index`, `seed` and `evaluations`, and those of `OPTIONS` that the run did not leave out.
        where: file and line, at the beginning of the error.

    Raises:
        UserError: no JSON object, no `file` or one outside the folder, an unknown or a repeated key, or a value
            of another kind.
    """
    row = read_object(line, where)
    if row is None or "file" not in row:
        raise UserError(f"{where} must be a JSON object with the picture's file, such as {EXAMPLE}")
    check_known("key", row, (*KEYS, *OPTIONS), where=f" in {where}")
    check_inside(row["file"], where)
    try:
        if "template" in row:
            check_template(row["template"])
        if not isinstance(row.get("prompt", ""), str):
            raise UserError(f"the prompt must be a text, not {reprlib.repr(row['prompt'])}")
        for name in NUMBERS:
            if name in row:
                check_seed(row[name], name)
        checked_options(**{name: row[name] for name in OPTIONS if name in row})
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return row
