import numpy as np
import pytest
from tiny import tiny_backbone, tiny_pipeline

from persongen_lib.sampling import run_sample, sample_spec
from persongen_lib.sampling.run import picture_name
from persongen_lib.specs import UserError
from persongen_lib.store import Store
from persongen_lib.trajectories import latent_distance, load_trajectories, run_trajectories


def test_trajectories_of_chosen_pictures(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    store, backbone = Store(tmp_path / "runs"), tiny_backbone()

    def follow(strategy, **parameters):
        spec = sample_spec(
            strategy,
            ["a photo of {}"],
            "0-2",
            12,
            backbone=str(tmp_path / "model"),
            class_name="dog",
            **parameters,
        )
        found = load_trajectories(run_trajectories(spec, store, [(0, 2)], backbone=backbone))
        assert list(found) == [(0, 2)]
        return spec, found[0, 2]

    spec, base = follow("base")
    assert base.distance.shape == base.cosine.shape == base.timesteps.shape == (12,)
    assert base.distance_maps.shape == (12, 8, 8) and base.latents.shape == (13, 4, 8, 8)
    assert base.film_concept.shape == base.film_superclass.shape == (6, 16, 16, 3)
    assert base.frames[0] == 0 and base.frames[-1] == 11
    assert np.allclose(base.distance, base.distance_maps.astype(float).mean(axis=(1, 2)), rtol=1e-2)
    assert (np.abs(base.cosine) <= 1).all() and (base.distance > 0).all()
    assert (np.diff(base.timesteps) < 0).all()

    folder = run_sample(spec, store, backbone=backbone)
    from PIL import Image

    final = backbone.decode(backbone_latents(base))[0]
    saved = np.asarray(Image.open(folder / picture_name(0, 2)), int)
    assert np.abs(np.asarray(final, int) - saved).max() <= 2

    _, switching = follow("switching", switch_step=5)
    _, superclass = follow("superclass")
    apart = latent_distance(switching, superclass)
    assert (apart[:6] == 0).all() and (apart[6:] > 0).all()
    with pytest.raises(UserError, match="no picture"):
        run_trajectories(spec, store, [(1, 0)])


def backbone_latents(trajectory):
    import torch

    return torch.from_numpy(trajectory.latents[-1:].astype(np.float32))
