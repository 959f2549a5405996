"""Learned embeddings of others: base is diffusers' own picture with the file, original is the model without it."""

import warnings

import pytest
import torch
from foreign import (
    assert_same,
    assert_used,
    ours,
    refused,
    save_diffusers,
    theirs,
    untouched,
    with_file,
    wrapped,
)
from safetensors.torch import save_file
from tiny import tiny_backbone, tiny_pipeline

from persongen_lib.core.errors import UserError

ENCODERS = {"clip_l": ("text_encoder", "tokenizer"), "clip_g": ("text_encoder_2", "tokenizer_2")}


def vectors(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def saved(path, **tensors):
    save_file(tensors, path)
    return path


def with_vectors(tensor, token="<rex>"):
    pipe = tiny_pipeline()
    pipe.load_textual_inversion({token: tensor})
    return pipe


@pytest.mark.parametrize("shape", [(32,), (1, 32), (3, 32)])
@pytest.mark.parametrize("form", ["diffusers", "a1111", "renamed"])
def test_a_file_of_one_text_encoder(tmp_path, shape, form):
    tensor = vectors(*shape)
    if form == "diffusers":
        adapter = saved(tmp_path / "learned_embeds.safetensors", **{"<rex>": tensor}).parent
    else:
        path = saved(
            tmp_path / ("<rex>.safetensors" if form == "a1111" else "x.safetensors"), emb_params=tensor
        )
        adapter = path if form == "a1111" else f"{path}:<rex>"
    backbone, prompt = wrapped(), "a photo of <rex> dog"
    backbone.load_adapter(adapter)
    assert_same(ours(backbone, token="<rex>"), theirs(with_vectors(tensor), prompt))
    plain = tiny_pipeline()
    assert_same(
        ours(backbone, "superclass", token="<rex>", superclass_weights="original", guidance_scale=5),
        theirs(plain, "a photo of dog"),
    )
    count = 1 if len(shape) == 1 else shape[0]
    ((start, stop),) = backbone.spans("a photo of ", "<rex>", " dog")
    assert stop - start == count
    ours(backbone, "mixed", token="<rex>", concept_scale=2, superclass_scale=2)
    backbone.unload_adapter()
    assert "<rex>" not in backbone._pipeline.tokenizer.get_vocab()
    table = backbone.modules["text_encoder"].get_input_embeddings().weight
    assert torch.equal(table, plain.text_encoder.get_input_embeddings().weight)
    with pytest.raises(UserError, match="not one word"):
        backbone.token_rows("<rex>")


@pytest.mark.parametrize("count", [1, 2])
def test_a_file_of_two_text_encoders(tmp_path, count):
    tensors = {key: vectors(count, 32, seed=at) for at, key in enumerate(ENCODERS)}
    path = saved(tmp_path / "rexy.safetensors", **tensors)
    pipe = tiny_pipeline(family="sdxl")
    for key, (encoder, tokenizer) in ENCODERS.items():
        pipe.load_textual_inversion(
            tensors[key],
            token="rexy",
            text_encoder=getattr(pipe, encoder),
            tokenizer=getattr(pipe, tokenizer),
        )
    backbone = wrapped("sdxl")
    backbone.load_adapter(path)
    assert_same(ours(backbone, token="rexy"), theirs(pipe, "a photo of rexy dog"))


def test_embeddings_beside_a_lora(tmp_path):
    path = save_diffusers(tmp_path, "sd", r=2)
    pipe = with_file("sd", path, 0.5)
    backbone, tensor = wrapped(), vectors(2, 32)
    pipe.load_textual_inversion({"<rex>": tensor})
    words = saved(tmp_path / "words.safetensors", **{"<rex>": tensor})
    backbone.load_adapter([(path, 0.5), words])
    assert_same(ours(backbone, token="<rex>"), theirs(pipe, "a photo of <rex> dog"))
    backbone.load_adapter([words, f"{path}:0.5"])
    assert_used(backbone, theirs(pipe), untouched())
    with backbone.using(0.5):
        backbone.encode(["a photo of <rex> dog"])


def test_wrong_files_are_refused(tmp_path):
    good = saved(tmp_path / "good.safetensors", **{"<rex>": vectors(2, 32)})
    two = saved(tmp_path / "two.safetensors", clip_l=vectors(1, 32), clip_g=vectors(1, 32))
    refused(saved(tmp_path / "wide.safetensors", **{"<rex>": vectors(2, 33)}), "made for another model")
    refused(saved(tmp_path / "deep.safetensors", **{"<rex>": vectors(1, 2, 32)}), "one or several vectors")
    refused(saved(tmp_path / "nan.safetensors", **{"<rex>": vectors(32) * float("nan")}), "not finite")
    refused(saved(tmp_path / "word.safetensors", dog=vectors(32)), "'dog' is a word of the model already")
    refused(saved(tmp_path / "words.safetensors", **{"my rex": vectors(32)}), "more than one word")
    refused(f"{good}:my rex", "more than one word")
    refused(f"{good}:0.5", "learned embeddings have no scale")
    refused([good, good], "embeddings of '<rex>' are given twice, by [^ ]*good.safetensors: give one")
    refused(two, "has embeddings for clip_g, clip_l, but tiny needs them for its only one")
    refused(good, "for one text encoder, but tiny needs them for clip_g, clip_l", "sdxl")
    refused(good, "takes no learned embeddings", "pixart")
    uneven = saved(tmp_path / "uneven.safetensors", clip_l=vectors(1, 32), clip_g=vectors(2, 32))
    refused(uneven, "one or several vectors per text encoder", "sdxl")
    torch.save({"string_to_param": {"*": vectors(1, 32)}, "name": "rex"}, tmp_path / "rex.pt")
    refused(tmp_path / "rex.pt", "is a pickled file")


def test_a_word_that_only_an_earlier_adapter_knew_is_told(tmp_path):
    backbone, files = tiny_backbone(), {word: tmp_path / f"{word}.safetensors" for word in ("rex", "tom")}
    for word, file in files.items():
        save_file({f"<{word}>": torch.zeros(1, 32)}, file)
    backbone.load_adapter(files["rex"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.encode(["a <rex> in the snow"])
    backbone.load_adapter(files["tom"])
    with pytest.warns(UserWarning, match="does not know the word 'rex'"):
        backbone.encode(["a <rex> in the snow"])
