"""A sample run to score."""

import pytest
from sample_run import save_run


@pytest.fixture
def run(tmp_path):
    """2 templates and 3 seeds, images of 64 x 64 pixels."""
    return save_run(tmp_path)
