"""Options of the training: accumulation, schedules, views, buckets, frozen weights."""

import json
import signal

import numpy as np
import pytest
import torch
from diffusers.optimization import get_scheduler
from killed import in_a_process
from PIL import Image
from safetensors.torch import load_file
from test_finetune import SHAPE, SPEC, objective, trainer
from tiny import save_pictures, tiny_backbone, tiny_pipeline

from persongen_lib import make_strategy, sample
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec, finetune, make_method
from persongen_lib.finetune.engine.examples import Examples, concept_examples
from persongen_lib.finetune.engine.objective import Objective
from persongen_lib.finetune.engine.options import TrainingOptions
from persongen_lib.finetune.engine.parking import Parking
from persongen_lib.finetune.engine.precision import frozen_precision
from persongen_lib.finetune.engine.schedule import Schedule
from persongen_lib.finetune.engine.trainable import Trainable
from persongen_lib.finetune.engine.views import CROPS, buckets, size_of, views

SCHEDULES = ["constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]
QUICK = {"num_class_images": 2, "class_num_steps": 2, "batch_size": 1}


@pytest.fixture
def setting(tmp_path, model):
    return load_concept(save_pictures(tmp_path / "rex"), "dog"), model, tmp_path


def gradients(priors, **parameters):
    """The loss and the gradients of the first step."""
    with Trainable(tiny_backbone()) as trainable:
        under_way = objective(trainable, priors, **parameters)
        total = 0
        for part in range(under_way.method.gradient_accumulation):
            loss = under_way.loss(torch.Generator().manual_seed(3), part)
            loss.backward()
            total += loss.item()
        return total, {name: tensor.grad.clone() for name, tensor in trainable.tensors.items()}


@pytest.mark.parametrize("with_priors", [True, False])
def test_accumulated_batches_are_one_large_batch(with_priors):
    priors = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(5)) if with_priors else None
    whole, expected = gradients(priors, batch_size=6)
    parts, found = gradients(priors, batch_size=2, gradient_accumulation=3)
    assert parts == pytest.approx(whole, rel=1e-5) and found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


def test_an_accumulating_training_reports_the_large_batchs_losses(tmp_path):
    histories = []
    for number, parameters in enumerate(({"batch_size": 4}, {"batch_size": 2, "gradient_accumulation": 2})):
        with Trainable(tiny_backbone()) as trainable:
            under_way = trainer(objective(trainable, **parameters), 4, tmp_path / str(number))
            for _ in under_way:
                pass
            histories.append(under_way.history["loss"])
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rates_are_those_of_diffusers(tmp_path, name):
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=2, num_training_steps=7)
    expected, found = [], []
    for _ in range(7):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    with Trainable(tiny_backbone()) as trainable:
        under_way = trainer(objective(trainable, schedule=name, warmup_steps=2), 7, tmp_path)
        step = under_way.optimizer.step
        under_way.optimizer.step = lambda: (
            found.append([group["lr"] for group in under_way.optimizer.param_groups]) or step()
        )
        for _ in under_way:
            pass
    assert [rates[0] for rates in found] == pytest.approx(expected)
    if name != "polynomial":  # which ends at one rate for all
        assert [rates[1] for rates in found] == pytest.approx([5 * rate for rate in expected])


def test_a_constant_rate_is_the_very_number():
    assert Schedule(TrainingOptions(), 5).rate(3e-4, 4) == 3e-4


def test_random_crops_and_flips_are_parts_of_the_picture():
    pixels = np.arange(40)[None, :, None].repeat(20, 0).repeat(3, 2).astype(np.uint8)
    picture, mask = Image.fromarray(pixels), Image.fromarray(pixels[..., 0] * 5)
    (middle,) = views(TrainingOptions(), picture, mask, (20, 20), (10, 10), 0)
    assert np.array_equal(np.asarray(middle[0]), pixels[:, 10:30]) and middle[1].size == (10, 10)
    straight, mirrored = views(TrainingOptions(random_flip=True), picture, mask, (20, 20), (20, 20), 0)
    assert np.array_equal(np.asarray(mirrored[0]), pixels[:, 10:30][:, ::-1])
    assert np.array_equal(np.asarray(mirrored[1]), np.asarray(straight[1])[:, ::-1])
    crops = list(views(TrainingOptions(random_crop=True), picture, mask, (20, 20), (20, 20), 0))
    starts = [np.asarray(view)[0, :, 0].astype(float).mean() - 9.5 for view, _ in crops]
    assert (
        len(crops) == CROPS
        and len(set(starts)) > CROPS // 2
        and 0 <= min(starts) < 5 < 15 < max(starts) <= 20
    )
    for view, its in crops:  # the mask is cut where its picture is
        assert np.abs(np.asarray(its, float) / 5 - np.asarray(view, float)[..., 0]).max() <= 1
    again = list(views(TrainingOptions(random_crop=True), picture, mask, (20, 20), (20, 20), 0))
    assert all(one[0].tobytes() == other[0].tobytes() for one, other in zip(crops, again, strict=True))


