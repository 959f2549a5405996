"""Commands in processes of their own, forked from one that has imported what they need: they start at once."""

import multiprocessing
import sys

from persongen_lib.cli.main import main

LIBRARIES = (
    "persongen_lib.cli.study", "persongen_lib.study.local", "persongen_lib.evaluation.scores", "open_clip", "peft",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion", "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip", "accelerate", "pandas", "pyarrow.parquet",
)  # fmt: skip


def started(*arguments):
    """A `multiprocessing.Process` that runs `persongen` with these arguments; its exit code is the command's."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    process = context.Process(target=_run, args=[[*map(str, arguments)]])
    process.start()
    return process


def _run(arguments):
    sys.exit(main(arguments))
