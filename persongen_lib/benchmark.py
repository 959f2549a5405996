"""How long each strategy takes, beside diffusers' own pipeline on the same model.

Everything runs in every repeat, in an order drawn anew, so that a machine that slows down hits all alike; what
is compared are ratios within a repeat. All start from the same noise, in one batch, encode their prompts, and
stop before the decoder.
"""

from __future__ import annotations

import copy
import gc
import json
import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from persongen_lib.core.checks import check_known, check_seed, check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from persongen_lib.backbones.latent import LatentDiffusion
    from persongen_lib.sampling.engine.sampler import Samples
    from persongen_lib.sampling.engine.strategy import Strategy

PIPELINE = "diffusers"
"""The name of diffusers' own pipeline among the strategies."""
RUN = ("backbone", "device", "dtype", "compile", "num_steps", "pictures")
"""Columns that tell one benchmark from another."""
RATIOS = ("ratio_to_diffusers", "ratio_to_base")
CLOCKS = {"wall": "seconds", "cpu": "cpu_seconds"}
"""The columns of the two clocks. The processor's is the steadier one where other programs run on a CPU."""


def benchmark(
    backbone: LatentDiffusion,
    strategies: Sequence[Strategy] | None = None,
    pictures: int = 8,
    num_steps: int = 25,
    repeats: int = 7,
    compile: bool = False,
    template: str = "a photo of {} in the snow",
    token: str = "sks",
    class_name: str = "dog",
    seed: int = 0,
) -> pd.DataFrame:
    """Time strategies and diffusers' pipeline in paired repeats; one row per strategy and repeat.

    Args:
        backbone: the model; compiled in place with `compile`.
        strategies: all by default; base is always among them, and its guidance scale is the pipeline's.
        pictures: images that each samples in one batch, from 1 to 1000.
        num_steps: steps of DDIM, or of Euler's solver for flow matching, from 1 to 1000.
        repeats: timed runs of each, from 1 to 1000.
        compile: compile the backbone's network.
        template: a prompt with `{}` for the concept.
        token: the placeholder, "sks".
        class_name: the class word, "dog".
        seed: of the first picture's noise, counted up for the others, and of the order within the repeats.

    Returns:
        A table with the columns strategy ("diffusers" is the pipeline), repeat, place (in the repeat's order), seconds
        and cpu_seconds (of the whole batch, by the wall's clock and by the process's, all threads added), evaluations
        (NFE per image), rows_per_second, ratio_to_diffusers and ratio_to_base (of seconds in the same repeat),
        peak_memory (bytes that torch holds at most during a run beyond what it held before, from a run that is not
        timed), model_memory (bytes of the modules' weights), the strategy's parameters (JSON), and about the run: those
        of `RUN`, the device's name, processors, threads, versions, git commit and date.

    Raises:
        UserError: a wrong value, such as a strategy that is given twice or a base scale that is not above 1.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    contestants = _contestants(
        backbone,
        _with_base(strategies, backbone, num_steps),
        pictures,
        num_steps,
        repeats,
        (template, token, class_name),
        seed,
    )
    if compile:
        backbone.modules["network"].compile()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    rows, order = [], random.Random(seed)
    with tqdm(total=len(contestants) * (2 + repeats), desc="benchmark", unit="run") as bar:
        for contestant in contestants:
            for measured in (contestant.warm_up, contestant.measure):
                bar.set_postfix_str(f"{contestant.name}, not timed")
                measured()
                bar.update()
        for repeat in range(repeats):
            order.shuffle(contestants)
            for place, contestant in enumerate(contestants):
                bar.set_postfix_str(contestant.name)
                rows.append({**contestant.timed(), "repeat": repeat, "place": place})
                bar.update()
    table = pd.DataFrame(rows)
    table["rows_per_second"] = pictures * table["evaluations"] / table["seconds"]
    return _with_ratios(table, "seconds").assign(
        pictures=pictures, num_steps=num_steps, compile=compile, date=date, **_about(backbone)
    )


def summarize(
    table: pd.DataFrame, clock: str = "wall", num_resamples: int = 4000, seed: int = 0
) -> pd.DataFrame:
    """One row per run (see `RUN`) and strategy, by increasing time on a clock of `CLOCKS`.

    Args:
        table: rows of one or more calls of `benchmark`.
        clock: one of `CLOCKS`, "wall" or "cpu".
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        A table with the columns of `RUN`, strategy, seconds_per_picture (median), evaluations, repeats, peak_memory
        (bytes, the largest), and for each of `RATIOS` its median with `_low` and `_high`, a 95 % percentile bootstrap
        of the median over repeats.

    Raises:
        UserError: an unknown clock.
    """
    import numpy as np
    import pandas as pd

    check_known("clock", [clock], CLOCKS)
    seconds, rows = CLOCKS[clock], []
    table = pd.concat(_with_ratios(run, seconds) for _, run in table.groupby([*RUN, "date"], sort=False))
    for key, group in table.groupby([*RUN, "strategy"], sort=False):
        row = dict(zip((*RUN, "strategy"), key, strict=True))
        row["seconds_per_picture"] = group[seconds].median() / row["pictures"]
        row["evaluations"], row["repeats"] = group["evaluations"].iloc[0], len(group)
        row["peak_memory"] = group["peak_memory"].max()
        picks = np.random.default_rng(seed).integers(len(group), size=(num_resamples, len(group)))
        for ratio in RATIOS:
            values = group[ratio].to_numpy()
            medians = np.median(values[picks], axis=1)
            low, high = np.quantile(medians, [0.025, 0.975])
            row |= {ratio: np.median(values), f"{ratio}_low": low, f"{ratio}_high": high}
        rows.append(row)
    return pd.DataFrame(rows).sort_values([*RUN, "seconds_per_picture"], ignore_index=True)


def to_text(summary: pd.DataFrame) -> str:
    """The summary of one run, to print: one line per strategy."""
    width = max(map(len, summary["strategy"]))
    lines = [
        f"{'':{width}}  s/picture  evaluations  to diffusers           to base                peak memory"
    ]
    for row in summary.to_dict("records"):
        ratios = "  ".join(
            f"{row[ratio]:5.3f} [{row[f'{ratio}_low']:5.3f}, {row[f'{ratio}_high']:5.3f}]" for ratio in RATIOS
        )
        lines.append(
            f"{row['strategy']:{width}}  {row['seconds_per_picture']:9.4f}  {row['evaluations']:11d}  {ratios}"
            f"  {row['peak_memory'] / 2**20:7.1f} MiB"
        )
    return "\n".join(lines)


@dataclass
class _Contestant:
    """Something that samples, what it was seen to need, and on which device."""

    name: str
    run: Callable[[], Samples]
    parameters: dict[str, Any]
    device: torch.device
    evaluations: int = 0
    peak_memory: int = 0

    def warm_up(self) -> None:
        self.evaluations = self.run().evaluations

    def measure(self) -> None:
        with _peak_memory(self.device) as peak:
            self.run()
        self.peak_memory = peak[0]

    def timed(self) -> dict[str, Any]:
        gc.collect()
        _synchronize(self.device)
        started, cpu_started = time.perf_counter(), time.process_time()
        self.run()
        _synchronize(self.device)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        return {
            "strategy": self.name,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "evaluations": self.evaluations,
            "peak_memory": self.peak_memory,
            "parameters": json.dumps(self.parameters),
        }


def usual_strategies(backbone: LatentDiffusion, num_steps: int) -> list[Strategy]:
    """Every strategy that can sample the backbone as it is, with the numbers that are usual for it."""
    from persongen_lib.backbones.defaults import defaults_of
    from persongen_lib.sampling.engine.specs import default_strategy
    from persongen_lib.sampling.engine.strategy import list_strategies

    usual, scheduler = defaults_of(type(backbone), backbone.name), _scheduler(backbone)
    made = [default_strategy(name, usual, num_steps) for name in list_strategies()]
    found = []
    for strategy in made:
        try:
            strategy.check_backbone(backbone)
            strategy.check_run(num_steps, scheduler)
        except UserError:
            continue
        found.append(strategy)
    return found


def _with_base(
    strategies: Sequence[Strategy] | None, backbone: LatentDiffusion, num_steps: int
) -> dict[str, Strategy]:
    """The strategies by name, base first, with the numbers that are usual for the backbone."""
    from persongen_lib.backbones.defaults import defaults_of
    from persongen_lib.sampling.engine.strategy import Strategy, make_strategy

    usual = defaults_of(type(backbone), backbone.name)
    if strategies is None:
        strategies = usual_strategies(backbone, num_steps)
    if wrong := [one for one in strategies if not isinstance(one, Strategy)]:
        raise UserError(f"strategies are made with make_strategy; {wrong[0]!r} is none")
    names = [strategy.name for strategy in strategies]
    if len(set(names)) < len(names):
        raise UserError(f"each strategy can be given only once, not {', '.join(names)}")
    named = dict(zip(names, strategies, strict=True))
    named = {"base": named.get("base") or make_strategy("base"), **named}
    named = {name: one.resolved(usual["guidance_scale"], num_steps) for name, one in named.items()}
    scale = named["base"].guidance_scale
    if not isinstance(scale, float) or scale <= 1:
        raise UserError(
            f"guidance_scale of base must be one number above 1, as diffusers' pipeline needs, not {scale}"
        )
    return named


def _contestants(
    backbone: LatentDiffusion,
    strategies: dict[str, Strategy],
    pictures: int,
    num_steps: int,
    repeats: int,
    prompt: tuple[str, str, str],
    seed: int,
) -> list[_Contestant]:
    from persongen_lib.sampling.engine.noise import initial_noise
    from persongen_lib.sampling.engine.prompts import Prompts
    from persongen_lib.sampling.engine.sampler import sample

    check_steps(pictures, what="the number of pictures")
    check_steps(repeats, what="the number of repeats")
    check_seed(seed)
    scheduler = _scheduler(backbone)
    for strategy in strategies.values():
        strategy.check_run(check_steps(num_steps), scheduler)
    noise = initial_noise(range(seed, seed + pictures), backbone.latent_shape)
    contestants = [
        _Contestant(
            name,
            lambda strategy=strategy: sample(
                backbone,
                strategy,
                *prompt,
                num_steps,
                latents=noise,
                output="latents",
                scheduler=scheduler,
                batch_size=pictures,
            ),
            strategy.parameters(),
            backbone.device,
        )
        for name, strategy in strategies.items()
    ]
    scale = strategies["base"].guidance_scale
    own = pipeline_sampler(backbone, Prompts(*prompt)["concept"], noise, num_steps, scale)
    return [_Contestant(PIPELINE, own, {"guidance_scale": scale}, backbone.device), *contestants]


def pipeline_sampler(
    backbone: LatentDiffusion, prompt: str, noise: torch.Tensor, num_steps: int, guidance_scale: float
) -> Callable[[], Samples]:
    """What samples one prompt by diffusers' own pipeline on the backbone's modules, by DDIM or Euler's flow solver.

    Args:
        backbone: the model.
        prompt: the prompt of all pictures.
        noise: of unit variance, (pictures, C, H, W).
        num_steps: the number of steps.
        guidance_scale: above 1.

    Returns:
        A function that samples once and gives latents without images.
    """
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    from persongen_lib.sampling.engine.sampler import Samples

    pipeline = copy.copy(backbone._pipeline)
    pipeline.set_progress_bar_config(disable=True)
    if _scheduler(backbone) == "ddim":
        pipeline.scheduler = DDIMScheduler.from_config(backbone.scheduler.config, clip_sample=False)
    else:
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler.from_config(backbone.scheduler.config)
    noise = noise.to(backbone.device, backbone.dtype)

    def run() -> Samples:
        latents = backbone.by_pipeline(pipeline, prompt, noise, num_steps, guidance_scale)
        return Samples(None, latents, 2 * num_steps)

    return run


def _scheduler(backbone: LatentDiffusion) -> str:
    """The solver of all: DDIM, or Euler's for flow matching."""
    return "flow-euler" if backbone.kind == "velocity" else "ddim"


def _with_ratios(table: pd.DataFrame, seconds: str) -> pd.DataFrame:
    """One run's table with `RATIOS` of this column within each repeat."""
    paired = table.pivot(index="repeat", columns="strategy", values=seconds)
    ratios = {
        column: table[seconds] / table["repeat"].map(paired[name])
        for column, name in zip(RATIOS, (PIPELINE, "base"), strict=True)
    }
    return table.assign(**ratios)


def _synchronize(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _peak_memory(device: torch.device):
    """A list that holds, after the block, the bytes that torch held in it at most beyond what it held before."""
    import torch

    peak: list[int] = []
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.append(torch.cuda.max_memory_allocated(device) - before)
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        yield peak
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    peak.append(most)


def _about(backbone: LatentDiffusion) -> dict[str, Any]:
    import torch

    device = backbone.device
    known = provenance()
    return {
        "backbone": backbone.name,
        "family": backbone.family,
        "model_memory": sum(p.nbytes for module in backbone.modules.values() for p in module.parameters()),
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: known[name] for name in ("python", "machine", "git_commit")},
        **known["packages"],
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
