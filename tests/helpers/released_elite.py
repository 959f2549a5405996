"""ELITE as it was released: files of random mappers in that form, and its formulas in a few lines of their own."""

import torch
from torch import nn
from torch.nn import functional as F

HIDDEN_STATES = (4, 8, 12, 16)
SIDE, PATCH, WIDTH = 32, 4, 12


def save_tower(folder, seed=0):
    """A random CLIP vision tower with 17 layers and 8 x 8 patches of a picture of 32 pixels."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=17, num_attention_heads=2, image_size=SIDE,
        patch_size=PATCH, projection_dim=8,
    )  # fmt: skip
    CLIPVisionModel(config).save_pretrained(folder)
    return folder


def cross_attention(network):
    """The cross-attention layers of a denoiser by name."""
    return {name: layer for name, layer in network.named_modules() if name.endswith("attn2")}


def released_weights(network, width, out, seed):
    """A random state of one of the released mappers: `mapping_0.0.weight` ... `..._attn2_to_v.weight`."""
    torch.manual_seed(seed)
    mapper = nn.Module()
    for level in range(5):
        for name in (f"mapping_{level}", f"mapping_patch_{level}"):
            layers = [nn.Linear(width, 1024), nn.LayerNorm(1024), nn.LeakyReLU(), nn.Linear(1024, 1024)]
            layers += [nn.LayerNorm(1024), nn.LeakyReLU(), nn.Linear(1024, out)]
            mapper.add_module(name, nn.Sequential(*layers))
    for name, layer in cross_attention(network).items():
        for part in ("to_k", "to_v"):
            own = getattr(layer, part)
            projection = nn.Linear(own.in_features, own.out_features, bias=own.bias is not None)
            mapper.add_module(f"{name.replace('.', '_')}_{part}", projection)
    return mapper.state_dict()


def save_mappers(folder, network, text_width, local_width):
    """GLOBAL.pt and LOCAL.pt of random mappers for a denoiser; the paths and the states."""
    states = [
        released_weights(network, WIDTH, text_width, 1),
        released_weights(network, WIDTH, local_width, 2),
    ]
    paths = [folder / "global_mapper.pt", folder / "local_mapper.pt"]
    for path, state in zip(paths, states, strict=True):
        torch.save(state, path)
    return paths, states


def features(tower_folder, pictures):
    """The five levels of (n, 3, 32, 32) pictures from 0 to 1, by transformers alone."""
    from transformers import CLIPVisionModel

    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    output = CLIPVisionModel.from_pretrained(tower_folder)(
        (pictures - mean) / deviation, output_hidden_states=True
    )
    return [output[0], *(output.hidden_states[number] for number in HIDDEN_STATES)]


def mapped(state, name, x):
    """One network of a mapper: Linear, LayerNorm, LeakyReLU, twice, and Linear."""
    for number in (0, 3):
        x = F.linear(x, state[f"{name}.{number}.weight"], state[f"{name}.{number}.bias"])
        norm = state[f"{name}.{number + 1}.weight"], state[f"{name}.{number + 1}.bias"]
        x = F.leaky_relu(F.layer_norm(x, x.shape[-1:], *norm), 0.01)
    return F.linear(x, state[f"{name}.6.weight"], state[f"{name}.6.bias"])


def global_words(state, levels):
    """(n, 5, out)."""
    words = [
        mapped(state, f"mapping_{level}", x[:, :1])
        + mapped(state, f"mapping_patch_{level}", x[:, 1:]).mean(dim=1, keepdim=True)
        for level, x in enumerate(levels)
    ]
    return torch.cat(words, dim=1)


def local_words(state, levels):
    """(n, patches, out)."""
    words = [
        mapped(state, f"mapping_{level}", x[:, :1]) + mapped(state, f"mapping_patch_{level}", x[:, 1:])
        for level, x in enumerate(levels)
    ]
    return torch.stack(words).mean(dim=0)


class EliteAttention:
    """A processor of one cross-attention layer, as the released code computes it, head by head and row by row.

    Args:
        name: The layer's name.
        states: Those of the global and of the local mapper.
        local: (patches, width), the local words.
        index: The placeholder's position.
        scale: Lambda.
        rows: The rows of a call that are of the concept's prompt.
    """

    def __init__(self, name, states, local, index, scale, rows):
        self.name, self.states, self.local = name.replace(".", "_"), states, local
        self.index, self.scale, self.rows = index, scale, rows

    def project(self, part, x, which):
        name = f"{self.name}_{part}"
        return F.linear(x, self.states[which][f"{name}.weight"], self.states[which].get(f"{name}.bias"))

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        outputs = []
        for row, (places, text) in enumerate(zip(hidden_states, encoder_hidden_states, strict=True)):
            q = attn.to_q(places).chunk(attn.heads, -1)
            k, v = (self.project(part, text, 0).chunk(attn.heads, -1) for part in ("to_k", "to_v"))
            bias = 0 if attention_mask is None else attention_mask[row]
            size = q[0].shape[-1] ** 0.5
            maps = [(a @ b.T / size + bias).softmax(-1) for a, b in zip(q, k, strict=True)]
            heads = [a @ b for a, b in zip(maps, v, strict=True)]
            if row in self.rows(len(hidden_states)):
                gates = [one[:, self.index : self.index + 1] for one in maps]
                largest = max(gate.max() for gate in gates)
                own_k, own_v = (
                    self.project(part, self.local, 1).chunk(attn.heads, -1) for part in ("to_k", "to_v")
                )
                for number, gate in enumerate(gates):
                    local = (q[number] @ own_k[number].T / size).softmax(-1) @ own_v[number]
                    heads[number] = heads[number] + self.scale * gate / largest * local
            outputs.append(torch.cat(heads, -1))
        return attn.to_out[0](torch.stack(outputs))
