"""Decompositions of weights are made once and kept."""

import pytest
import torch
from torch import nn

from persongen_lib.adapters import spectra
from persongen_lib.adapters.adapted import adapted
from persongen_lib.adapters.spectral import respectrum, spectrum


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "persongen" / "spectra"


@pytest.mark.parametrize("shape", [(64, 80), (80, 64), (64, 8, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_is_decomposed_once(cache, shape, dtype):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    made = spectrum(weight)
    (file,) = cache.iterdir()
    written = file.stat().st_mtime_ns
    again = spectrum(weight.clone())
    assert all(torch.equal(one, other) for one, other in zip(made, again, strict=True))
    assert [path.stat().st_mtime_ns for path in cache.iterdir()] == [written]
    whole = respectrum(again, torch.zeros(64)).view(shape)
    torch.testing.assert_close(whole, weight.float(), atol=1e-4, rtol=1e-4)
    spectrum(weight + 1)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("place", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("change", ["flip", "cut"])
def test_a_damaged_file_is_made_again(cache, place, change):
    weight = torch.randn(64, 80, generator=torch.Generator().manual_seed(0))
    made = spectrum(weight)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    at = int(place * len(whole))
    file.write_bytes(
        whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :] if change == "flip" else whole[:at]
    )
    again = spectrum(weight)
    assert all(torch.equal(one, other) for one, other in zip(made, again, strict=True))
    assert file.read_bytes() == whole


def test_without_a_cache_folder_decompositions_are_made_every_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    weight = torch.randn(64, 80)
    assert all(torch.equal(*pair) for pair in zip(spectrum(weight), spectrum(weight), strict=True))


def test_small_weights_and_vectors_are_not_kept(cache):
    spectrum(torch.randn(spectra.SMALLEST - 1, 500)), spectrum(torch.randn(500))
    assert not cache.exists()


def test_an_adapter_that_is_loaded_again_gives_the_very_same_weights(cache):
    layer = nn.Linear(70, 90)
    modules, shift = {"network": layer}, {"network.weight.shift": 0.1 * torch.randn(70)}
    first, second = (adapted(modules, shift)["network.weight"] for _ in range(2))
    assert torch.equal(first, second) and len(list(cache.iterdir())) == 1
    values = torch.linalg.svdvals(layer.weight.data)
    torch.testing.assert_close(
        torch.linalg.svdvals(first).sort().values,
        torch.relu(values + shift["network.weight.shift"]).sort().values,
    )
