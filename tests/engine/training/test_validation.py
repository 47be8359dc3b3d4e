"""Validation: equal scores, the best model kept, bad folders refused."""

import json

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import instantiate

from engine.training import session as run
from engine.training.validation import validate, validation_pairs
from metrics.scores import METRICS, score_pair
from modeling.inference.predictor import Predictor
from modeling.vitmatte import ViTMatte
from tests.engine.synthetic import composite
from tests.engine.training.test_trainer import tiny


@pytest.fixture
def folder(tmp_path):
    """Three composites in the layout image/ trimap/ alpha/."""
    for index in range(3):
        image, trimap, alpha = (part.numpy() for part in composite(index, 64))
        for kind, pixels in (
            ("image", image.transpose(1, 2, 0)[..., ::-1] * 255),
            ("trimap", trimap[0]),
            ("alpha", alpha[0] * 255),
        ):
            (tmp_path / "val" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "val" / kind / f"{index}.png"), np.rint(pixels).astype(np.uint8))
    return tmp_path / "val"


def test_a_run_scores_itself_and_keeps_the_best(tmp_path, folder):
    config = tiny(
        tmp_path / "run",
        f"train.validation_root={folder}",
        "train.eval_period=2",
        "train.max_iter=5",
        "train.log_period=1",
    )
    assert run.train(config, "tiny", resume=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    scored = {line["iteration"]: line["validation/sad"] for line in lines if "validation/sad" in line}
    assert sorted(scored) == [1, 3, 4]
    best = torch.load(tmp_path / "run" / "model_best.pth", weights_only=True)
    assert scored[best["iteration"]] == min(scored.values()) == best["description"]["metrics"]["sad"]
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_final.pth"

    assert run.evaluate(config, resume=True)["sad"] == pytest.approx(scored[4])


def test_the_scores_are_those_of_the_scoring_functions(tmp_path, folder):
    model = instantiate(tiny(tmp_path).model)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    scores = validate(model, validation_pairs(folder), torch.device("cpu"))
    predictor = Predictor(model.student_copy(), device="cpu")
    single = []
    for index in range(3):
        read = [
            cv2.imread(str(folder / kind / f"{index}.png"), flag)
            for kind, flag in (("image", 1), ("trimap", 0), ("alpha", 0))
        ]
        alpha = predictor.predict(np.ascontiguousarray(read[0][..., ::-1]), read[1])
        single.append(score_pair(np.rint(alpha * 255).astype(np.uint8), read[2], read[1]))
    for metric in METRICS:
        assert scores[metric] == pytest.approx(np.mean([getattr(score, metric) for score in single]))
    assert scores["images"] == 3
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_an_image_that_cannot_be_read_is_left_out(tmp_path, folder, caplog):
    (folder / "image" / "1.png").write_bytes(b"no picture")
    scores = validate(instantiate(tiny(tmp_path).model), validation_pairs(folder), torch.device("cpu"))
    assert scores["images"] == 2 and "1.png" in caplog.text


def test_a_folder_without_ground_truth_is_refused_at_the_start(tmp_path, folder):
    (folder / "alpha" / "2.png").unlink()
    with pytest.raises(ValueError, match="1 of 3 images cannot be scored, for example 2: no alpha"):
        run.train(tiny(tmp_path, f"train.validation_root={folder}"), "tiny", resume=False)


def test_the_copy_has_no_teacher_and_the_model_keeps_it(tmp_path):
    config = tiny(tmp_path)
    model = instantiate(config.model)
    model.attach_teacher(instantiate(config.teacher))
    assert model.student_copy().teacher_backbone is None and model.teacher_backbone is not None
    plain = ViTMatte(instantiate(config.teacher), instantiate(config.model.decoder))
    assert plain.student_copy() is not plain
    names = {name for name, _ in plain.student_copy().named_parameters()}
    assert names == {name for name, _ in plain.named_parameters()}
