"""Study files of a tiny model."""

from dataclasses import replace

import pytest
import yaml
from tiny import save_pictures, tiny_pipeline

from persongen_lib.backbones import StableDiffusion


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a tiny random model."""
    folder = tmp_path_factory.mktemp("models") / "model"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def write_study(model, tmp_path):
    """Writes a study of the tiny model and the folder `rex`; keyword arguments take the place of its values."""
    save_pictures(tmp_path / "rex")
    (tmp_path / "rex" / "concept.json").write_text('{"class_name": "dog", "kind": "live"}')

    def write(name="small.yaml", text=None, **changes):
        values = {
            "concepts": [str(tmp_path / "rex")],
            "backbones": [str(model)],
            "fine_tunings": [{"num_steps": 2}],
            "prompts": ["a photo of {} in the snow"],
            "seeds": 0,
            "num_steps": 3,
            "strategies": ["base"],
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump({**values, **changes}) + (text or ""))
        return path

    return write


@pytest.fixture(scope="module")
def short_strips():
    """Validation strips, which no study looks at, are sampled in 2 steps, not in the family's usual 50."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StableDiffusion, "usual", replace(StableDiffusion.usual, num_steps=2))
        yield
