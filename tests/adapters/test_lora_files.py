"""LoRA files of diffusers, peft and kohya: base is diffusers' own picture, original is the model without the file."""

import json
import shutil

import pytest
import torch
from foreign import (
    TEXT,
    assert_same,
    assert_used,
    learned,
    ours,
    refused,
    save_diffusers,
    theirs,
    untouched,
    with_file,
    wrapped,
)
from safetensors.torch import load_file, save_file
from tiny import tiny_pipeline

EACH_WITH_FILES = pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
UNET = ("down_blocks_1_attentions_0", "mid_block_attentions_0", "up_blocks_0_attentions_1")
SGM = {"sd": UNET, "sdxl": ("input_blocks_3_1", "middle_block_1", "output_blocks_1_1")}


@EACH_WITH_FILES
@pytest.mark.parametrize(
    "options",
    [{"r": 3, "lora_alpha": 6}, {"r": 3, "lora_alpha": 6, "rank_pattern": {"to_q": 2}, "alpha_pattern": {"to_v": 1.5}},
     {"r": 4, "lora_alpha": 6, "use_rslora": True}, {"r": 3, "lora_alpha": 6, "use_dora": True}],
    ids=["plain", "patterns", "rslora", "dora"],
)  # fmt: skip
def test_a_file_of_diffusers(tmp_path, family, options):
    path = save_diffusers(tmp_path, family, **options)
    backbone, plain = wrapped(family), untouched(family)
    backbone.load_adapter(tmp_path)
    assert_used(backbone, theirs(with_file(family, path)), plain)
    backbone.load_adapter(f"{path}:0.6")
    assert_same(ours(backbone), theirs(with_file(family, path, 0.6)))
    backbone.unload_adapter()
    assert_same(ours(backbone), plain)


def test_convolutions(tmp_path):
    pipe = tiny_pipeline()
    layers = learned(pipe.unet, target_modules=["conv1", "conv_shortcut", "conv_in", "time_emb_proj"], r=3)
    type(pipe).save_lora_weights(tmp_path, unet_lora_layers=layers)
    backbone = wrapped()
    backbone.load_adapter(tmp_path)
    path = tmp_path / "pytorch_lora_weights.safetensors"
    assert_used(backbone, theirs(with_file("sd", path)), untouched())