def test_buckets_have_the_area_of_the_square():
    sizes = buckets(1024, 8)
    assert (1024, 1024) in sizes and (832, 1216) in sizes and (1216, 832) in sizes
    for width, height in sizes:
        assert width % 64 == height % 64 == 0 and 0.5 <= width / height <= 2
        assert 0.88 * 1024**2 <= width * height <= 1024**2


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((20, 20), (16, 16)), ((40, 20), (22, 10)), ((20, 30), (12, 20)), ((400, 20), (22, 10))],
)
def test_pictures_are_learned_in_the_bucket_of_their_shape(shape, expected):
    found = size_of(make_method("lora", buckets=True), tiny_backbone(), Image.new("RGB", shape))
    possible = buckets(16, 2)
    assert found in possible
    distance = {size: abs(np.log(size[0] / size[1]) - np.log(shape[0] / shape[1])) for size in possible}
    assert distance[found] == min(distance.values())
    assert (found[0] > found[1]) == (expected[0] > expected[1])


def test_examples_of_buckets_keep_their_prompts_masks_and_sizes(setting):
    concept, _, folder = setting
    Image.effect_noise((48, 24), 90).convert("RGB").save(folder / "rex/wide.png")
    (folder / "rex/masks").mkdir()
    for path in (folder / "rex").glob("*.png"):
        Image.new("L", Image.open(path).size, 255).save(folder / "rex/masks" / path.name)
    (folder / "rex/wide.txt").write_text("a photo of {} in the snow")
    method = make_method("dreambooth", buckets=True, random_flip=True, masked_loss=True, resolution=32)
    backbone = tiny_backbone()
    groups = concept_examples(method, SPEC, backbone, load_concept(folder / "rex", "dog"))
    square, wide = sorted(groups, key=len, reverse=True)
    assert square.latents.shape == (6, 4, 16, 16) and square.masks.shape == (6, 1, 16, 16)
    assert len(wide) == 2 and wide.latents.shape[3] > wide.latents.shape[2]
    assert wide.masks.shape[2:] == wide.latents.shape[2:] and set(wide.prompts) == {
        "a photo of sks dog in the snow"
    }
    for group in groups:  # the second view is the picture's mirror image
        straight = backbone.decode(group.latents[:1])[0]
        assert straight.size == (2 * group.latents.shape[3], 2 * group.latents.shape[2])


def test_every_bucket_and_the_class_pictures_are_learned_from():
    generator = torch.Generator().manual_seed(0)
    groups = [
        Examples(torch.randn(n, 4, *size, generator=generator), ("a photo of sks dog",) * n)
        for n, size in ((1, (8, 8)), (3, (6, 12)))
    ]
    priors = Examples(torch.randn(2, *SHAPE, generator=generator), ("a photo of dog",) * 2)
    backbone, seen = tiny_backbone(), []
    forward = backbone.forward
    backbone.forward = lambda latents, *rest: seen.append(tuple(latents.shape)) or forward(latents, *rest)
    with Trainable(backbone) as trainable:
        method = make_method("lora", batch_size=2, prior_weight=0.5)
        method.prepare(trainable, SPEC)
        under_way = Objective(method, trainable, groups, priors)
        for seed in range(40):
            loss = under_way.loss(torch.Generator().manual_seed(seed))
            assert loss.isfinite()
    together, wide, beside = ((4, 4, 8, 8), (2, 4, 6, 12), (2, 4, 8, 8))
    assert set(seen) == {together, wide, beside} and seen.count(wide) == seen.count(beside)
    assert seen.count(wide) > seen.count(together) > 0  # three pictures against one


def test_a_training_at_another_resolution_sees_pictures_of_that_size(setting):
    concept, model, folder = setting
    spec = fine_tune_spec(concept, model, "lora", num_steps=2, resolution=24, **QUICK)
    assert finetune(spec, concept, Runtime(Store(folder / "runs"), "cpu"), validate=()).exists()
    (examples,) = concept_examples(make_method("lora", resolution=24), SPEC, tiny_backbone(), concept)
    assert examples.latents.shape == (3, 4, 12, 12)
    fitted = tiny_backbone().encode_images(concept.images, (24, 24))
    torch.testing.assert_close(examples.latents, fitted, rtol=1e-4, atol=1e-5)


