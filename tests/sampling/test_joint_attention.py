"""Joint attention: what is recorded of it and what is lent, against maps written out."""

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.embeddings import apply_rotary_emb
from tiny import FLOWS, tiny_backbone

from persongen_lib.sampling import make_strategy, sample
from persongen_lib.sampling.engine.attention import Swap, WordAttention

WORDS, LENGTH, IMAGE, WIDTH = ((1, 3), (5, 6)), 8, 9, 4
"""Two sequences of text, of 4 tokens each, with words at these places."""


@pytest.fixture(params=FLOWS)
def backbone(request):
    return tiny_backbone(family=request.param)


def tokens(text_first, rows, seed=0):
    """Random q, k, v, where the text stands, and where the image."""
    generator = torch.Generator().manual_seed(seed)
    qkv = torch.randn(3, rows, 2, LENGTH + IMAGE, WIDTH, generator=generator)
    text = slice(0, LENGTH) if text_first else slice(IMAGE, IMAGE + LENGTH)
    image = [at for at in range(LENGTH + IMAGE) if not text.start <= at < text.stop]
    return qkv, text, image


EACH_ORDER = pytest.mark.parametrize("text_first", [True, False])


@EACH_ORDER
def test_the_share_of_words_in_the_images_attention(text_first):
    (q, k, v), text, image = tokens(text_first, 3)
    watch = WordAttention("watched", [WORDS, ((0, 1), (4, 8))], (6, 6))
    watch.rows = {"watched": slice(0, 2), "other": slice(2, 3)}
    output = watch.attend_jointly("layer", text, q, k, v)
    maps = (q @ k.mT / WIDTH**0.5).softmax(-1)
    torch.testing.assert_close(output, maps @ v)
    places = [[1, 2, 5], [0, 4, 5, 6, 7]]
    expected = [
        maps[row][:, image][:, :, [text.start + at for at in at_words]].mean((0, 2)).view(1, 3, 3)
        for row, at_words in enumerate(places)
    ]
    expected = F.interpolate(torch.stack(expected), (6, 6), mode="bilinear")[:, 0]
    torch.testing.assert_close(watch.result(), expected)


@EACH_ORDER
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("what", ["outputs", "self_maps", "cross_maps", "both", "all", "aligned", "nothing"])
def test_lent_scores_are_what_explicit_maps_give(what, together, text_first):
    (q, k, v), text, image = tokens(text_first, 6)
    inside = {"outputs": what in ("outputs", "all"), "self_maps": what in ("self_maps", "both", "all")}
    cross = what in ("cross_maps", "both", "all", "aligned")
    swap = Swap(
        "s", "c", **inside, cross_maps=cross, placeholders=[WORDS, ((0, 1), (7, 8))] if what == "aligned" else None,
        text_lengths=(4, 4),
    )  # fmt: skip
    source, target = slice(0, 2), slice(4, 6)
    plain = F.scaled_dot_product_attention(q, k, v)
    if together:
        swap.rows = {"s": source, "c": target}
        result = swap.attend_jointly("layer", text, q, k, v)
        torch.testing.assert_close(result[:4], plain[:4])
        result = result[target]
    else:
        swap.rows = {"s": slice(0, 2)}
        lent = swap.attend_jointly("layer", text, q[source], k[source], v[source])
        torch.testing.assert_close(lent, plain[source])
        swap.rows = {"c": slice(0, 2)}
        result = swap.attend_jointly("layer", text, q[target], k[target], v[target])
    scores = q @ k.mT / WIDTH**0.5
    mixed, lender = scores[target].clone(), scores[source]
    words = list(range(text.start, text.stop))
    if inside["outputs"] or inside["self_maps"]:
        mixed[..., image] = lender[..., image]
    if what == "aligned":
        pairs = [([0, 3, 4, 6, 7], [0, 1, 4, 5, 6]), ([1, 2, 3, 4, 5, 6], [0, 1, 2, 4, 5, 6])]
        for row, (own, its) in enumerate(pairs):
            mixed[row][..., [text.start + at for at in own]] = lender[row][
                ..., [text.start + at for at in its]
            ]
    elif cross:
        mixed[..., words] = lender[..., words]
    values = v[target].clone()
    if inside["outputs"]:
        values[:, :, image] = v[source][:, :, image]
    expected = mixed.softmax(-1) @ values
    torch.testing.assert_close(result[:, :, image], expected[:, :, image])
    torch.testing.assert_close(result[:, :, text], plain[target][:, :, text])
    assert what == "nothing" or not torch.allclose(result, plain[target], atol=1e-2)


