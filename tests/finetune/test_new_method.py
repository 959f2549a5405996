"""A fine-tuning method is one file: wherever methods are listed, described, trained and carded, it is there."""

import sys

import pytest
from safetensors.torch import load_file
from tiny import save_pictures, tiny_pipeline

from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec, finetune, list_methods, methods
from persongen_lib.finetune.engine.method import METHODS

FILE = '''"""BitFit: Zaken et al., arXiv 2106.10199."""

from dataclasses import dataclass
from typing import ClassVar

from persongen_lib.finetune.engine.method import METHODS, Method


@METHODS.register("bitfit")
@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """Train the biases of the denoiser, of attention layers at a rate of their own."""

    usual_steps: ClassVar[int] = 700

    attention_learning_rate: float = 0.0
    bias_learning_rate: float = 2e-3

    def prepare(self, trainable, spec):
        network = trainable.backbone.modules["network"]
        biases = [name for name, _ in network.named_parameters() if name.endswith(".bias")]
        for attention, rate in ((True, self.attention_learning_rate), (False, self.bias_learning_rate)):
            if rate:
                chosen = [n for n in biases if trainable.backbone.is_in("attention", n) == attention]
                trainable.train_parameters([f"network.{name}" for name in chosen], rate)
'''


@pytest.fixture
def bitfit(tmp_path, monkeypatch):
    """The method's file in a folder of its own."""
    assert FILE.count("\n") <= 40
    folder = tmp_path / "more_methods"
    folder.mkdir()
    (folder / "bitfit.py").write_text(FILE)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    yield "bitfit"
    METHODS._classes.pop("bitfit", None)
    METHODS._orders.pop("bitfit", None)
    sys.modules.pop(f"{methods.__name__}.bitfit", None)


def test_a_new_method_is_listed_after_the_others_and_known_to_the_command_line(bitfit, capsys):
    assert list_methods()[-1] == bitfit and len(list_methods()) == 7
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    assert bitfit in capsys.readouterr().out
    assert main(["finetune", "--concept", "dog", "--method", "magic"]) == 2
    assert bitfit in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backbone", "expected"), [("micro", (48, 25, 4.0)), ("sd2", (200, 50, 7.0)), ("pixart", (200, 20, 4.5))]
)
def test_a_new_method_has_sensible_defaults_on_every_family(bitfit, tmp_path, backbone, expected):
    spec = fine_tune_spec(load_concept(save_pictures(tmp_path / "rex"), "dog"), backbone, bitfit)
    made = spec.parameters
    assert spec.num_steps == 700 and made["bias_learning_rate"] == 2e-3
    assert (
        made["num_class_images"],
        made["class_num_steps"],
        made["class_guidance_scale"],
    ) == expected


def test_learning_rates_of_any_name_are_checked(bitfit, tmp_path):
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    for parameters, said in [
        ({"bias_learning_rate": 0}, "nothing to train"),
        ({"attention_learning_rate": -1}, "must not be negative"),
        ({"rate": 1}, "unknown parameter of fine-tuning method bitfit: rate"),
    ]:
        with pytest.raises(UserError, match=said):
            fine_tune_spec(concept, "micro", bitfit, **parameters)


@pytest.mark.parametrize("family", ["sd", "sdxl", "pixart"])
def test_a_new_method_trains_and_has_a_card(bitfit, tmp_path, family):
    tiny_pipeline(family=family).save_pretrained(tmp_path / "model")
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    small = {"num_class_images": 2, "class_num_steps": 2}
    spec = fine_tune_spec(concept, str(tmp_path / "model"), bitfit, num_steps=1, **small)
    folder = finetune(spec, concept, Runtime(Store(tmp_path / "runs"), "cpu"), validate=())
    tensors = load_file(folder / "adapter.safetensors")
    assert tensors and all(name.endswith(".bias") for name in tensors)
    card = (folder / "README.md").read_text()
    assert "learned by bitfit" in card and "bias_learning_rate 0.002" in card and "1 steps, seed 0" in card