def kohya(family, blocks, alphas=(1.0, 1.0), text=True):
    """A file with kohya's names, and the halves and scale of every layer by its name in the models."""
    generator, tensors, layers = torch.Generator().manual_seed(3), {}, {}
    pipe = tiny_pipeline(family=family)

    def add(part, layer, name):
        weight = getattr(pipe, part).get_submodule(layer).weight
        rank, alpha = 2 + len(layers) % 2, alphas[len(layers) % 2]
        ones = [1] * (weight.ndim - 2)
        down = 0.3 * torch.randn(rank, *weight.shape[1:], generator=generator)
        up = 0.3 * torch.randn(len(weight), rank, *ones, generator=generator)
        tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = down, up
        tensors[f"{name}.alpha"] = torch.tensor(alpha)
        layers[part, layer] = (alpha / rank * up.flatten(1) @ down.flatten(1)).view_as(weight)

    for own, theirs_ in zip(
        ("down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.0.attentions.1"),
        blocks,
        strict=True,
    ):
        add("unet", f"{own}.proj_in", f"lora_unet_{theirs_}_proj_in")
        inner = "transformer_blocks.0"
        for end in ("attn1.to_q", "attn2.to_out.0", "ff.net.0.proj"):
            flat = f"{inner}.{end}".replace(".", "_")
            add("unet", f"{own}.{inner}.{end}", f"lora_unet_{theirs_}_{flat}")
    encoders = {
        "sd": {"text_encoder": "lora_te"},
        "sdxl": {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
    }
    for part, prefix in encoders[family].items() if text else ():
        for end in ("self_attn.k_proj", "self_attn.out_proj", "mlp.fc2"):
            flat = f"text_model.encoder.layers.1.{end}".replace(".", "_")
            start = "text_model." if part == "text_encoder_2" else ""
            add(part, f"{start}encoder.layers.1.{end}", f"{prefix}_{flat}")
    return tensors, layers


def merged(family, layers):
    """Diffusers' own pipeline with the products added to its weights."""
    pipe = tiny_pipeline(family=family)
    for (part, layer), product in layers.items():
        getattr(pipe, part).get_submodule(layer).weight.data += product
    return pipe


@pytest.mark.parametrize(("family", "blocks"), [("sd", UNET), ("sdxl", UNET), ("sdxl", SGM["sdxl"])])
def test_a_file_of_kohya(tmp_path, family, blocks):
    tensors, layers = kohya(family, blocks)
    save_file(tensors, tmp_path / "rex.safetensors")
    backbone, plain = wrapped(family), untouched(family)
    backbone.load_adapter(tmp_path / "rex.safetensors")
    assert_used(backbone, theirs(merged(family, layers)), plain)
    assert_same(ours(backbone), theirs(with_file(family, tmp_path / "rex.safetensors")))


def test_every_layer_of_kohya_has_an_alpha_of_its_own(tmp_path):
    tensors, layers = kohya("sd", UNET, alphas=(0.5, 3.0))
    save_file(tensors, tmp_path / "rex.safetensors")
    backbone = wrapped()
    backbone.load_adapter(tmp_path / "rex.safetensors")
    assert_used(backbone, theirs(merged("sd", layers)), untouched())


def kohya_flux(folder):
    """A file of sd-scripts for FLUX.1, and the products by layer; its queries, keys and values are one layer."""
    pipe, generator = tiny_pipeline(family="flux"), torch.Generator().manual_seed(3)
    block = pipe.transformer.transformer_blocks[0]
    text = pipe.text_encoder.get_submodule("encoder.layers.1.self_attn.out_proj").weight
    three = torch.cat([layer.weight for layer in (block.attn.to_q, block.attn.to_k, block.attn.to_v)])
    weights = {
        "lora_unet_double_blocks_0_img_attn_qkv": three,
        "lora_unet_double_blocks_0_txt_attn_proj": block.attn.to_add_out.weight,
        "lora_unet_single_blocks_0_linear2": pipe.transformer.single_transformer_blocks[0].proj_out.weight,
        "lora_te1_text_model_encoder_layers_1_self_attn.out_proj": text,
    }
    tensors, products = {}, []
    for at, (name, weight) in enumerate(weights.items()):
        down = 0.3 * torch.randn(2, weight.shape[1], generator=generator)
        up = 0.3 * torch.randn(len(weight), 2, generator=generator)
        alpha = 1.0 + at
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        tensors[f"{name}.alpha"] = torch.tensor(alpha)
        products.append(alpha / 2 * up @ down)
    names = [
        *(
            ("transformer", f"transformer_blocks.0.attn.{end}")
            for end in ("to_q", "to_k", "to_v", "to_add_out")
        ),
        ("transformer", "single_transformer_blocks.0.proj_out"),
        ("text_encoder", "encoder.layers.1.self_attn.out_proj"),
    ]
    save_file(tensors, folder / "rex.safetensors")
    return tensors, dict(zip(names, [*products[0].chunk(3), *products[1:]], strict=True))


def test_a_file_of_kohya_for_flux(tmp_path):
    tensors, layers = kohya_flux(tmp_path)
    path, backbone = tmp_path / "rex.safetensors", wrapped("flux")
    backbone.load_adapter(path)
    assert_used(backbone, theirs(merged("flux", layers)), untouched("flux"))
    assert_same(ours(backbone), theirs(with_file("flux", path)))
    refused(path, "kohya's form, which diffusers does not read for a StableDiffusion3Pipeline", "sd3")
    more = {name.replace("te1", "te2"): tensor.clone() for name, tensor in tensors.items() if "te1" in name}
    for name, added, said in (
        ("t5", more, "no LoRA"),
        ("t5_without_alpha", {n: t for n, t in more.items() if "alpha" not in n}, "read only 2 of its 4"),
        ("full_size", {"lora_unet_single_blocks_0_linear1.lora_down.weight": torch.ones(2, 32),
                       "lora_unet_single_blocks_0_linear1.lora_up.weight": torch.ones(224, 2)}, "other sizes"),
    ):  # fmt: skip
        save_file({**tensors, **added}, tmp_path / f"{name}.safetensors")
        refused(tmp_path / f"{name}.safetensors", said, "flux")


def save_peft(folder, model, targets, **options):
    """What peft itself writes."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    made = get_peft_model(model, LoraConfig(init_lora_weights=False, target_modules=targets, **options))
    made.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["sd", "sdxl", "pixart"])
def test_folders_of_peft(tmp_path, family):
    from peft import PeftModel

    network = "transformer" if family == "pixart" else "unet"
    targets = {
        network: ["to_q", "to_out.0", "proj"],
        "text_encoder": ["q", "wo"] if family == "pixart" else TEXT,
    }
    plain, made = tiny_pipeline(family=family), tiny_pipeline(family=family)
    for part, layers in targets.items():
        save_peft(tmp_path / part, getattr(made, part), layers, r=3, lora_alpha=5, alpha_pattern={"to_q": 2})
    made = tiny_pipeline(family=family)
    for part in targets:
        PeftModel.from_pretrained(getattr(made, part), tmp_path / part)
    backbone = wrapped(family)
    backbone.load_adapter(tmp_path)
    assert_used(backbone, theirs(made), theirs(plain))
    (tmp_path / network).rename(tmp_path / "somewhere")
    backbone.load_adapter([tmp_path / "somewhere", tmp_path / "text_encoder"])
    assert_same(ours(backbone), theirs(made))


def test_several_files_with_scales(tmp_path):
    for name, options in {"one": {"r": 3}, "two": {"r": 2}}.items():
        save_diffusers(tmp_path / name, "sd", text=False, **options)
    pipe = tiny_pipeline()
    for name in ("one", "two"):
        pipe.load_lora_weights(str(tmp_path / name), adapter_name=name)
    pipe.set_adapters(["one", "two"], [0.5, 0.8])
    backbone = wrapped()
    backbone.load_adapter([f"{tmp_path / 'one'}:0.5", (tmp_path / "two", 0.8)])
    assert_same(ours(backbone), theirs(pipe))
    digests = {backbone.adapter_digest}
    for more in ([tmp_path / "one"], [(tmp_path / "one", 0.5)], [tmp_path / "one", tmp_path / "two"]):
        backbone.load_adapter(more)
        digests.add(backbone.adapter_digest)
    assert len(digests) == 4
    save_diffusers(tmp_path / "dora", "sd", text=False, r=2, use_dora=True)
    refused([tmp_path / "one", tmp_path / "dora"], "DoRA can't be combined with another adapter")


def test_wrong_files_are_refused(tmp_path):
    good = save_diffusers(tmp_path / "good", "sd", r=2)
    tensors = load_file(good)
    first = next(iter(tensors))

    def saved(tensors, name="bad.safetensors"):
        save_file(tensors, tmp_path / name)
        return tmp_path / name

    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-100])
    (tmp_path / "text.safetensors").write_text("hello")
    torch.save(tensors, tmp_path / "pickled.bin")
    torch.save(tensors, tmp_path / "hidden.safetensors")
    cases = {
        tmp_path / "nowhere.safetensors": "there is no adapter",
        tmp_path / "cut.safetensors": "no readable file of safetensors",
        tmp_path / "text.safetensors": "no readable file of safetensors",
        tmp_path / "hidden.safetensors": "no readable file of safetensors",
        tmp_path / "pickled.bin": "is a pickled file",
        saved({}, "empty.safetensors"): "is empty",
        saved({**tensors, first: tensors[first] * float("nan")}, "nan.safetensors"): "not finite",
        saved({n: t for n, t in tensors.items() if n != first}, "half.safetensors"): "only one half",
        saved({**tensors, "unet.nowhere.lora_A.weight": torch.ones(2, 2)}, "more.safetensors"): "one half",
        saved({**tensors, "vae.conv.lora_A.weight": torch.ones(2, 2)}, "vae.safetensors"): "another model",
        saved({**tensors, "unet.conv_in.weight": torch.ones(2, 2)}, "whole.safetensors"): "nothing of a LoRA",
        saved({n: torch.cat([t, t], -1) for n, t in tensors.items()}, "shape.safetensors"): "does not fit",
        saved({"model.a.weight": torch.ones(2), "b": torch.ones(2)}, "model.safetensors"): "holds neither",
        save_diffusers(tmp_path / "sdxl", "sdxl", r=2): "another model",
    }  # fmt: skip
    for path, said in cases.items():
        refused(path, said)
    refused(f"{good}:many", "no learned embeddings")
    refused((good, True), "scale of an adapter must be a number")
    refused([], "list of adapters is empty")
    (tmp_path / "two").mkdir()
    for name in "ab":
        saved(tensors, f"two/{name}.safetensors")
    refused(tmp_path / "two", "several adapters: name one of a.safetensors, b.safetensors")
    refused(good, "give a folder of peft", "pixart")
    refused(good, "another model|does not fit", "sdxl")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("hada_w1_a", "LoHa"), ("lokr_w1", "LoKr"), ("dora_scale", "DoRA"), ("lora_mid.weight", "Tucker"),
     ("on_input", r"\(IA\)3"), ("oft_blocks", "OFT"), ("diff", "whole differences")],
)  # fmt: skip
def test_other_kinds_are_refused_by_name(tmp_path, name, kind):
    tensors, _ = kohya("sd", UNET)
    tensors[f"lora_unet_mid_block_attentions_0_proj_in.{name}"] = torch.ones(2)
    save_file(tensors, tmp_path / "rex.safetensors")
    refused(tmp_path / "rex.safetensors", f"holds .*{kind}.*, which is not supported")


def test_keys_of_kohya_that_fit_nothing_are_refused(tmp_path):
    for name in (
        "lora_unet_nowhere_attn1_to_q",
        "lora_unet_input_blocks_4_1_proj_in",
        "lora_te_text_model_nothing",
    ):
        tensors, _ = kohya("sd", UNET)
        tensors |= {
            f"{name}.lora_down.weight": torch.ones(2, 32),
            f"{name}.lora_up.weight": torch.ones(32, 2),
        }
        save_file(tensors, tmp_path / "rex.safetensors")
        refused(
            tmp_path / "rex.safetensors",
            "does not fit|in two ways|no LoRA that diffusers reads|nothing of a LoRA",
        )


def test_wrong_folders_of_peft_are_refused(tmp_path):
    folder = save_peft(tmp_path / "unet", tiny_pipeline().unet, ["to_q"], r=2)
    config = json.loads((folder / "adapter_config.json").read_text())
    for change, said in (
        ({"peft_type": "LOHA"}, "LOHA of peft, which is not supported"),
        ({"peft_type": "IA3"}, "IA3 of peft, which is not supported"),
        ({"peft_type": "NEWEST"}, "no configuration that peft reads"),
        ({"init_lora_weights": "pissa"}, "changes the base model as well"),
        ({"modules_to_save": ["conv_in"]}, "asks for modules_to_save"),
        ({"bias": "all"}, "asks for bias"),
        ({"use_dora": True}, "its DoRA has no magnitudes"),
    ):
        (folder / "adapter_config.json").write_text(json.dumps(config | change))
        refused(folder, said)
    (folder / "adapter_config.json").write_text("{")
    refused(folder, "no configuration that peft reads")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").rename(folder / "weights.bin")
    refused(folder, "it has no readable adapter_model.safetensors")


def test_a_local_file_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    path = save_diffusers(tmp_path, "sd", r=2)
    monkeypatch.setattr(
        "huggingface_hub.file_download.get_hf_file_metadata", lambda *a, **k: pytest.fail("asked")
    )
    monkeypatch.chdir(tmp_path.parent)
    backbone = wrapped()
    backbone.load_adapter(f"{tmp_path.name}/{path.name}")
    refused("some/model", "there is no adapter some/model")


def test_a_folder_with_several_adapters_is_refused(tmp_path):
    """None of them is taken silently, whatever their forms are."""
    file = save_diffusers(tmp_path / "lora", "sd", r=2)
    for name in ("checkpoint-1", "checkpoint-2"):
        save_peft(tmp_path / "peft" / name, tiny_pipeline().unet, ["to_q"], r=2)
    refused(tmp_path / "peft", "holds several adapters: name one of checkpoint-1, checkpoint-2")
    shutil.copytree(tmp_path / "peft" / "checkpoint-1", tmp_path / "lora" / "unet")
    refused(tmp_path / "lora", "holds several adapters: name one of pytorch_lora_weights.safetensors, unet")
    shutil.rmtree(tmp_path / "lora" / "unet")
    shutil.copy(file, tmp_path / "lora" / "rex.safetensors")
    refused(
        tmp_path / "lora", "several adapters: name one of pytorch_lora_weights.safetensors, rex.safetensors"
    )
    wrapped().load_adapter(tmp_path / "peft" / "checkpoint-1")


def test_what_belongs_together_is_one_adapter(tmp_path):
    save_peft(tmp_path / "unet", tiny_pipeline().unet, ["to_q"], r=2)
    save_file({"<rex>": torch.randn(2, 32)}, tmp_path / "learned_embeds.safetensors")
    one, apart = wrapped(), wrapped()
    one.load_adapter(tmp_path)
    apart.load_adapter([tmp_path / "unet", tmp_path / "learned_embeds.safetensors"])
    assert_same(ours(one, token="<rex>"), ours(apart, token="<rex>"))
    assert (ours(one, token="<rex>") - ours(one, token="sks")).abs().max() > 0.01


KOHYA_KEY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


def test_a_misfit_is_told_with_its_file_its_base_and_the_model(tmp_path):
    """What a file says of its base comes before what its layers tell."""

    def kohya_of(width, **about):
        half = {"lora_down.weight": torch.ones(2, width), "lora_up.weight": torch.ones(16, 2)}
        path = tmp_path / f"kohya-{len(list(tmp_path.iterdir()))}.safetensors"
        save_file({f"{KOHYA_KEY}.{name}": tensor for name, tensor in half.items()}, path, about or None)
        return path

    for path, base in (
        (kohya_of(768), "Stable Diffusion 1"), (kohya_of(2048), "Stable Diffusion XL"), (kohya_of(5), "another model"),
        (kohya_of(768, ss_base_model_version="sdxl_base_v1-0"), "'sdxl_base_v1-0'"),
        (kohya_of(5, **{"ss_sd_model_name": "x", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}),
         "'stable-diffusion-xl-v1-base/lora'"),
    ):  # fmt: skip
        refused(path, f"{path} was made for {base}, and tiny is a StableDiffusion: network.* does not fit")
    good = save_diffusers(tmp_path / "good", "sd", r=2)
    refused([good, wide := kohya_of(768)], f"^{wide} was made for Stable Diffusion 1, and tiny is a Stable")
    flux = save_diffusers(tmp_path / "flux", "flux", r=2)
    refused(flux, r"flux.*made for FLUX.1")
    folder = save_peft(tmp_path / "somewhere", tiny_pipeline(family="pixart").transformer, ["proj"], r=2)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "a/pixart"}))
    refused(
        folder, f"{folder} was made for 'a/pixart', and tiny is a StableDiffusion: it has no pos_embed.proj"
    )
