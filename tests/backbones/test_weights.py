"""What weights are known by, and what is refused on other weights or for values that are not finite."""

import json
import warnings

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_backbone, tiny_pipeline

from persongen_lib.backbones import load_backbone, resolve_device, sources, weights_digest
from persongen_lib.backbones.defaults import sampling_dtype
from persongen_lib.backbones.devices import device_type, usual_dtype
from persongen_lib.backbones.sources import Source, hub_commit
from persongen_lib.core.errors import UserError
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.sampling import make_strategy, sample

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def model(tmp_path):
    """A folder that counts as a model: an index, and weights of 3 MiB."""
    (tmp_path / "model" / "unet").mkdir(parents=True)
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "model" / "unet" / "weights.safetensors").write_bytes(bytes(3 << 20))
    return tmp_path / "model"


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_every_byte_of_every_file_counts(model):
    seen = [weights_digest(model)]
    flip(model / "unet/weights.safetensors", 3 << 19)
    seen.append(weights_digest(model))
    for name in ("tokenizer/spiece.model", "unet/config.json", "merges.txt"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("new")
        seen.append(weights_digest(model))
    (model / "merges.txt").rename(model / "other.txt")
    seen.append(weights_digest(model))
    assert len(set(seen)) == len(seen) and all(len(digest) == 12 for digest in seen)
    for name in ("README.md", ".DS_Store", ".cache/huggingface/download.lock"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text("no loader reads this")
    assert weights_digest(model) == seen[-1]


def test_links_are_followed_and_a_circle_ends(model, tmp_path):
    whole = weights_digest(model)
    (model / "unet").rename(tmp_path / "unet")
    (model / "unet").symlink_to(tmp_path / "unet")
    (model / "model_index.json").rename(tmp_path / "index")
    (model / "model_index.json").symlink_to(tmp_path / "index")
    assert weights_digest(model) == whole
    flip(tmp_path / "unet/weights.safetensors", 5)
    changed = weights_digest(model)
    assert changed != whole
    (model / "unet" / "again").symlink_to(model)
    (model / "broken.json").symlink_to(tmp_path / "nowhere")
    assert weights_digest(model) == changed


def test_a_hub_model_is_known_by_its_commit(tmp_path, monkeypatch):
    from huggingface_hub import constants

    hub = tmp_path / "hub" / "models--some--model"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text(COMMIT)
    (hub / "snapshots" / COMMIT).mkdir(parents=True)
    (hub / "snapshots" / COMMIT / "model_index.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *args, **kw: pytest.fail("asked the hub"))
    assert weights_digest("some/model") == COMMIT
    pinned = Source("pinned", repo="some/model", revision=COMMIT)
    monkeypatch.setattr(sources, "locate", lambda name: pinned)
    assert weights_digest("pinned") == COMMIT


def test_the_newest_commit_is_asked_for_once_where_nothing_is_cached(tmp_path, monkeypatch):
    from huggingface_hub import constants

    asked = []

    class Info:
        sha = COMMIT

    def model_info(self, repo, revision=None, timeout=None):
        asked.append((repo, revision))
        if repo == "no/where":
            raise ConnectionError
        return Info

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    sources._newest_commit.cache_clear()
    for _ in range(2):
        assert hub_commit(Source("a", repo="some/other", revision="v2")) == COMMIT
        assert hub_commit(Source("b", repo="no/where")) == ""
    assert asked == [("some/other", "v2"), ("no/where", None)]
    sources._newest_commit.cache_clear()


def save_adapter(folder, backbone, weights, change=0.0):
    folder.mkdir(exist_ok=True)
    name, tensor = next(iter(backbone.modules["network"].named_parameters()))
    save_file({f"network.{name}": tensor + change}, folder / "adapter.safetensors")
    spec = FineTuneSpec("model", "dreambooth", "rex", "dog", "sks", "", 1, weights=weights)
    (folder / "adapter.json").write_text(json.dumps(spec.to_dict()))
    return folder


def test_an_adapter_is_refused_on_weights_that_it_was_not_trained_on(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    backbone = load_backbone(tmp_path / "model", device="cpu")
    assert backbone.weights == weights_digest(tmp_path / "model")
    backbone.load_adapter(save_adapter(tmp_path / "own", backbone, backbone.weights))
    assert [(one.path, one.scale) for one in backbone.adapter] == [((tmp_path / "own").resolve(), 1.0)]
    other = save_adapter(tmp_path / "other", backbone, "0" * 12)
    for load in (backbone.load_adapter, lambda a: load_backbone(tmp_path / "model", device="cpu", adapter=a)):
        with pytest.raises(
            UserError, match=r"was trained on other weights \(model, 0{12}\) .* fine-tune again"
        ):
            load(other)


def test_words_that_the_adapter_was_not_trained_with_are_warned_of_once(tmp_path):
    backbone = tiny_backbone()
    backbone.load_adapter(save_adapter(tmp_path / "own", backbone, ""))

    def sampled(*words):
        return sample(backbone, make_strategy("base"), "a photo of {}", *words, 1, 0, output="latents")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampled("sks", "dog")
    with pytest.warns(
        UserWarning, match="trained with 'sks dog', not with 'sks cat': give the token"
    ) as said:
        sampled("sks", "cat")
        sampled("sks", "cat")
    assert len(said) == 1 and said[0].filename == __file__
    backbone.unload_adapter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampled("sks", "cat")


def test_an_adapter_that_is_not_finite_is_refused(tmp_path):
    backbone = tiny_backbone()
    with pytest.raises(UserError, match="has values that are not finite; train again with lower"):
        backbone.load_adapter(save_adapter(tmp_path / "adapter", backbone, "", float("nan")))
    assert backbone.adapter is None


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("meta", r"can't be used \(it has no memory\)"),
        ("cuda:99", r"can't be used \(.+\)"),
        ("nowhere", "is not known"),
        ("", "is not known"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_the_reason(device, said):
    with pytest.raises(UserError, match=f"{said}: give auto or cpu"):
        resolve_device(device)


def test_the_usual_dtype_of_a_device_that_is_elsewhere():
    names = ["cpu", "cuda", "cuda:1", "mps"]
    assert [usual_dtype(device_type(name), "fp16") for name in names] == ["fp32", "fp16", "fp16", "fp16"]
    assert [sampling_dtype("micro", device_type(name)) for name in names[:2]] == ["fp32", "fp16"]
    for name in ("meta", "nowhere"):
        with pytest.raises(UserError, match="can't be used|is not known"):
            device_type(name)


@pytest.mark.parametrize("vae", ["tiny", "kl"])
def test_an_overflow_of_the_autoencoder_is_decoded_in_fp32(vae):
    import numpy as np

    backbone, exact = tiny_backbone(vae=vae), tiny_backbone(vae=vae)
    latents = torch.randn(3, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    half, single = backbone._pipeline.vae.half(), exact._pipeline.vae
    alone = backbone.decode(latents)
    latents[1] *= 1e5
    pictures, expected = backbone.decode(latents), exact.decode(latents)
    assert half.dtype == torch.float16 and single.dtype == torch.float32
    assert np.abs(np.asarray(pictures[1], int) - np.asarray(expected[1], int)).max() <= 8
    for place in (0, 2):
        assert pictures[place].tobytes() == alone[place].tobytes()


def test_an_autoencoder_with_broken_weights_is_refused():
    backbone = tiny_backbone()
    next(backbone._pipeline.vae.decoder.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="autoencoder gives values that are not finite"):
        backbone.decode(torch.zeros(1, *backbone.latent_shape))
