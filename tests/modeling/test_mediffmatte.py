import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig, instantiate

from modeling.backbone.vit import ViT
from modeling.decoder.diffusion_decoder import DiffusionDecoder
from modeling.inference.predictor import Predictor
from modeling.inputs import trimap_classes
from modeling.losses.criteria import MEDiffMatteCriterion
from modeling.mediffmatte import MEDiffMatte
from tools.reference.diffmatte import ROOT

SIZES = {"embed_dim": 32, "depth": 3, "num_heads": 2, "window_size": 4, "global_blocks": [1, 2]}


def small(**options) -> MEDiffMatte:
    torch.manual_seed(0)
    decoder = DiffusionDecoder([7, 8, 8, 8], [32, 8, 8, 8, 8])
    return MEDiffMatte(ViT(**SIZES, routed=True), decoder, **options)


def pair(height=96, width=112):
    rng = np.random.default_rng(0)
    trimap = np.full((height, width), 128, np.uint8)
    trimap[:20], trimap[-20:] = 0, 255
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), trimap


def test_the_config_joins_the_routed_backbone_of_mematte_and_the_decoder_of_diffmatte():
    config = LazyConfig.load(str(ROOT / "configs" / "MEDiffMatte_S.py"))
    with torch.device("meta"):
        names = set(instantiate(config.model).state_dict())
        mematte = instantiate(LazyConfig.load(str(ROOT / "configs" / "MEMatte_S_topk0.25_win_global_long.py")).model)
        diffmatte = instantiate(LazyConfig.load(str(ROOT / "configs" / "DiffMatte_ViTS_1024.py")).model)
        teacher = instantiate(config.teacher)
    assert {name.removeprefix("model.") for name in names if "backbone." in name} == {
        name for name in mematte.state_dict() if name.startswith("backbone.")
    }
    decoder = {name for name in diffmatte.state_dict() if name.startswith("model.decoder.")}
    assert {name for name in names if name.startswith("model.decoder.")} == decoder
    shapes = {name: value.shape for name, value in diffmatte.backbone.state_dict().items()}
    assert {name: value.shape for name, value in teacher.state_dict().items()} == shapes


def test_it_trains_with_distillation():
    model = small().train()
    teacher = ViT(**SIZES)
    model.attach_teacher(teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    criterion = MEDiffMatteCriterion(keep_ratio=0.25)
    image, trimap = (torch.from_numpy(part) for part in pair(64, 64))
    image, halves = image.permute(2, 0, 1)[None] / 255, trimap_classes(trimap[None, None]) / 2
    alpha = torch.linspace(0, 1, 64)[:, None].expand(1, 1, 64, 64)
    optimizer = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], lr=4e-3)
    history = []
    for _ in range(12):
        losses = criterion(model(image, halves, alpha=alpha), alpha, halves)
        optimizer.zero_grad()
        total = sum(losses.values())
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert set(losses) >= {"distill_loss", "mse_ratio_loss", "mse_loss"} and len(losses) == 7
    assert np.mean(history[-4:]) < 0.8 * np.mean(history[:4])
    assert losses["distill_loss"].requires_grad and losses["distill_loss"] > 0
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert model.backbone.routers[0].out_conv[0].weight.grad.abs().sum() > 0


def test_the_cap_holds_at_inference():
    predictor = Predictor(small(sample_strategy="ddim2").eval(), device="cpu", max_tokens=5)
    result = predictor.run(*pair())
    assert result.alpha.shape == (96, 112)
    assert len(result.keep) == 2 and all(keep.sum() <= 5 for keep in result.keep)
    free = Predictor(small(sample_strategy="ddim2").eval(), device="cpu", max_tokens=None).run(*pair())
    assert sum(keep.sum() for keep in free.keep) > sum(keep.sum() for keep in result.keep)


def test_a_missing_teacher_and_an_unrouted_backbone_are_refused():
    with pytest.raises(ValueError, match="attach_teacher"):
        image = torch.rand(1, 3, 64, 64)
        small().train()(image, image[:, :1].round(), alpha=image[:, :1])
    with pytest.raises(ValueError, match="routed"):
        MEDiffMatte(ViT(**SIZES), DiffusionDecoder([7, 8, 8, 8], [32, 8, 8, 8, 8]))
