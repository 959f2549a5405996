"""Models that arrive as one file, as a variant, or with another autoencoder, and files that are none."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from tiny import save_pictures, tiny_pipeline

from persongen_lib import Runtime, Store, fine_tune_spec, load_backbone, load_concept, sample_spec
from persongen_lib.backbones import weights_digest
from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.finetune import finetune
from persongen_lib.sampling import make_strategy, sample

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET = {
    "conv_in.": "input_blocks.0.0.", "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.", "conv_norm_out.": "out.0.", "conv_out.": "out.2.",
    "down_blocks.0.resnets.0.": "input_blocks.1.0.", "down_blocks.0.downsamplers.0.conv.": "input_blocks.2.0.op.",
    "down_blocks.1.resnets.0.": "input_blocks.3.0.", "down_blocks.1.attentions.0.": "input_blocks.3.1.",
    "mid_block.resnets.0.": "middle_block.0.", "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
    "up_blocks.0.resnets.0.": "output_blocks.0.0.", "up_blocks.0.attentions.0.": "output_blocks.0.1.",
    "up_blocks.0.resnets.1.": "output_blocks.1.0.", "up_blocks.0.attentions.1.": "output_blocks.1.1.",
    "up_blocks.0.upsamplers.0.conv.": "output_blocks.1.2.conv.",
    "up_blocks.1.resnets.0.": "output_blocks.2.0.", "up_blocks.1.resnets.1.": "output_blocks.3.0.",
    "add_embedding.linear_1.": "label_emb.0.0.", "add_embedding.linear_2.": "label_emb.0.2.",
}  # fmt: skip
VAE = {
    "conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut", "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1", "group_norm": "norm",
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
    "down_blocks.0.resnets": "down.0.block", "down_blocks.1.resnets": "down.1.block",
    "down_blocks.0.downsamplers.0": "down.0.downsample",
    "up_blocks.0.resnets": "up.1.block", "up_blocks.1.resnets": "up.0.block",
    "up_blocks.0.upsamplers.0": "up.1.upsample",
}  # fmt: skip


OPEN_CLIP = {
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.embeddings.": "", "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn": "attn",
    "text_projection.weight": "text_projection",
}  # fmt: skip


def open_clip(encoder):
    """The tensors of a text encoder as OpenCLIP names them, with queries, keys and values in one."""
    tensors, own = {}, encoder.state_dict()
    for key, tensor in own.items():
        name = key
        for old, new in OPEN_CLIP.items():
            name = name.replace(old, new)
        if ".q_proj." in name:
            parts = [key.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
            name, tensor = name.replace(".q_proj.", ".in_proj_"), torch.cat([own[part] for part in parts])
        if ".k_proj." not in name and ".v_proj." not in name:
            tensors[name] = tensor.T if name == "text_projection" else tensor
    return tensors


def checkpoint(pipe):
    """The tensors of a tiny Stable Diffusion, or of an XL, under the names of its first release."""
    tensors = {}
    for name, tensor in pipe.unet.state_dict().items():
        new = next(new + name.removeprefix(old) for old, new in UNET.items() if name.startswith(old))
        if ".resnets." in name:
            for old, its in RESNET.items():
                new = new.replace(f".{old}.", f".{its}.")
        tensors[f"model.diffusion_model.{new}"] = tensor
    for name, tensor in pipe.vae.state_dict().items():
        for old, new in VAE.items():
            name = name.replace(old, new)
        tensors[f"first_stage_model.{name}"] = tensor
    second = getattr(pipe, "text_encoder_2", None)
    place = "conditioner.embedders.0" if second else "cond_stage_model"
    for name, tensor in pipe.text_encoder.state_dict().items():
        tensors[f"{place}.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    for name, tensor in open_clip(second).items() if second else ():
        tensors[f"conditioner.embedders.1.model.{name}"] = tensor
    return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


def pictures(backbone, strategy="base", **parameters):
    made = make_strategy(strategy, **parameters)
    return sample(backbone, made, "a photo of {}", "sks", "dog", 3, output="tensors").images


@pytest.fixture
def family():
    return "sd"


@pytest.fixture
def pipe(family):
    pipe = tiny_pipeline(vae="kl", family=family)
    if family == "sdxl":  # whose text encoders diffusers tells apart by their widths
        second, unet = pipe.text_encoder_2, pipe.unet
        pipe.text_encoder_2 = type(second)(
            type(second.config)(**{**second.config.to_dict(), "hidden_size": 40})
        )
        pipe.unet = type(unet).from_config({**unet.config, "cross_attention_dim": 32 + 40})
    return pipe


@pytest.fixture
def folder(tmp_path, pipe):
    pipe.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def single(folder, tmp_path, pipe):
    save_file(checkpoint(pipe), tmp_path / "single.safetensors")
    shutil.copytree(folder, tmp_path / "single", ignore=shutil.ignore_patterns("*.safetensors"))
    return tmp_path / "single.safetensors"


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_one_checkpoint_is_the_model_of_its_folder(folder, single):
    from_file = load_backbone(single, device="cpu")
    torch.testing.assert_close(
        pictures(from_file), pictures(load_backbone(folder, device="cpu")), atol=2e-4, rtol=0
    )
    assert from_file.weights == weights_digest(single) != weights_digest(folder)
    (single.parent / "single" / "scheduler" / "scheduler_config.json").write_text("{}")
    assert weights_digest(single) != from_file.weights


def test_wrong_files_are_one_sentence(folder, single, tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"pickled")
    (tmp_path / "short.safetensors").write_bytes(single.read_bytes()[:5000])
    save_file({"lora_unet_x.lora_down.weight": torch.ones(1)}, tmp_path / "lora.safetensors")
    shutil.copy(single, tmp_path / "alone.safetensors")
    shutil.copy(single, tmp_path / "other.safetensors")
    sdxl = tiny_pipeline(family="sdxl")
    sdxl.save_pretrained(tmp_path / "other")
    for name, said in (
        ("model.ckpt", "pickled file, which could run code"),
        ("short.safetensors", "damaged or in another form"),
        ("lora.safetensors", "LoRA file"),
        ("alone.safetensors", "configuration of .* is not on this machine: put"),
        ("other.safetensors", "no checkpoint of a whole StableDiffusionXLPipeline"),
        ("owner.safetensors", "there is no file"),
    ):
        with pytest.raises(UserError, match=said):
            load_backbone(tmp_path / name, device="cpu")
    with pytest.raises(UserError, match="there is no file"):
        load_backbone("owner/name.safetensors")
    with pytest.raises(UserError, match="no variants"):
        load_backbone(single, variant="fp16")


@pytest.mark.parametrize("family", ["pixart", "sd3", "flux"])
def test_families_whose_checkpoints_are_not_read(tmp_path, family):
    pipe = tiny_pipeline(family=family)
    pipe.save_pretrained(tmp_path / "model")
    save_file({"model.diffusion_model.x": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=f"of a {type(pipe).__name__} is not read: give a diffusers folder"):
        load_backbone(tmp_path / "model.safetensors", device="cpu")


def test_a_variant_is_noticed_or_asked_for(folder, tmp_path):
    other = tiny_pipeline(vae="kl", seed=1)
    other.save_pretrained(tmp_path / "only", variant="fp16")
    other.save_pretrained(folder, variant="fp16")
    plain, only = load_backbone(folder, device="cpu"), load_backbone(tmp_path / "only", device="cpu")
    asked = load_backbone(folder, variant="fp16", device="cpu")
    assert torch.equal(pictures(asked), pictures(only))
    assert not torch.equal(pictures(plain), pictures(only))
    assert asked.weights == weights_digest(folder, variant="fp16") != plain.weights
    with pytest.raises(UserError, match="unknown variant of .*: ema; known: fp16"):
        load_backbone(folder, variant="ema")
    before = load_backbone(folder, original=tmp_path / "only", device="cpu")
    without = pictures(before, "superclass", superclass_weights="original")
    assert not torch.equal(without, pictures(plain, "superclass"))


def test_another_autoencoder(folder, tmp_path):
    other = tiny_pipeline(vae="kl", seed=1)
    other.save_pretrained(tmp_path / "other")
    with_vae = load_backbone(folder, vae=tmp_path / "other", device="cpu")
    again = load_backbone(folder, vae=tmp_path / "other" / "vae", device="cpu")
    pipe = tiny_pipeline(vae="kl")
    pipe.vae = other.vae.eval()
    torch.testing.assert_close(pictures(with_vae), pictures(load_backbone(pipe)), atol=2e-4, rtol=0)
    assert torch.equal(pictures(with_vae), pictures(again))
    assert with_vae.weights == weights_digest(folder, vae=tmp_path / "other") != weights_digest(folder)
    with pytest.raises(UserError, match="holds no autoencoder"):
        load_backbone(folder, vae=tmp_path / "other" / "unet")


def test_a_fine_tuning_makes_its_class_images_with_the_model_that_it_trains(folder, tmp_path):
    tiny_pipeline(vae="kl", seed=1).save_pretrained(tmp_path / "other")
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    spec = fine_tune_spec(
        concept, str(folder), "lora", 1, loading={"vae": str(tmp_path / "other")}, num_class_images=2,
        class_num_steps=2,
    )  # fmt: skip
    store = Store(tmp_path / "runs")
    finetune(spec, concept, Runtime(store, "cpu"), validate=())
    (made,) = store.root.glob("class_images/*/spec.json")
    assert json.loads(made.read_text())["weights"] == spec.weights != weights_digest(folder)


def test_the_command_samples_one_file_with_original_weights(folder, single, tmp_path, capsys):
    tiny_pipeline(vae="kl", seed=1).save_pretrained(tmp_path / "before")
    options = ["--class-name", "dog", "--steps", "2", "--seeds", "0", "--device", "cpu"]
    command = ["sample", "--strategy", "superclass", "--backbone", str(single), *options]
    original = ["--original", str(tmp_path / "before"), "--param", "superclass_weights=original"]
    for number, more in enumerate(([], original)):
        assert main([*command, *more, "--runs", str(tmp_path / f"runs{number}")]) == 0, (
            capsys.readouterr().err
        )
    first, second = (next((tmp_path / f"runs{n}").rglob("p00_s0000.png")).read_bytes() for n in (0, 1))
    assert first != second


def test_a_run_with_nothing_beside_its_model_is_named_as_before(folder):
    spec = sample_spec("base", "a photo of {}", 0, 3, backbone=str(folder), class_name="dog")
    assert "loading" not in spec.to_dict()
    loaded = sample_spec(
        "base", "a photo of {}", 0, 3, backbone=str(folder), class_name="dog", loading={"vae": str(folder)}
    )
    assert type(loaded).from_dict(loaded.to_dict()) == loaded
    assert loaded.weights != spec.weights
