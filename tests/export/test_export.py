import ast
import functools
import json
import re
import warnings

import diffusers
import pytest
import torch
import yaml
from hostile import NAMES
from markdown_it import MarkdownIt
from own_pipeline import flow_latents
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, FLOWS, save_pictures, tiny_backbone, tiny_pipeline
from torch import nn

from persongen_lib import load_backbone
from persongen_lib.adapters import overlay
from persongen_lib.adapters.spectral import num_shifts
from persongen_lib.backbones.sources import weights_digest
from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.store import Store
from persongen_lib.data import load_concept
from persongen_lib.export.card import model_card
from persongen_lib.export.run import export_adapter, formats, write_companions
from persongen_lib.finetune import fine_tune_spec, finetune
from persongen_lib.sampling import initial_noise, make_strategy, sample

WITH_LORA = pytest.mark.parametrize(
    ("family", "format"),
    [(family, format) for family in ("sd", "sdxl") for format in ("lora", "kohya")]
    + [(family, "lora") for family in FLOWS],
)
EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES)
UNTOUCHED = functools.cache(lambda family="sd": tiny_backbone(family=family))
"""A family's backbone that all tests share, of which they only read."""
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj", "q", "k", "v", "o")
METHODS = ("dreambooth", "lora", "textual_inversion", "custom_diffusion", "svdiff")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder of a saved tiny pipeline of each family."""
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        tiny_pipeline(family=family).save_pretrained(folder / family)
    return folder


@pytest.fixture(scope="module")
def trained_lora(models, tmp_path_factory):
    """An adapter by a training, of rank 3 and alpha 12."""
    folder = tmp_path_factory.mktemp("trained")
    concept = load_concept(save_pictures(folder / "rex"), "dog")
    rates = {"learning_rate": 0.02, "text_encoder_learning_rate": 0.02}  # 0.1 makes rounding grow to 3 %
    spec = fine_tune_spec(
        concept, str(models / "sd"), "lora", 4, rank=3, alpha=12.0, prior_weight=0.0, **rates
    )  # fmt: skip
    return finetune(spec, concept, Runtime(Store(folder / "runs"), "cpu"), validate=())


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters_of(backbone, part="all"):
    network = backbone.modules["network"]
    return {f"network.{n}": p for n, p in network.named_parameters() if backbone.is_in(part, n)}


def lora(backbone, part="attention", text=True, rank=3):
    """Halves for a part of the network, and for the attention of the text encoders."""
    tensors = {}
    for module, model in backbone.modules.items():
        for name, layer in model.named_modules():
            in_text = module != "network" and text and name.rpartition(".")[2] in PROJECTIONS
            in_network = module == "network" and backbone.is_in(part, name)
            if isinstance(layer, nn.Linear | nn.Conv2d) and (in_text or in_network):
                out, into, *kernel = layer.weight.shape
                ones = [1] * len(kernel)
                seed = len(tensors)
                tensors[f"{module}.{name}.lora_A.weight"] = normal(rank, into, *kernel, seed=seed, scale=0.2)
                tensors[f"{module}.{name}.lora_B.weight"] = normal(out, rank, *ones, seed=seed + 1, scale=0.2)
    return tensors


def rows(backbone, token="sks"):
    return {
        f"{table}[{number}]": normal(overlay.parameter_of(backbone.modules, table).shape[1], seed=number + 7)
        for table, numbers in backbone.token_rows(token).items()
        for number in numbers
    }


def trained(method, backbone):
    """Tensors of the kind that each method trains."""
    if method == "lora":
        return lora(backbone)
    if method == "textual_inversion":
        return rows(backbone)
    if method == "svdiff":
        weights = parameters_of(backbone).items()
        return {f"{n}.shift": normal(num_shifts(p), seed=i, scale=0.1) for i, (n, p) in enumerate(weights)}
    part = {"dreambooth": "qkv", "custom_diffusion": "cross_attention_kv"}[method]
    changed = {n: p + normal(*p.shape, scale=0.1) for n, p in parameters_of(backbone, part).items()}
    return {**changed, **rows(backbone)}


def save_adapter(folder, model, tensors, method="lora", token="sks", **parameters):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().contiguous() for name, t in tensors.items()}, folder / "adapter.safetensors")
    spec = FineTuneSpec(
        str(model), method, "my rex", "dog", token, "0123456789ab", 5, parameters=parameters,
        weights=weights_digest(model),
    )  # fmt: skip
    (folder / "adapter.json").write_text(json.dumps(spec.to_dict()))
    return folder


def ours(model, adapter=None, token="sks"):
    """Latents of our base strategy."""
    backbone = loaded(model)
    if adapter is not None:
        backbone.load_adapter(adapter)
    noise = initial_noise((3,), backbone.latent_shape)
    try:
        return sample(
            backbone, make_strategy("base", guidance_scale=5), "a photo of {}", token, "dog", 4, latents=noise,
            output="latents", scheduler=None if backbone.family in FLOWS else "ddim",
        ).latents  # fmt: skip
    finally:
        backbone.unload_adapter()


@functools.cache
def loaded(model):
    """A saved model, loaded once."""
    return load_backbone(model, device="cpu", dtype="fp32")


@functools.cache
def plain(model, token="sks"):
    """Latents of our base strategy without an adapter; each is made once."""
    return ours(model, token=token)


def theirs(pipe, prompt="a photo of sks dog"):
    """Latents of diffusers' own pipeline."""
    pipe.set_progress_bar_config(disable=True)
    if isinstance(pipe, diffusers.StableDiffusion3Pipeline | diffusers.FluxPipeline):
        return flow_latents(pipe, [prompt], initial_noise((3,), (4, 8, 8)), 4, 5.0)
    pixart = isinstance(pipe, diffusers.PixArtAlphaPipeline)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    options = {"clean_caption": False, "use_resolution_binning": False} if pixart else {}
    shape = (4, 8, 8)
    return pipe(
        prompt, latents=initial_noise((3,), shape), num_inference_steps=4, guidance_scale=5.0,
        output_type="latent", **options,
    ).images  # fmt: skip


