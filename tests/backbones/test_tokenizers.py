"""Tokenizer folders as real models ship them."""

import json

import numpy as np
import pytest
import sentencepiece
import torch
from tiny import WORDS, tiny_pipeline
from transformers import T5Config, T5EncoderModel

from persongen_lib import load_backbone, make_strategy, sample

T5_SPECIALS = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}


@pytest.fixture(scope="module")
def pixart_folder(tmp_path_factory):
    """A PixArt folder whose tokenizer is T5's `spiece.model` and its settings, as on the Hub: no tokenizer.json."""
    folder = tmp_path_factory.mktemp("models") / "pixart"
    pipeline = tiny_pipeline(family="pixart")
    shuffled = np.random.default_rng(0)
    sentences = [" ".join(shuffled.permutation(WORDS)) for _ in range(200)]
    spiece = folder / "tokenizer" / "spiece.model"
    spiece.parent.mkdir(parents=True)
    with spiece.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=file, vocab_size=30, model_type="unigram",
            minloglevel=2, **T5_SPECIALS,
        )  # fmt: skip
    torch.manual_seed(0)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(spiece))
    config = T5Config(vocab_size=pieces.vocab_size(), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    pipeline.register_modules(text_encoder=T5EncoderModel(config).eval())
    kept = spiece.read_bytes()
    pipeline.save_pretrained(folder)
    for file in spiece.parent.iterdir():
        file.unlink()
    spiece.write_bytes(kept)
    settings = {
        "tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512,
        "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
    }  # fmt: skip
    (spiece.parent / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_a_pixart_whose_tokenizer_is_only_spiece_model_is_loaded_and_sampled(pixart_folder):
    backbone = load_backbone(pixart_folder, device="cpu")
    own = sentencepiece.SentencePieceProcessor(model_file=str(pixart_folder / "tokenizer" / "spiece.model"))
    prompt = "a photo of a dog in the snow"
    expected = [*own.encode(prompt), own.eos_id()]
    assert own.unk_id() not in expected
    with torch.no_grad():
        states = backbone.modules["text_encoder"](torch.tensor([expected])).last_hidden_state
    conditioning = backbone.encode([prompt]).tensors
    assert conditioning["encoder_attention_mask"].sum() == len(expected)
    torch.testing.assert_close(conditioning["encoder_hidden_states"][:, : len(expected)], states)
    result = sample(
        backbone,
        make_strategy("base"),
        "a photo of {}",
        "sks",
        "dog",
        num_steps=1,
        seeds=[0],
        output="latents",
    )
    assert result.latents.shape == (1, 4, 8, 8) and result.latents.isfinite().all()
