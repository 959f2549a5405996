"""Which study and which concept the rows of a results table belong to, where names alone don't say it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import ROOT
from persongen_lib.core.sealed import seal_of
from persongen_lib.data.concepts import list_concepts, load_concept
from persongen_lib.study.grid import STUDIES, Study

if TYPE_CHECKING:
    import pandas as pd

OWNERS = ["study", "study_file"]
SHOWN = 6
"""The number of digits of a concept's digest in a name."""


def owned(rows: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Rows of a study with `study_file`, relative to the repository where the file lies in it."""
    if rows.empty:
        return rows
    return rows.assign(study_file=rows["study"].map({part.name: _place(part.file) for part in study.tables}))


def refuse_foreign(table: Path) -> None:
    """Raise a UserError where the file of the results table is somebody else's, which would be lost."""
    if table.exists() and _owners(table).empty and not seal_of(table).exists():
        raise UserError(f"{table} is no table of studies, and would be lost: move it, or give another folder")


def refuse_namesake(table: Path, study: Study) -> None:
    """Raise a UserError where a table holds rows of another study of the same name, which would be lost.

    A file that is gone, or that says the same, is the study itself before it was moved.
    """
    known = _owners(table)
    for part in study.tables:
        for row in known[known["study"] == part.name].to_dict("records"):
            owner = row.get("study_file")
            other = ROOT / owner if isinstance(owner, str) else STUDIES / f"{part.name}.yaml"
            if (
                other.is_file()
                and other.read_bytes() != part.file.read_bytes()
                and not other.samefile(part.file)
            ):
                raise UserError(
                    f"{table} holds the rows of another study called {part.name}, {other}: "
                    f"rename {part.file}, or give another folder"
                )


def _owners(table: Path) -> pd.DataFrame:
    """The studies with rows in a table; none where it is missing or damaged."""
    import pandas as pd
    import pyarrow
    import pyarrow.parquet

    try:
        names = pyarrow.parquet.read_schema(table).names
        columns = [name for name in OWNERS if name in names]
        known = pyarrow.parquet.read_table(table, columns=columns).to_pandas().drop_duplicates()
    except (OSError, pyarrow.ArrowException):
        known = pd.DataFrame()
    return known if "study" in known else pd.DataFrame({"study": []})


def tell_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in which concepts that share a name have the beginning of their digest in it; shipped ones keep theirs."""
    if "concept_digest" not in rows or "concept" not in rows:
        return rows
    pairs = rows[["concept", "concept_digest"]].drop_duplicates().itertuples(index=False)
    plain = {(name, digest): name.removesuffix(_suffix(digest)) for name, digest in pairs}
    digests: dict[str, set[str]] = {}
    for (_, digest), name in plain.items():
        digests.setdefault(name, set()).add(digest)
    shipped = {name: load_concept(name, pictures=False).digest for name in digests if name in list_concepts()}
    first = {name: shipped.get(name, min(own) if len(own) == 1 else None) for name, own in digests.items()}
    unique = {
        (before, digest): name if first[name] == digest else name + _suffix(digest)
        for (before, digest), name in plain.items()
    }
    keys = zip(rows["concept"], rows["concept_digest"], strict=True)
    return rows.assign(concept=[unique[key] for key in keys])


def _suffix(digest: str) -> str:
    return f"-{digest[:SHOWN]}"


def _place(file: Path) -> str:
    file = file.resolve()
    return (file.relative_to(ROOT) if file.is_relative_to(ROOT) else file).as_posix()
