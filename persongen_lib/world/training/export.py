"""From trained weights to the folders of data/models: fp16 safetensors, each as its library loads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from persongen_lib.core.files import write_atomic, write_json
from persongen_lib.encoders.folder import write_encoder
from persongen_lib.world.language.vocabulary import word_tokenizer
from persongen_lib.world.models.autoencoder import new_autoencoder
from persongen_lib.world.models.forms.form import FORMS
from persongen_lib.world.models.networks import COLORED, HEADS, Reader, SegmenterNetwork, clip_config
from persongen_lib.world.training.elite import SIDE, SIZES, mappers_in


def half(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, contiguous, those of real numbers in half precision."""
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in tensors.items()
    }


def trained(folder: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of a training folder: the final ones, or those of its last checkpoint."""
    final = folder / "final.safetensors"
    if final.exists():
        return load_file(final)
    with safe_open(folder / "checkpoint.safetensors", "pt") as file:
        return {key[8:]: file.get_tensor(key) for key in file.keys() if key.startswith("average.")}  # noqa: SIM118


def import_autoencoder(folder: Path, part: Path) -> None:
    """Take the autoencoder of an exported generator back into a training folder, unless one is there."""
    if (part / "final.safetensors").exists():
        return
    part.mkdir(parents=True, exist_ok=True)
    for suffix, name in ((".csv", "loss.csv"), (".json", "training.json")):
        shutil.copy(folder / "training" / f"autoencoder{suffix}", part / name)
    weights = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    floats = {key: value.float() for key, value in weights.items()}
    write_atomic(part / "final.safetensors", lambda path: save_file(floats, path))


def export_generator(
    autoencoder: Path, generator: Path, encoder: Path, scale: float, family: str, folder: Path
) -> None:
    """Write a folder that the family's pipeline of diffusers loads (`Form.pipeline`).

    transformers takes the number type of a model from its configuration, diffusers float32: it is set to agree.

    Args:
        autoencoder: The training folder of the autoencoder.
        generator: The training folder of the generator.
        encoder: The training folder of the encoder for its alignment.
        scale: The pipeline's `scaling_factor` (`latent_scale`).
        family: The name of a form.
        folder: The folder to write.
    """
    vae = new_autoencoder()
    vae.load_state_dict(trained(autoencoder))
    vae.register_to_config(scaling_factor=scale)
    weights, modules = trained(generator), FORMS[family].modules()
    for name, module in modules.items():
        prefix = f"{name}."
        module.load_state_dict({k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)})
    pipeline = FORMS[family].pipeline(vae, modules)

    def write(place: Path) -> None:
        pipeline.to(torch.float16).save_pretrained(place)
        for config in place.glob("text_encoder*/config.json"):
            write_json(config, json.loads(config.read_text(encoding="utf-8")) | {"dtype": "float32"})
        config = place / "vae" / "config.json"
        derived = {"block_out_channels"}  # set by the class itself, which warns of it when it is loaded
        write_json(
            config,
            {k: v for k, v in json.loads(config.read_text(encoding="utf-8")).items() if k not in derived},
        )

    _write_folder(folder, write, autoencoder, encoder, generator)


def export_clip(weights: Path, folder: Path) -> None:
    """A folder that open_clip loads as `local-dir:FOLDER`."""

    def write(place: Path) -> None:
        from transformers import PreTrainedTokenizerFast

        config = clip_config()
        config["text_cfg"] |= {"hf_tokenizer_name": ".", "tokenizer_kwargs": {"clean": "lower"}}
        preprocess = {
            "size": 64,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "mode": "RGB",
            "interpolation": "bicubic",
            "resize_mode": "squash",
        }
        content = {"model_cfg": config, "preprocess_cfg": preprocess}
        (place / "open_clip_config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        save_file(half(trained(weights)), place / "open_clip_model.safetensors")
        PreTrainedTokenizerFast(
            tokenizer_object=word_tokenizer(),
            pad_token="[PAD]",
            unk_token="[UNK]",
            bos_token="[START]",
            eos_token="[END]",
        ).save_pretrained(place)

    _write_folder(folder, write, weights)


def export_reader(make: Callable[[], Reader], weights: Path, folder: Path) -> None:
    """config.json and model.safetensors for `persongen_lib.world.models.oracle.load_oracle`.

    Args:
        make: Makes the network: `OracleNetwork` or `JudgeNetwork`.
        weights: The training folder.
        folder: The folder to write.
    """

    def write(place: Path) -> None:
        config = {"heads": {name: list(values) for name, values in HEADS.items()}}
        (place / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        network = make()
        network.load_state_dict(trained(weights))
        save_file(half(network.state_dict()), place / "model.safetensors")

    _write_folder(folder, write, weights)


def export_segmenter(weights: Path, folder: Path) -> None:
    """config.json and model.safetensors for `persongen_lib.world.models.segmenter.load_segmenter`."""

    def write(place: Path) -> None:
        (place / "config.json").write_text(
            json.dumps({"colors": list(COLORED)}, indent=2) + "\n", encoding="utf-8"
        )
        network = SegmenterNetwork()
        network.load_state_dict(trained(weights))
        save_file(half(network.state_dict()), place / "model.safetensors")

    _write_folder(folder, write, weights)


def export_elite(tower: Path, words: Path, local: Path, generator: str, family: str, folder: Path) -> None:
    """A folder for `persongen_lib.encoders.elite.load_encoder`.

    Args:
        tower: The training folder of the tower alone.
        words: That of the global part, with the tower.
        local: That of the local part.
        generator: What the weights of the generator are known by (`weights_digest`).
        family: Its family.
        folder: The folder to write.
    """

    def write(place: Path) -> None:
        config = {
            "tower": {"widths": list(SIZES[family].widths), "side": SIDE},
            "mean": [0.5] * 3,
            "deviation": [0.5] * 3,
            "generator": generator,
            "segmenter": "micro-segmenter",
        }
        write_encoder(place, half(mappers_in(trained(words)) | trained(local)), config)

    _write_folder(folder, write, tower, words, local)


def _write_folder(folder: Path, write: Callable[[Path], None], *parts: Path) -> None:
    """Write a whole folder beside the old one, then put it in the old one's place; the model card is kept.

    `parts` are the training folders behind it: their loss curves and plans go to training/.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    (partial / "training").mkdir()
    for part in parts:
        shutil.copy(part / "loss.csv", partial / "training" / f"{part.name}.csv")
        write_json(partial / "training" / f"{part.name}.json", _training(part))
    card = folder / "README.md"
    if card.exists():
        write_atomic(partial / "README.md", card.read_bytes())
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _training(part: Path) -> dict:
    about = json.loads((part / "training.json").read_text(encoding="utf-8"))
    step, seconds = (part / "loss.csv").read_text(encoding="utf-8").splitlines()[-1].split(",")[:2]
    seen = int(step) * about["plan"]["batch_size"] * about["workers"]
    return about | {"steps_done": int(step), "pictures_seen": seen, "seconds": int(seconds)}