def test_class_and_validation_pictures_have_the_size_of_the_training(setting, tmp_path):
    concept, model, _ = setting
    prior = {"prior_weight": 1.0, "num_class_images": 2, "class_num_steps": 2}
    sizes = {}
    for resolution in (0, 16, 24):
        runtime = Runtime(Store(tmp_path / str(resolution)), "cpu")
        spec = fine_tune_spec(concept, model, "lora", num_steps=1, resolution=resolution, **prior)
        folder = finetune(spec, concept, runtime, validate=["a photo of {}"])
        made = next((runtime.store.root / "class_images").glob("*/spec.json")).parent
        sizes[resolution] = [
            Image.open(next(made.glob("images/*.png"))).size,
            Image.open(folder / "validation" / "step_00001.png").size,
        ]
        given = {"height": resolution, "width": resolution} if resolution == 24 else {}
        assert json.loads((made / "spec.json").read_text()).items() >= given.items()
    assert sizes == {0: [(16, 16), (32, 16)], 16: [(16, 16), (32, 16)], 24: [(24, 24), (48, 24)]}
    names = {path.parent.name for path in tmp_path.glob("[01]*/class_images/*/spec.json")}
    assert len(names) == 1


@pytest.mark.parametrize(("family", "unit"), [("sd", 2), ("pixart", 4), ("sd3", 4), ("flux", 4)])
def test_a_resolution_that_does_not_fit_is_refused_before_anything_is_loaded(setting, tmp_path, family, unit):
    concept, *_ = setting
    pipeline = tiny_pipeline(family=family)
    pipeline.save_pretrained(tmp_path)
    own = tiny_backbone(family=family)
    assert unit == own.pixels_per_latent * own.patch
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    assert fine_tune_spec(concept, str(tmp_path), "lora", resolution=5 * unit)
    with pytest.raises(
        UserError, match=f"resolution must be a multiple of {unit} pixels for {tmp_path}, not {unit + 1}"
    ):
        fine_tune_spec(concept, str(tmp_path), "lora", resolution=unit + 1)


def test_a_resolution_beyond_the_places_of_sd3_is_refused_before_the_training(setting):
    backbone = tiny_backbone(family="sd3")
    places = (
        backbone.modules["network"].config.pos_embed_max_size * backbone.patch * backbone.pixels_per_latent
    )
    for several in (False, True):
        method = make_method("lora", resolution=places + 4, buckets=several)
        with pytest.raises(UserError, match=f"at most {places} pixels a side"):
            concept_examples(method, SPEC, backbone, setting[0])
    with pytest.raises(UserError, match="pixels a side"):
        sample(backbone, make_strategy("base"), "a {}", "sks", "dog", 1, height=places + 4)


def test_options_that_are_off_leave_a_runs_key_alone(setting):
    concept, model, _ = setting
    plain = fine_tune_spec(concept, model, "lora")
    assert not {"resolution", "schedule", "buckets"} & plain.parameters.keys()
    off = fine_tune_spec(concept, model, "lora", resolution=0, schedule="constant", buckets=False)
    assert off.hash == plain.hash
    for option in ({"resolution": 32}, {"random_flip": True}, {"gradient_accumulation": 2}):
        assert fine_tune_spec(concept, model, "lora", **option).hash != plain.hash


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"resolution": 17}, "resolution must be a multiple of 2 pixels for"),
        ({"resolution": 5000}, "at most 4096"),
        ({"resolution": -8}, "a whole number"),
        ({"gradient_accumulation": 0}, "must be 1 or more"),
        ({"schedule": "stairs"}, "'cosine'"),
        ({"warmup_steps": 5}, "needs a schedule that warms up"),
        ({"warmup_steps": 9, "schedule": "linear"}, "fewer than the 9 steps"),
        ({"schedule": "polynomial", "learning_rate": 1e-8}, "learning rates above it"),
        ({"frozen_dtype": "int8"}, "'bf16'"),
        ({"frozen_dtype": "bf16"}, "--dtype bf16 as well"),
        ({"buckets": 1}, "true or false"),
    ],
)
def test_options_that_make_no_sense_are_refused(setting, parameters, why):
    concept, model, folder = setting

    def attempt():
        spec = fine_tune_spec(concept, model, "lora", num_steps=9, **{**QUICK, **parameters})
        finetune(spec, concept, Runtime(Store(folder / "runs"), "cpu"), validate=())

    with pytest.raises(UserError, match=why):
        attempt()


