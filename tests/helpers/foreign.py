"""Adapters as other programs write them, beside diffusers' own pipelines."""

import functools

import diffusers
import pytest
import torch
from own_pipeline import flow_latents
from tiny import FLOWS, tiny_pipeline

from persongen_lib.backbones import FAMILIES
from persongen_lib.core.errors import UserError
from persongen_lib.sampling import initial_noise, make_strategy, sample

NETWORK = ["to_q", "to_v", "to_out.0", "ff.net.2", "proj_in", "add_k_proj", "proj_mlp"]
TEXT = ["q_proj", "out_proj", "fc1"]


def wrapped(family="sd", seed=0):
    pipeline = tiny_pipeline(family=family, seed=seed)
    return FAMILIES[type(pipeline).__name__](pipeline, "tiny")


def theirs(pipe, prompt="a photo of sks dog"):
    """Latents of diffusers' own pipeline."""
    noise = initial_noise((3,), (4, 8, 8))
    if not hasattr(pipe, "unet") and not isinstance(pipe, diffusers.PixArtAlphaPipeline):
        return flow_latents(pipe, [prompt], noise, 3, 5.0)
    pixart = isinstance(pipe, diffusers.PixArtAlphaPipeline)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    options = {"clean_caption": False, "use_resolution_binning": False} if pixart else {}
    return pipe(
        prompt, latents=noise, num_inference_steps=3, guidance_scale=5.0,
        output_type="latent", **options,
    ).images  # fmt: skip


@functools.cache
def untouched(family="sd", prompt="a photo of sks dog"):
    """The same of a pipeline that nobody has changed; each is made once."""
    return theirs(tiny_pipeline(family=family), prompt)


def ours(backbone, strategy="base", token="sks", **parameters):
    noise = initial_noise((3,), backbone.latent_shape)
    made = make_strategy(strategy, **({"guidance_scale": 5} if strategy == "base" else {}), **parameters)
    scheduler = "flow-euler" if backbone.family in FLOWS else "ddim"
    return sample(
        backbone, made, "a photo of {}", token, "dog", 3, latents=noise, output="latents", scheduler=scheduler
    ).latents.cpu()


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4 * float(expected.abs().max()))


def assert_used(backbone, expected, plain):
    """Base is `expected`, which is not `plain`; the superclass by the original weights is what it was."""
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max()
    assert_same(ours(backbone), expected)
    assert_same(
        ours(backbone, "superclass", superclass_weights="original", guidance_scale=5),
        untouched(backbone.family, "a photo of dog"),
    )


def learned(model, **options):
    """A LoRA with random halves in a model, in peft's names."""
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(7)
    model.add_adapter(LoraConfig(init_lora_weights=False, **options))
    return get_peft_model_state_dict(model)


def save_diffusers(folder, family, metadata=True, text=True, **options):
    """What diffusers' own training scripts save."""
    from diffusers.training_utils import _collate_lora_metadata
    from diffusers.utils import convert_state_dict_to_diffusers

    pipe = tiny_pipeline(family=family)
    network = "transformer" if hasattr(pipe, "transformer") else "unet"
    parts = {network: getattr(pipe, network)}
    state = {f"{network}_lora_layers": learned(parts[network], target_modules=NETWORK, **options)}
    for name in type(pipe)._lora_loadable_modules[1:] if text else ():
        encoder = parts[name] = getattr(pipe, name)
        state[f"{name}_lora_layers"] = convert_state_dict_to_diffusers(
            learned(encoder, target_modules=TEXT, r=3, lora_alpha=4)
        )
    about = _collate_lora_metadata(parts) if metadata else {}
    type(pipe).save_lora_weights(folder, **state, **about)
    return folder / "pytorch_lora_weights.safetensors"


def with_file(family, path, scale=1.0):
    """Diffusers' own pipeline with that file, at that scale."""
    pipe = tiny_pipeline(family=family)
    pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="one")
    pipe.set_adapters(["one"], [scale])
    return pipe


def refused(adapter, said, family="sd"):
    backbone = wrapped(family)
    with pytest.raises(UserError, match=said) as error:
        backbone.load_adapter(adapter)
    assert backbone.adapter is None and "\n" not in str(error.value)
    assert_same(ours(backbone), untouched(family))
