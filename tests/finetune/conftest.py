"""A tiny model that fine-tunings begin with."""

import pytest
from tiny import tiny_pipeline


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a tiny random model, which nothing changes."""
    folder = tmp_path_factory.mktemp("models") / "model"
    tiny_pipeline().save_pretrained(folder)
    return str(folder)
