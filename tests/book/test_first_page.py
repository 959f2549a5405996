"""What a newcomer copies first is the same on every page, and can be run."""

import re

from persongen_lib.core.paths import ROOT
from persongen_lib.study.job import resolve


def first_block(page, language):
    """The first code block of a language on a page."""
    return re.search(
        rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    ).group(1)


def test_the_commands_that_get_the_code_are_the_same_everywhere():
    commands = {
        tuple(line.split("#")[0].strip() for line in first_block(page, "bash").splitlines())
        for page in ("README.md", "book/index.md", "book/reproduce.md")
    }
    ((clone, *rest),) = commands
    assert re.fullmatch(r"git clone \S+ beyond-fine-tuning && cd beyond-fine-tuning", clone)
    assert rest == ["make book", "source .venv/bin/activate"]
    assert re.search(r"^book:.*\n.*book/build\.py", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_first_lines_of_python_name_a_cell_that_can_be_run():
    code = first_block("book/index.md", "python")
    assert code == first_block("README.md", "python")
    *setup, last = code.strip().splitlines()
    names = {}
    exec("\n".join(setup), names)
    job = resolve(names["cell"])
    assert job.sample.strategy.name == "searched" and len(job.sample.prompts) == 8
    assert last == 'figures.picture_grid(study.run_cell(cell).table).savefig("dog.png")'
    assert callable(names["figures"].picture_grid) and callable(names["study"].run_cell)