def test_a_network_under_a_control_that_changes_nothing_is_itself(backbone):
    """With every attention of its layers, joint and of the image alone, computed by the control."""
    prompts, step = backbone.encode(["a photo of sks dog"] * 2), backbone.solver("flow-euler", 4).steps[1]
    latents = torch.randn(2, 4, 12, 8, generator=torch.Generator().manual_seed(0))
    swap = Swap("nobody", "no one", outputs=True, self_maps=True, cross_maps=True)
    layers, attend, jointly = set(), swap.attend, swap.attend_jointly
    swap.attend = lambda layer, *arguments: layers.add(layer) or attend(layer, *arguments)
    swap.attend_jointly = lambda layer, *arguments: layers.add(layer) or jointly(layer, *arguments)
    with torch.no_grad():
        plain = backbone.predict(latents, step, prompts)
        with backbone.controlled(swap, {}):
            torch.testing.assert_close(backbone.predict(latents, step, prompts), plain)
        assert torch.equal(backbone.predict(latents, step, prompts), plain)
    assert layers == {
        name for name, _ in backbone.modules["network"].named_modules() if name.endswith((".attn", ".attn2"))
    }


def raw_shares(backbone, latents, step, prompt, places):
    """The words' share of the image's attention, (tokens,), by hand from the inputs of the joint layers."""
    inputs, shares, flux = {}, [], backbone.family == "flux"
    layers = [m for name, m in backbone.modules["network"].named_modules() if name.endswith(".attn")]
    handles = [
        layer.register_forward_pre_hook(
            lambda layer, _, given: inputs.update({layer: given}), with_kwargs=True
        )
        for layer in layers
    ]
    with torch.no_grad():
        backbone.predict(latents, step, backbone.encode([prompt]))
    for handle in handles:
        handle.remove()
    length = sum(backbone.text_lengths)
    for layer, given in inputs.items():
        states, text = given["hidden_states"], given.get("encoder_hidden_states")
        q, k = layer.norm_q(split(layer, layer.to_q(states))), layer.norm_k(split(layer, layer.to_k(states)))
        if text is not None:
            text_q = layer.norm_added_q(split(layer, layer.add_q_proj(text)))
            text_k = layer.norm_added_k(split(layer, layer.add_k_proj(text)))
            q, k = torch.cat([text_q, q], 2), torch.cat([text_k, k], 2)  # the order matters to no softmax
        if flux:
            q, k = (apply_rotary_emb(x, given["image_rotary_emb"]) for x in (q, k))
        maps = (q[0] @ k[0].mT / q.shape[-1] ** 0.5).softmax(-1)
        shares.append(maps[:, length:, places].mean((0, 2)))
    return torch.stack(shares).mean(0)


def split(layer, x):
    return x.unflatten(-1, (layer.heads, -1)).transpose(1, 2)


def test_the_mask_is_where_the_class_word_is_attended(backbone):
    """The class word is the fourth of the superclass prompt, in each sequence of text."""
    places, masks = {"sd3": [4, 16 + 3], "flux": [3]}[backbone.family], []

    class Watch:
        name = "watch"

        def record(self, record):
            if record.index == 1:
                prompt = "a photo of dog in the snow"
                raw = raw_shares(backbone, record.latents, record.step, prompt, places).view(1, 1, 6, 4)
                masks.append(
                    (strategy.mask(record.predict)[0, 0], F.interpolate(raw, (12, 8), mode="bilinear")[0, 0])
                )

        def result(self):
            return None

    strategy = make_strategy("masked", quantile=0.6)
    noise = torch.randn(1, 4, 12, 8, generator=torch.Generator().manual_seed(0))
    sample(
        backbone, strategy, "a photo of {} in the snow", "sks", "dog", 3, latents=noise, output="latents",
        recorders=[Watch()],
    )  # fmt: skip
    ((mask, raw),) = masks
    assert 0.3 < mask.float().mean() < 0.5
    assert (mask == (raw > raw.quantile(0.6))).float().mean() > 0.97