def assert_same(pipe, model, adapter, token="sks", prompt="a photo of sks dog"):
    """The pipeline makes what our library makes with the adapter, and not what it makes without."""
    expected = ours(model, adapter, token)
    largest = float(expected.abs().max())
    assert (expected - plain(model, token)).abs().max() > 0.05 * largest
    torch.testing.assert_close(theirs(pipe, prompt), expected, rtol=1e-3, atol=1e-3 * largest)


@WITH_LORA
def test_diffusers_loads_a_lora(tmp_path, models, family, format):
    tensors = {
        name: tensor
        for name, tensor in lora(UNTOUCHED(family), "all").items()
        if ".block." not in name  # of a T5, for which diffusers loads none
    }
    adapter = save_adapter(tmp_path / "adapter", models / family, tensors)
    folder = export_adapter(adapter, tmp_path / "out", format)
    name = {"lora": "pytorch_lora_weights.safetensors", "kohya": "my_rex.safetensors"}[format]
    assert {path.name for path in folder.iterdir()} == {name, "README.md"}
    tensors = load_file(folder / name)
    assert {key.split("." if format == "lora" else "_text_model")[0] for key in tensors if "lora_unet" not in key} == {
        ("lora", "sd3"): {"transformer", "text_encoder", "text_encoder_2"},
        ("lora", "flux"): {"transformer", "text_encoder"},
        ("lora", "sd"): {"unet", "text_encoder"},
        ("lora", "sdxl"): {"unet", "text_encoder", "text_encoder_2"},
        ("kohya", "sd"): {"lora_te"},
        ("kohya", "sdxl"): {"lora_te1", "lora_te2"},
    }[format, family]  # fmt: skip
    if format == "kohya":
        alphas = [float(tensor) for key, tensor in tensors.items() if key.endswith(".alpha")]
        assert len(alphas) == len(tensors) / 3 and set(alphas) == {3.0}
    pipe = diffusers.DiffusionPipeline.from_pretrained(models / family)
    pipe.load_lora_weights(str(folder / name if format == "kohya" else folder))
    assert_same(pipe, models / family, adapter)


