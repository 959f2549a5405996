"""Every fine-tuning method, trajectories and masks on the three shipped generators, with their own weights."""

import pytest
import torch

from persongen_lib import load_backbone, load_concept
from persongen_lib.core.runtime import Runtime
from persongen_lib.finetune import list_methods, make_method
from persongen_lib.finetune.engine.run import finetune
from persongen_lib.finetune.engine.specs import fine_tune_spec
from persongen_lib.sampling.engine.specs import sample_spec
from persongen_lib.trajectories.run import load_trajectories, run_trajectories

FAMILIES = ("micro", "micro-sdxl", "micro-pixart")
TRAINED = [name for name in list_methods() if name != "elite"]
"""ELITE is trained once for all concepts (tests/encoders)."""


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    return load_backbone(request.param, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    return Runtime.at(tmp_path_factory.mktemp("runs"), "cpu")


def tuned(backbone, runtime, method):
    few = {"num_class_images": 2, "class_num_steps": 2} if make_method(method).prior_weight else {}
    concept = load_concept("duck2")
    spec = fine_tune_spec(concept, backbone.name, method, num_steps=2, batch_size=1, **few)
    return spec, finetune(spec, concept, runtime, backbone, validate=())


def predicted(backbone):
    noise = torch.randn(1, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return backbone.forward(noise, torch.full((1,), 500), backbone.encode(["a photo of a sks duck"]))


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_changes_what_each_family_predicts(backbone, runtime, method):
    before = predicted(backbone)
    _, adapter = tuned(backbone, runtime, method)
    assert torch.equal(predicted(backbone), before)
    backbone.load_adapter(adapter)
    after = predicted(backbone)
    backbone.unload_adapter()
    assert after.isfinite().all() and not torch.equal(after, before)
    assert torch.equal(predicted(backbone), before)


def test_trajectories_and_masks_of_each_family(backbone, runtime):
    spec, _ = tuned(backbone, runtime, "dreambooth")
    prompts = ["a photo of a {} on the beach"]
    asked = sample_spec("masked", prompts, [0], 4, spec)
    followed = load_trajectories(run_trajectories(asked, runtime, [(0, 0)], backbone))[0, 0]
    assert followed.masks.shape == (4, *backbone.latent_shape[1:])
    assert followed.masks.mean(axis=(1, 2)) == pytest.approx(0.3, abs=0.05)
    assert followed.attention.max() > followed.attention.mean() > 0
    assert followed.distance.min() > 0
