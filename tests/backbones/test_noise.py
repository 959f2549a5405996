"""Noise levels and predictions: true predictions lead to the clean latents, whatever a network predicts."""

import diffusers
import pytest
import torch

from persongen_lib.backbones.noise import NoiseModel
from persongen_lib.backbones.solvers import Solver
from persongen_lib.core.errors import UserError

FLOW = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)


def preserving(prediction_type):
    return diffusers.DDIMScheduler(clip_sample=False, prediction_type=prediction_type)


@pytest.fixture
def latents():
    return torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("scheduler", [*map(preserving, ("epsilon", "v_prediction", "sample")), FLOW])
def test_the_target_of_training_is_read_back_as_the_noise_and_the_clean_latents(scheduler, latents):
    clean, epsilon = latents
    model = NoiseModel.of(scheduler)
    level = model.level(torch.tensor([100, 500, 900]))
    noisy = level.mix(clean, epsilon)
    prediction = model.prediction(model.target(clean, epsilon, level), noisy, level)
    torch.testing.assert_close(level.clean(prediction, noisy, model.kind), clean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(level.epsilon(prediction, noisy, model.kind), epsilon, rtol=1e-5, atol=1e-5)


def test_a_flow_is_sampled_as_diffusers_does_and_ends_clean(latents):
    clean, epsilon = latents
    solver, theirs = Solver(FLOW, "flow-euler", 7), diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(7)
    ours = expected = solver.start(epsilon)
    for step, timestep in zip(solver.steps, theirs.timesteps, strict=True):
        assert step.signal == pytest.approx(1 - step.noise) and step.timestep == pytest.approx(
            float(timestep)
        )
        velocity = epsilon - clean
        torch.testing.assert_close(step.clean(velocity, ours), clean, rtol=1e-4, atol=1e-4)
        expected = theirs.step(velocity, timestep, expected).prev_sample
        ours = solver.advance(velocity, step, ours)
    torch.testing.assert_close(ours, expected.to(ours.dtype), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours, clean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("scheduler", "name"), [(preserving("epsilon"), "ddim"), (FLOW, "flow-euler")])
def test_noise_that_is_put_back_unchanged_changes_nothing(scheduler, name, latents):
    _, epsilon = latents
    solver, again = Solver(scheduler, name, 5), Solver(scheduler, name, 5)
    plain = renoised = solver.start(epsilon)
    for step in solver.steps:
        predicted = torch.sin(plain + step.index)
        plain = solver.advance(predicted, step, plain)
        renoised = again.advance(predicted, step, renoised, renoise=predicted)
        torch.testing.assert_close(renoised, plain, rtol=1e-5, atol=1e-5)


def test_a_solver_of_higher_order_puts_no_other_noise_back(latents):
    solver = Solver(preserving("epsilon"), "dpm++", 5)
    with pytest.raises(UserError, match="dpm\\+\\+ can't put other noise back: give ddim or euler"):
        solver.advance(latents[0], solver.steps[0], latents[0], renoise=latents[1])


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.EDMEulerScheduler(),
        diffusers.DPMSolverMultistepScheduler(use_dynamic_shifting=True),
        diffusers.LCMScheduler(prediction_type="flow"),
    ],
)
def test_noise_levels_that_are_not_understood_are_refused(scheduler):
    with pytest.raises(UserError, match="not supported"):
        NoiseModel.of(scheduler)


@pytest.mark.parametrize(("own", "name"), [(FLOW, "ddim"), (preserving("epsilon"), "flow-euler")])
def test_a_solver_of_the_other_kind_is_refused(own, name):
    with pytest.raises(UserError, match=f"{name} does not fit this model: give"):
        Solver(own, name, 5)