@pytest.mark.parametrize("format", ["lora", "peft", "kohya"])
def test_a_trained_lora_whose_alpha_is_not_its_rank(tmp_path, models, trained_lora, format):
    from peft import PeftModel

    folder, pipe = (
        export_adapter(trained_lora, tmp_path / "out", format),
        diffusers.DiffusionPipeline.from_pretrained(models / "sd"),
    )
    if format == "peft":
        for part in ("unet", "text_encoder"):
            PeftModel.from_pretrained(getattr(pipe, part), folder / part)
    else:
        pipe.load_lora_weights(str(folder))
    assert_same(pipe, models / "sd", trained_lora)


@EACH_FAMILY
def test_peft_loads_a_folder_a_module(tmp_path, models, family):
    from peft import PeftModel

    adapter = save_adapter(tmp_path / "adapter", models / family, lora(UNTOUCHED(family), "all", rank=2))
    folder = export_adapter(adapter, tmp_path / "out", "peft")
    pipe = diffusers.DiffusionPipeline.from_pretrained(models / family)
    parts = {path.name for path in folder.iterdir() if path.is_dir()}
    assert parts == set(type(UNTOUCHED(family)).original_parts.values())
    for part in parts:
        PeftModel.from_pretrained(getattr(pipe, part), folder / part)
    assert_same(pipe, models / family, adapter)


@pytest.mark.parametrize("token", ["sks", "snow cat", "snow on cat"])
def test_diffusers_loads_embeddings(tmp_path, models, token):
    adapter = save_adapter(
        tmp_path / "adapter", models / "sd", rows(UNTOUCHED(), token), "textual_inversion", token
    )
    folder, pipe = (
        export_adapter(adapter, tmp_path / "out"),
        diffusers.DiffusionPipeline.from_pretrained(models / "sd"),
    )
    word = f"<{token.replace(' ', '-')}>"
    ((key, tensor),) = load_file(folder / "learned_embeds.safetensors").items()
    assert key == word and tensor.shape == (len(token.split()), 32)
    pipe.load_textual_inversion(str(folder), token=word)
    assert_same(pipe, models / "sd", adapter, token, f"a photo of {word} dog")


