"""ELITE: the released mappers, the adapter made by them, its attention and its sampling, against their formulas."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from originals import with_original
from PIL import Image
from released_elite import (
    EliteAttention,
    cross_attention,
    features,
    global_words,
    local_words,
    save_mappers,
    save_tower,
)
from safetensors.torch import load_file, save_file
from tiny import save_pictures, tiny_backbone, tiny_pipeline

from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.data import load_concept
from persongen_lib.encoders.elite import load_encoder
from persongen_lib.encoders.folder import encoder_digest, write_encoder
from persongen_lib.encoders.released import import_released
from persongen_lib.export.run import export_adapter, formats
from persongen_lib.finetune import fine_tune_spec, finetune
from persongen_lib.sampling import list_strategies, make_strategy, sample
from persongen_lib.sampling.engine.prompts import Prompts

FAMILIES = ("sd", "sdxl", "pixart")
WIDTHS = {"sd": (32, 32), "sdxl": (64, 64), "pixart": (32, 48)}
"""Of the text encoders' tables together, and of what cross-attention reads."""
PROMPT = "a photo of {} in the snow"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A concept of two square pictures with masks; the second mask covers everything."""
    folder = save_pictures(tmp_path_factory.mktemp("pictures") / "rex", 2, 32)
    (folder / "masks").mkdir()
    half = np.zeros((32, 32), np.uint8)
    half[:, 8:24] = 255
    Image.fromarray(half).save(folder / "masks" / "0.png")
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(folder / "masks" / "1.png")
    (folder / "concept.json").write_text(json.dumps({"class_name": "dog"}))
    return folder


class Imported:
    """A tiny model in a folder, with random mappers in the released form that are imported for it."""

    def __init__(self, folder, family):
        self.folder, self.family = folder, family
        tiny_pipeline(family=family).save_pretrained(folder / "model")
        self.backbone = tiny_backbone(family=family)
        self.network = self.backbone.modules["network"]
        self.tower = save_tower(folder / "tower")
        self.paths, self.states = save_mappers(folder, self.network, *WIDTHS[family])
        self.encoder = import_released(*self.paths, folder / "encoder", str(self.tower))

    def learn(self, pictures, runs, **parameters):
        concept = load_concept(pictures)
        spec = fine_tune_spec(
            concept, str(self.folder / "model"), "elite", mappers=str(self.encoder), **parameters
        )
        return finetune(spec, concept, Runtime.at(runs, "cpu"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Where adapters are kept; each is made once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    made = {}

    def of(family):
        if family not in made:
            made[family] = Imported(tmp_path_factory.mktemp(family), family)
        return made[family]

    return of


def colors(folder):
    images = [np.asarray(Image.open(folder / f"{number}.png").convert("RGB")) for number in (0, 1)]
    return torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 255


def expected_words(case, folder):
    """The word and the local words of a concept, by the formulas."""
    seen = colors(folder)
    masks = [np.asarray(Image.open(folder / "masks" / f"{number}.png")) > 0 for number in (0, 1)]
    masks = torch.tensor(np.stack(masks)).unsqueeze(1).float()
    word = global_words(case.states[0], features(case.tower, seen))[:, 0].mean(0)
    local = local_words(case.states[1], features(case.tower, seen * masks))
    kept = masks[:, 0, ::4, ::4].flatten(1).unsqueeze(-1)
    return word, (local * kept).flatten(0, 1)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_adapter_holds_the_words_and_projections_of_the_formulas(imported, pictures, runs, family):
    case = imported(family)
    tensors = load_file(case.learn(pictures, runs) / "adapter.safetensors")
    word, local = expected_words(case, pictures)
    rows = {name: tensor for name, tensor in tensors.items() if name.endswith("]")}
    assert set(rows) == {
        f"{t}[{r}]" for t, numbers in case.backbone.token_rows("sks").items() for r in numbers
    }
    torch.testing.assert_close(torch.cat(list(dict.fromkeys(rows.values()))), word, rtol=1e-4, atol=1e-5)
    for name in cross_attention(case.network):
        flat = name.replace(".", "_")
        for part, extra, scale in (("to_k", "extra_k", 1), ("to_v", "extra_v", 0.8)):
            state = case.states[1]
            bias = state.get(f"{flat}_{part}.bias", 0)
            expected = scale * (local @ state[f"{flat}_{part}.weight"].T + bias)
            torch.testing.assert_close(tensors[f"network.{name}.{extra}"], expected, rtol=1e-4, atol=1e-5)
            assert torch.equal(
                tensors[f"network.{name}.{part}.weight"], case.states[0][f"{flat}_{part}.weight"]
            )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale", [0.0, 0.8])
@torch.no_grad()
def test_sampling_is_that_of_the_formulas_in_diffusers_own_pipeline(imported, pictures, runs, family, scale):
    case = imported(family)
    backbone = tiny_backbone(family=family)
    backbone.load_adapter(case.learn(pictures, runs, local_scale=scale))
    ours = sample(
        backbone, make_strategy("base", guidance_scale=5.0), PROMPT, "sks", "dog", 4, [3], output="latents"
    )
    pipeline = tiny_pipeline(family=family)
    word, local = expected_words(case, pictures)
    plain = tiny_backbone(family=family)
    start = 0
    for table, numbers in plain.token_rows("sks").items():
        module, _, name = table.partition(".")
        part = {"text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"}[module]
        weight = getattr(pipeline, part).get_parameter(name)
        weight[numbers] = word[start : start + weight.shape[1]]
        start += weight.shape[1]
    ((index, _),) = plain.spans("a photo of ", "sks", " in the snow")
    network = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    for name, layer in cross_attention(network).items():
        layer.set_processor(
            EliteAttention(name, case.states, local, index, scale, lambda count: range(count // 2, count))
        )
    expected = pipeline(
        "a photo of sks in the snow", num_inference_steps=4, guidance_scale=5.0, output_type="latent",
        generator=[torch.Generator().manual_seed(3)], **plain.call_options,
    ).images  # fmt: skip
    torch.testing.assert_close(ours.latents, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@torch.no_grad()
def test_without_local_words_nothing_is_added_and_a_full_mask_keeps_all(imported, pictures, tmp_path, runs):
    case = imported("sd")
    folder = case.learn(pictures, runs, local_scale=0.0)
    tensors = load_file(folder / "adapter.safetensors")
    rest = tmp_path / "rest"
    rest.mkdir()
    save_file({n: t for n, t in tensors.items() if ".extra_" not in n}, rest / "adapter.safetensors")
    (rest / "adapter.json").write_text((folder / "adapter.json").read_text())
    results = []
    for adapter in (folder, rest):
        backbone = tiny_backbone()
        backbone.load_adapter(adapter)
        results.append(
            sample(backbone, make_strategy("base"), PROMPT, "sks", "dog", 3, [1], output="latents")
        )
    assert torch.equal(results[0].latents, results[1].latents)
    keys = tensors["network.mid_block.attentions.0.transformer_blocks.0.attn2.extra_k"]
    assert keys.shape[0] == 2 * 64
    assert (keys[:64].abs().sum(1) > 0).sum() == 32 and (keys[64:].abs().sum(1) > 0).all()


@torch.no_grad()
def test_twice_the_same_picture_is_the_picture_alone(imported, pictures, tmp_path):
    case, latents = imported("sd"), []
    for count in (1, 2):
        folder = tmp_path / f"of{count}"
        (folder / "masks").mkdir(parents=True)
        for number in range(count):
            for part in ("", "masks/"):
                os.link(pictures / f"{part}0.png", folder / f"{part}{number}.png")
        (folder / "concept.json").write_text('{"class_name": "dog"}')
        backbone = tiny_backbone()
        backbone.load_adapter(case.learn(folder, tmp_path / "runs"))
        result = sample(backbone, make_strategy("base"), PROMPT, "sks", "dog", 3, [1], output="latents")
        latents.append(result.latents)
    torch.testing.assert_close(*latents, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("strategy", list_strategies())
def test_every_strategy_runs_on_it_at_its_usual_cost(imported, pictures, runs, strategy):
    case, plain = imported("sd"), tiny_backbone()
    folder = case.learn(pictures, runs)
    backbone = tiny_backbone()
    backbone.load_adapter(folder)
    made = make_strategy(strategy)
    with with_original(plain, made):
        costs = [
            sample(model, made, PROMPT, "sks", "dog", 5, [1], output="latents").evaluations
            for model in (backbone, plain)
        ]
    assert costs[0] == costs[1]


def test_only_prompts_with_the_placeholder_attend_to_the_local_words(imported, pictures, runs):
    case = imported("sd")
    prompts = ["", "a photo of dog in the snow", "a photo of sks in the snow"]
    latents, timesteps = (
        torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.full((3,), 500),
    )
    outputs = []
    for scale in (0.0, 0.8):
        backbone = tiny_backbone()
        backbone.load_adapter(case.learn(pictures, runs, local_scale=scale))
        with torch.no_grad():
            outputs.append(backbone.forward(latents, timesteps, backbone.encode(prompts)))
    torch.testing.assert_close(outputs[0][:2], outputs[1][:2], rtol=0, atol=0)
    assert (outputs[0][2] - outputs[1][2]).abs().max() > 1e-3


def test_a_picture_does_not_depend_on_its_batch(imported, pictures, runs):
    backbone = tiny_backbone()
    backbone.load_adapter(imported("sd").learn(pictures, runs))
    places = [PROMPT, "a photo of {} on the beach"]
    both = sample(backbone, make_strategy("masked"), places, "sks", "dog", 5, [1, 2], output="latents")
    alone = sample(
        backbone, make_strategy("masked"), places[1], "sks", "dog", 5, [2], output="latents", batch_size=1
    )
    torch.testing.assert_close(both.latents[3:], alone.latents, rtol=1e-4, atol=1e-5)


def test_the_model_is_as_it_was_after_unloading(imported, pictures, runs):
    backbone = tiny_backbone()
    before = {name: tensor.clone() for name, tensor in backbone.modules["network"].state_dict().items()}
    backbone.load_adapter(imported("sd").learn(pictures, runs))
    with backbone.using("original"):
        zero = backbone.modules["network"].mid_block.attentions[0].transformer_blocks[0].attn2.extra_v
        assert not zero.any()
    backbone.unload_adapter()
    after = backbone.modules["network"].state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.modules["network"].modules())


class Harmful:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Harmful(), "could run code"),
        ({"mapping_0.0.weight": torch.zeros(2, 2)}, "holds no mapper of ELITE"),
        ({"mapping_0.0.weight": torch.zeros(2), "mapping_0.6.weight": torch.zeros(2)}, "holds no mapper"),
        ({"mapping_0.0.weight": torch.zeros(2, 2), "mapping_0.6.weight": torch.tensor(1.0)}, "holds no map"),
        ([1, 2], "holds no mapper of ELITE"),
    ],
)
def test_what_is_no_released_mapper_is_refused(imported, tmp_path, content, message):
    torch.save(content, tmp_path / "wrong.pt")
    with pytest.raises(UserError, match=message):
        import_released(tmp_path / "wrong.pt", imported("sd").paths[1], tmp_path / "out", "tower")
    assert not (tmp_path / "out").exists()


def test_an_encoder_of_another_model_is_refused(imported, pictures, tmp_path):
    concept = load_concept(pictures)
    spec = fine_tune_spec(
        concept, str(imported("sdxl").folder / "model"), "elite", mappers=str(imported("sd").encoder)
    )
    with pytest.raises(UserError, match="the encoder was made for another model"):
        finetune(spec, concept, Runtime.at(tmp_path, "cpu"))


def test_pictures_without_masks_and_numbers_of_steps_are_refused(imported, tmp_path):
    case = imported("sd")
    concept = load_concept(save_pictures(tmp_path / "bare"), "dog")
    options = {"backbone": str(case.folder / "model"), "method": "elite", "mappers": str(case.encoder)}
    with pytest.raises(UserError, match="elite needs a mask for every picture of bare"):
        finetune(fine_tune_spec(concept, **options), concept, Runtime.at(tmp_path, "cpu"))
    with pytest.raises(UserError, match="elite trains nothing for a concept"):
        fine_tune_spec(concept, num_steps=100, **options)
    with pytest.raises(UserError, match="no encoder of elite is known"):
        fine_tune_spec(concept, options["backbone"], "elite")


def test_the_encoder_is_part_of_what_the_fine_tuning_is(imported, pictures, tmp_path):
    case, concept = imported("sd"), load_concept(pictures)
    other = import_released(*reversed(case.paths), tmp_path / "other", str(case.tower))
    hashes = set()
    for folder in (case.encoder, other):
        spec = fine_tune_spec(concept, str(case.folder / "model"), "elite", mappers=str(folder))
        assert spec.parameters["digest"]
        hashes.add(spec.hash)
    assert len(hashes) == 2
    assert load_encoder(case.encoder).side == 32


def test_a_vision_tower_that_is_gone_or_of_another_width_is_named(imported, tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    case = imported("sd")
    config = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=17, num_attention_heads=2, image_size=32,
        patch_size=4,
    )  # fmt: skip
    CLIPVisionModel(config).save_pretrained(tmp_path / "narrow")
    encoder = import_released(*case.paths, tmp_path / "encoder", str(tmp_path / "narrow"))
    with pytest.raises(
        UserError, match=r"widths \[8, 8, .*mappers read \[12, 12, .*with the tower that they"
    ):
        load_encoder(encoder)
    shutil.rmtree(tmp_path / "narrow")
    with pytest.raises(UserError, match="the vision tower .*narrow can't be loaded"):
        load_encoder(encoder)


def test_the_segmenter_is_part_of_what_the_encoder_is(tmp_path):
    folder, digests = tmp_path / "encoder", []
    config = {"tower": {"widths": [8]}, "mean": [0], "deviation": [1], "generator": ""}
    for name, content in (("", b"0"), ("segmenter", b"0"), ("segmenter", b"1"), ("segmenter", b"0")):
        write_encoder(folder, {"x": torch.zeros(1)}, config | {"segmenter": name})
        (tmp_path / "segmenter").mkdir(exist_ok=True)
        (tmp_path / "segmenter" / "model.safetensors").write_bytes(content)
        digests.append(encoder_digest(folder))
    assert len(set(digests)) == 3 and digests[1] == digests[3]


def test_a_vision_tower_whose_version_is_not_known_is_refused(tmp_path):
    config = {"tower": {"source": "no/where", "levels": [-1]}, "mean": [0], "deviation": [1]}
    write_encoder(tmp_path, {"x": torch.zeros(1)}, config | {"generator": "", "segmenter": ""})
    with pytest.raises(UserError, match="no/where is not in the hub's cache, and the hub can't be reached"):
        encoder_digest(tmp_path)


def test_prompts_put_the_placeholder_in_the_place_of_the_class(imported, pictures, runs):
    backbone = tiny_backbone()
    backbone.load_adapter(imported("sd").learn(pictures, runs))
    prompts = Prompts(PROMPT, "sks", "dog", in_place=backbone.in_place)
    assert prompts["concept"] == "a photo of sks in the snow"
    assert prompts["superclass"] == "a photo of dog in the snow"
    assert prompts.spans("concept", backbone) == backbone.spans("a photo of ", "sks", " in the snow")
    ((start, stop),) = prompts.spans("added", backbone)
    assert start == stop
    longer = Prompts(PROMPT, "sks cat", "dog", in_place=True)
    ((start, stop),) = longer.spans("added", backbone)
    assert backbone.spans("a photo of sks ", "cat", " in the snow") == ((start + 1, stop + 1),)
    with pytest.raises(UserError, match="can't be aligned with it: give align_tokens=False"):
        Prompts(PROMPT, "sks", "dog cat", in_place=True).spans("added", backbone)
    aligned, plain = (
        sample(
            backbone,
            make_strategy("photoswap", align_tokens=align),
            PROMPT,
            "sks",
            "dog",
            4,
            [1],
            output="latents",
        )
        for align in (True, False)
    )
    torch.testing.assert_close(aligned.latents, plain.latents, rtol=1e-4, atol=1e-5)


def test_adapters_with_both_forms_of_prompts_are_not_combined(imported, pictures, tmp_path, runs):
    case = imported("sd")
    folder = case.learn(pictures, runs)
    other = tmp_path / "other"
    other.mkdir()
    save_file({"network.conv_in.bias": torch.zeros(16)}, other / "adapter.safetensors")
    about = json.loads((folder / "adapter.json").read_text())
    about.pop("in_place")
    (other / "adapter.json").write_text(json.dumps(about))
    backbone = tiny_backbone()
    with pytest.raises(UserError, match="load adapters of one kind"):
        backbone.load_adapter([folder, other])
    with pytest.raises(UserError, match="only one adapter with extra keys and values"):
        backbone.load_adapter([folder, (str(folder), 0.5)])
    assert backbone.adapter is None


def test_a_share_of_the_adapter_is_between_the_original_and_it(imported, pictures, runs):
    folder = imported("sd").learn(pictures, runs)
    layer = "mid_block.attentions.0.transformer_blocks.0.attn2"
    whole = load_file(folder / "adapter.safetensors")
    backbone = tiny_backbone()
    backbone.load_adapter(folder)
    with backbone.using(0.25):
        attention = backbone.modules["network"].get_submodule(layer)
        torch.testing.assert_close(attention.extra_k, whole[f"network.{layer}.extra_k"])
        torch.testing.assert_close(attention.extra_v, 0.25 * whole[f"network.{layer}.extra_v"])
    backbone.load_adapter(folder, 0.5)
    attention = backbone.modules["network"].get_submodule(layer)
    torch.testing.assert_close(attention.extra_v, 0.5 * whole[f"network.{layer}.extra_v"])


def test_what_other_programs_can_load_of_it_is_said(imported, pictures, tmp_path, runs):
    folder = imported("sd").learn(pictures, runs)
    card = (folder / "README.md").read_text()
    assert "In a prompt, **sks** is one particular dog" in card and '"a photo of sks"' in card
    assert formats(folder) == ("textual_inversion",)
    with pytest.raises(UserError, match="no format of other programs holds all of an adapter of elite"):
        export_adapter(folder, tmp_path / "all")
    with pytest.raises(UserError, match="can't be exported as pipeline"):
        export_adapter(folder, tmp_path / "whole", "pipeline")


def test_the_command_line_imports_learns_and_samples(imported, pictures, tmp_path, monkeypatch, capsys):
    case = imported("sd")
    monkeypatch.chdir(tmp_path)
    files = [str(path) for path in case.paths]
    assert main(["import-elite", *files, "--output", "encoder", "--vision", str(case.tower)]) == 0
    common = ["--concept", str(pictures), "--method", "elite", "--backbone", str(case.folder / "model")]
    assert main(["finetune", *common, "--param", "mappers=encoder", "--param", "local_scale=0.6"]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    row = json.loads((folder / "adapter.json").read_text())
    assert row["in_place"] and row["parameters"]["local_scale"] == 0.6 and row["num_steps"] == 1
    assert main(["import-elite", *files, "--output", "encoder"]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert main(["finetune", *common, "--batch-size", "2"]) == 2
    assert "unknown parameter of fine-tuning method elite: batch_size" in capsys.readouterr().err
    assert main(["plan", "--method", "elite", "--backbone", str(case.folder / "model")]) == 2
    assert "elite trains nothing for a concept" in capsys.readouterr().err