def test_snapshots_of_a_schedule_that_depends_on_its_length_are_refused(setting):
    concept, model, folder = setting
    spec = fine_tune_spec(concept, model, "lora", num_steps=4, schedule="cosine", **QUICK)
    with pytest.raises(UserError, match="a snapshot is no shorter fine-tuning"):
        finetune(spec, concept, Runtime(Store(folder / "runs"), "cpu"), snapshots=[2], validate=())


def test_frozen_weights_take_the_arithmetics_type_where_the_model_is_left_alone():
    found = {
        name: frozen_precision(make_method(name), "bf16")
        for name in ("lora", "textual_inversion", "dreambooth", "svdiff", "custom_diffusion")
    }
    assert found == {
        "lora": "bf16", "textual_inversion": "bf16", "dreambooth": "fp32", "svdiff": "fp32",
        "custom_diffusion": "fp32",
    }  # fmt: skip
    assert frozen_precision(make_method("lora"), "fp32") == "fp32"
    assert frozen_precision(make_method("dreambooth", frozen_dtype="bf16"), "bf16") == "bf16"


@pytest.mark.parametrize("method", ["lora", "textual_inversion", "dreambooth", "custom_diffusion", "svdiff"])
def test_what_is_trained_over_bfloat16_weights_is_float32(setting, method):
    concept, model, folder = setting
    options = {"prior_weight": 0, "batch_size": 1, "frozen_dtype": "bf16"}
    more = {"lora": {"token_learning_rate": 1e-3, "text_encoder_learning_rate": 1e-3}}.get(method, {})
    spec = fine_tune_spec(concept, model, method, num_steps=3, **options, **more)
    place = finetune(spec, concept, Runtime(Store(folder / "runs"), "cpu", "bf16"), validate=())
    tensors = load_file(place / "adapter.safetensors")
    assert tensors and all(tensor.dtype == torch.float32 for tensor in tensors.values())
    changed = [t for name, t in tensors.items() if name.endswith("lora_B.weight")]
    assert all(tensor.any() for tensor in changed) and bool(changed) == (method == "lora")


class Moved(torch.nn.Module):
    """Notes where it is told to go."""

    def __init__(self):
        super().__init__()
        self.places = []

    def to(self, device):
        self.places.append(str(device))


def test_parts_wait_and_come_back():
    backbone = tiny_backbone()
    backbone._pipeline.vae, backbone._device = Moved(), torch.device("cuda")
    places = backbone.parts["vae"].places
    with Parking(backbone, {"vae"}) as parking:
        assert places == ["cpu"]
        with parking.complete():
            assert places == ["cpu", "cuda"]
    assert places == ["cpu", "cuda", "cpu", "cuda"]


@pytest.mark.parametrize(
    ("method", "idle"), [("lora", {"text_encoder", "vae"}), ("textual_inversion", {"vae"})]
)
def test_only_what_no_step_uses_waits(method, idle):
    with Trainable(tiny_backbone()) as trainable:
        made = make_method(method)
        made.prepare(trainable, SPEC)
        examples = Examples(torch.randn(1, *SHAPE), ("a photo of sks dog",))
        assert Objective(made, trainable, [examples]).idle == idle


def test_a_killed_training_with_every_option_ends_with_the_same_weights(setting):
    concept, model, folder = setting
    Image.effect_noise((48, 24), 90).convert("RGB").save(folder / "rex/wide.png")
    concept = load_concept(folder / "rex", "dog")
    spec = fine_tune_spec(
        concept, model, "lora", num_steps=12, resolution=24, gradient_accumulation=2, schedule="cosine",
        warmup_steps=3, random_crop=True, random_flip=True, buckets=True, gradient_checkpointing=True,
        ema_decay=0.5, **QUICK,
    )  # fmt: skip

    def train(runs):
        finetune(spec, concept, Runtime(Store(folder / runs), "cpu"), checkpoint_every=4, validate=())

    assert in_a_process(train, "whole") == 0
    checkpoint = folder / f"killed/finetune/{spec.hash}.partial/checkpoint.safetensors"
    assert in_a_process(train, "killed", kill_at=checkpoint) == -signal.SIGKILL
    assert checkpoint.exists() and not Store(folder / "killed").find("finetune", spec)
    assert in_a_process(train, "killed") == 0
    places = [folder / runs / "finetune" / spec.hash for runs in ("whole", "killed")]
    one, other = (load_file(place / "adapter.safetensors") for place in places)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    losses = [(place / "loss.csv").read_text() for place in places]
    assert losses[0] == losses[1] and losses[0].count("\n") == 13