@pytest.mark.parametrize(
    ("family", "format"),
    [(family, format) for family in ("sd", "sdxl") for format in ("lora", "kohya", "peft")]
    + [(family, format) for family in FLOWS for format in ("lora", "peft")]
    + [("pixart", "peft")],
)
def test_an_exported_lora_is_read_back(tmp_path, models, family, format):
    model = models / family
    adapter = save_adapter(tmp_path / "adapter", model, lora(UNTOUCHED(family), text=False))
    exported = export_adapter(adapter, tmp_path / "out", format)
    expected = ours(model, adapter)
    assert (expected - plain(model)).abs().max() > 0.01 * expected.abs().max()
    torch.testing.assert_close(ours(model, exported), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        ours(model, (exported, 0.5)), ours(model, (adapter, 0.5)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("token", ["sks", "snow cat"])
@pytest.mark.parametrize("family", ["sd", "sdxl", "flux"])
def test_exported_embeddings_are_read_back(tmp_path, models, family, token):
    model = models / family
    adapter = save_adapter(
        tmp_path / "adapter", model, rows(UNTOUCHED(family), token), "textual_inversion", token
    )
    exported = export_adapter(adapter, tmp_path / "out") / "learned_embeds.safetensors"
    expected = ours(model, adapter, token)
    assert (expected - plain(model, token)).abs().max() > 0.01 * expected.abs().max()
    found = ours(model, f"{exported}:<rex>", "<rex>")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("token", ["sks", "snow cat"])
def test_embeddings_of_two_text_encoders(tmp_path, models, token):
    backbone = UNTOUCHED("sdxl")
    tensors = rows(backbone, token)
    second = [name for name in tensors if name.startswith("text_encoder_2")]
    tensors |= {name: tensors[name] + 1 for name in second}
    adapter = save_adapter(tmp_path / "adapter", models / "sdxl", tensors, "textual_inversion", token)
    folder, pipe = (
        export_adapter(adapter, tmp_path / "out"),
        diffusers.DiffusionPipeline.from_pretrained(models / "sdxl"),
    )
    state, word = load_file(folder / "learned_embeds.safetensors"), f"<{token.replace(' ', '-')}>"
    for key, number in (("clip_l", ""), ("clip_g", "_2")):
        encoder, tokenizer = getattr(pipe, f"text_encoder{number}"), getattr(pipe, f"tokenizer{number}")
        pipe.load_textual_inversion(state[key], token=word, text_encoder=encoder, tokenizer=tokenizer)
    assert_same(pipe, models / "sdxl", adapter, token, f"a photo of {word} dog")


def test_embeddings_of_flux(tmp_path, models):
    adapter = save_adapter(
        tmp_path / "adapter", models / "flux", rows(UNTOUCHED("flux")), "textual_inversion"
    )
    state = load_file(export_adapter(adapter, tmp_path / "out") / "learned_embeds.safetensors")
    pipe = diffusers.DiffusionPipeline.from_pretrained(models / "flux")
    for key, number in (("clip_l", ""), ("t5", "_2")):
        encoder, tokenizer = getattr(pipe, f"text_encoder{number}"), getattr(pipe, f"tokenizer{number}")
        pipe.load_textual_inversion(state[key], token="<sks>", text_encoder=encoder, tokenizer=tokenizer)
    assert_same(pipe, models / "flux", adapter, "sks", "a photo of <sks> dog")


@pytest.mark.parametrize(
    ("family", "method"),
    [*(("sd", method) for method in METHODS), ("sdxl", "dreambooth"), ("pixart", "lora"), ("pixart", "svdiff"),
     ("pixart", "textual_inversion"), ("sd3", "custom_diffusion"), ("flux", "dreambooth")],
)  # fmt: skip
def test_a_whole_pipeline_holds_what_any_method_trains(tmp_path, models, family, method):
    adapter = save_adapter(tmp_path / "adapter", models / family, trained(method, UNTOUCHED(family)), method)
    folder = export_adapter(adapter, tmp_path / "out", "pipeline", "cpu")
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    assert pipe.text_encoder.dtype == torch.float32
    assert not list(folder.rglob("*.bin")) and not list(tmp_path.glob(".*"))
    assert_same(pipe, models / family, adapter)
    assert torch.equal(ours(folder), ours(models / family, adapter))


def test_a_lora_with_embeddings_is_two_files(tmp_path, models):
    backbone = UNTOUCHED()
    tensors = {**lora(backbone), **rows(backbone)}
    adapter = save_adapter(tmp_path / "adapter", models / "sd", tensors, token_learning_rate=0.1)
    folder, pipe = (
        export_adapter(adapter, tmp_path / "out"),
        diffusers.DiffusionPipeline.from_pretrained(models / "sd"),
    )
    pipe.load_textual_inversion(str(folder), token="<sks>")
    pipe.load_lora_weights(str(folder))
    assert_same(pipe, models / "sd", adapter, prompt="a photo of <sks> dog")
    with pytest.warns(UserWarning, match="lora does not hold the embedding of 'sks', which"):
        export_adapter(adapter, folder, "lora")
    with pytest.warns(UserWarning, match="does not hold what was trained beside"):
        export_adapter(adapter, folder, "textual_inversion")


def test_formats_follow_from_the_tensors(tmp_path, models):
    full, flows = ("lora", "peft", "kohya"), [f"text_encoder{number}" for number in ("", "_2", "_3")]
    for family, kind, expected, natural in [
        ("sd", "lora", full, ["pytorch_lora_weights.safetensors"]),
        ("pixart", "lora", ("peft",), ["text_encoder", "transformer"]),
        ("pixart", "textual_inversion", (), None),
        ("sd3", "lora", ("peft",), [*flows, "transformer"]),
        ("sd3", "textual_inversion", (), None),
        ("flux", "textual_inversion", ("textual_inversion",), ["learned_embeds.safetensors"]),
        ("sd", "dreambooth", ("textual_inversion",), None),
        ("sd", "svdiff", (), None),
    ]:
        adapter = save_adapter(
            tmp_path / f"{family}-{kind}", models / family, trained(kind, UNTOUCHED(family)), kind
        )
        assert formats(adapter) == (*expected, "pipeline")
        out = export_adapter(adapter, tmp_path / f"{family}-{kind}-out", device="cpu")
        found = sorted(path.name for path in out.iterdir())
        assert "model_index.json" in found if natural is None else found == ["README.md", *natural]


def test_companions_are_what_others_load(tmp_path, models, monkeypatch):
    def unused(*_args, **_options):
        raise AssertionError("the model is loaded")

    monkeypatch.setattr("persongen_lib.export.formats.pipeline.load_backbone", unused)
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    for family, names in [
        ("sd", {"pytorch_lora_weights.safetensors", "learned_embeds.safetensors"}),
        ("sdxl", {"pytorch_lora_weights.safetensors", "learned_embeds.safetensors"}),
        ("pixart", {"transformer", "text_encoder"}),
    ]:
        backbone = UNTOUCHED(family)
        tensors = {**lora(backbone), **rows(backbone, "snow cat")}
        folder = save_adapter(
            tmp_path / family, models / family, tensors, token="snow cat", token_learning_rate=1
        )
        spec = FineTuneSpec.from_dict(json.loads((folder / "adapter.json").read_text()))
        write_companions(folder, spec, concept)
        assert {path.name for path in folder.iterdir()} == {
            "adapter.safetensors", "adapter.json", "README.md", *names,
        }  # fmt: skip
    pipe = diffusers.DiffusionPipeline.from_pretrained(models / "sd")
    pipe.load_textual_inversion(str(tmp_path / "sd"), token="<snow-cat>")
    pipe.load_lora_weights(str(tmp_path / "sd"))
    assert_same(pipe, models / "sd", tmp_path / "sd", "snow cat", "a photo of <snow-cat> dog")


def test_the_model_card(tmp_path, models):
    adapter = save_adapter(tmp_path / "adapter", models / "sdxl", {}, rank=3, token_learning_rate=0.1)
    spec = FineTuneSpec.from_dict(json.loads((adapter / "adapter.json").read_text()))
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    made = {"packages": {"torch": "2"}, "device": "cpu", "dtype": "float32"}
    card = model_card(spec, ("lora", "peft", "kohya", "textual_inversion", "pipeline"), concept, made)
    _, front, text = card.split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["library_name"] == "diffusers" and front["base_model"] == "sdxl" and "license" not in front
    assert {"text-to-image", "lora"} <= set(front["tags"])
    for said in (
        "5 steps, seed 0", "rank 3", "3 pictures", "0123456789ab", spec.weights, "unknown: look at the base",
        "torch 2 on cpu in float32", "a photo of sks dog", "pipe.load_lora_weights", "PeftModel", "my_rex.saf",
        'state["clip_g"]', "`learned_embeds.safetensors` as well", "check that you may use the images",
    ):  # fmt: skip
        assert said in text
    blocks = text.split("```python\n")[1:]
    assert len(blocks) == 6
    for block in blocks:
        compile(block.split("```")[0], "card", "exec")
    (models / "sdxl/README.md").write_text("---\nlicense: mit\ntags: [a]\n---\nA model.\n")
    assert yaml.safe_load(model_card(spec).split("---\n", 2)[1])["license"] == "mit"
    (models / "sdxl/README.md").unlink()


def test_wrong_exports(tmp_path, models):
    pixart = UNTOUCHED("pixart")
    adapter = save_adapter(tmp_path / "pixart", models / "pixart", {**lora(pixart), **rows(pixart)})
    for format in ("lora", "kohya", "textual_inversion"):
        with pytest.raises(UserError, match=f"PixArtAlphaPipeline.* as {format}: take peft or pipeline"):
            export_adapter(adapter, tmp_path / "out", format)
    with pytest.raises(UserError, match="unknown format: onnx; known: lora, peft"):
        export_adapter(adapter, tmp_path / "out", "onnx")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no adapter"):
            export_adapter(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="is a file"):
        export_adapter(adapter, adapter / "adapter.json")


def test_nothing_is_overwritten(tmp_path, models):
    one = save_adapter(tmp_path / "one", models / "sd", lora(UNTOUCHED()))
    two = save_adapter(tmp_path / "two", models / "sd", lora(UNTOUCHED(), rank=2))
    folder = export_adapter(one, tmp_path / "out")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert export_adapter(one, folder) == folder
    for again, format, said in [(two, "lora", "not of this fine-tuning"), (one, "pipeline", "not empty")]:
        with pytest.raises(UserError, match=said):
            export_adapter(again, folder, format)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "empty").mkdir()
    assert (export_adapter(one, tmp_path / "empty", "pipeline", "cpu") / "model_index.json").exists()


def test_a_tokenizer_that_has_changed(tmp_path, models):
    tensors = rows(UNTOUCHED(), "snow cat")
    adapter = save_adapter(tmp_path / "one", models / "sd", tensors, "textual_inversion", "sks cat")
    with pytest.raises(UserError, match="are not those of 'sks cat'"):
        export_adapter(adapter, tmp_path / "out")


def test_the_command(tmp_path, models, capsys):
    adapter = save_adapter(tmp_path / "one", models / "sd", lora(UNTOUCHED()))
    assert main(["export", str(adapter), "--format", "kohya", "--output", str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out") in capsys.readouterr().out and (tmp_path / "out/my_rex.safetensors").exists()
    assert main(["export", str(tmp_path), "--output", str(tmp_path / "other")]) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["export", str(adapter), "--format", "lora", "--output", str(tmp_path / "lora")]) == 0


@pytest.mark.parametrize("name", [name for name in NAMES if name.isprintable()])
def test_hostile_names_in_a_model_card_are_shown_as_they_are(models, name):
    word, parameters = re.sub("[{}]", "", name), {"token_learning_rate": 1, "x": name}
    spec = FineTuneSpec(str(models / "sd"), "lora", name, word, word, "0" * 12, 5, parameters=parameters)
    made = {"packages": {name: name}, "device": name, "dtype": name}
    card = model_card(spec, ("lora", "peft", "kohya", "textual_inversion", "pipeline"), None, made)
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["instance_prompt"] == f"a photo of {word} {word}"
    tokens = MarkdownIt("gfm-like").parse(text)
    inside = {child.type for token in tokens for child in token.children or ()}
    assert inside <= {"text", "text_special", "strong_open", "strong_close", "code_inline", "softbreak"}
    assert not any(token.type == "html_block" for token in tokens)
    assert len([token for token in tokens if token.type == "heading_open"]) == 3
    blocks = [ast.parse(token.content) for token in tokens if token.type == "fence"]
    assert len(blocks) == 6
    called = {call.func.id for block in blocks for call in ast.walk(block) if isinstance(call, ast.Call)
              and isinstance(call.func, ast.Name)}  # fmt: skip
    assert called == {"load_backbone", "make_strategy", "sample", "pipe"}
    literals = {node.value for block in blocks for node in ast.walk(block) if isinstance(node, ast.Constant)}
    assert word in literals


@pytest.mark.parametrize("text", ["[]", "null", '{"packages": []}', "[" * 100_000, "9" * 5000, "{"])
def test_a_broken_provenance_is_left_out_of_the_card(tmp_path, models, text):
    adapter = save_adapter(tmp_path / "one", models / "sd", lora(UNTOUCHED()))
    (adapter / "provenance.json").write_text(text)
    assert "made with" not in (export_adapter(adapter, tmp_path / "out", "lora") / "README.md").read_text()


def test_a_folder_with_something_else_is_refused(tmp_path, models):
    adapter = save_adapter(tmp_path / "one", models / "sd", lora(UNTOUCHED()))
    (tmp_path / "out/mine").mkdir(parents=True)
    (tmp_path / "out/mine/letter.txt").write_text("dear")
    with pytest.raises(UserError, match="letter.txt is there already and is not of this fine-tuning"):
        export_adapter(adapter, tmp_path / "out", "lora")
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["letter.txt"]
    folder = export_adapter(adapter, tmp_path / "new", "lora")
    assert export_adapter(adapter, folder, "kohya") == export_adapter(adapter, folder, "lora")


@pytest.mark.parametrize("output", [None, 7, "", " ", [], b"out"])
def test_an_output_that_is_no_folder(models, tmp_path, output):
    adapter = save_adapter(tmp_path / "one", models / "sd", lora(UNTOUCHED()))
    with pytest.raises(UserError, match="the output must be the path of a folder"):
        export_adapter(adapter, output, "lora")


@pytest.mark.filterwarnings("always")
def test_what_an_export_leaves_out_is_one_plain_line(tmp_path, models, capsys):
    adapter = save_adapter(tmp_path / "one", models / "sd", {**lora(UNTOUCHED()), **rows(UNTOUCHED())})
    assert main(["export", str(adapter), "--format", "lora", "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err == (
        "warning: lora does not hold the embedding of 'sks', which was trained too: "
        "without a format all is exported\n"
    )
