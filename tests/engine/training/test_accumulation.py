"""Gradients of a batch in parts equal those of the whole."""

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from safetensors.torch import save_file

from engine.training import session
from engine.training.accumulation import BatchMeans, split_batch
from engine.training.optim import parameter_groups
from modeling.base import MattingOutput
from modeling.losses.criteria import (
    AEMatterCriterion,
    DiffMatteCriterion,
    MEDiffMatteCriterion,
    MEMatteCriterion,
    ViTMatteCriterion,
)
from tests.engine.shrunk import leave_checkpoint
from tests.engine.training.test_trainer import curve, tiny
from tests.test_train import assert_same

CRITERIA = (
    ViTMatteCriterion(),
    DiffMatteCriterion(),
    AEMatterCriterion(),
    MEDiffMatteCriterion(),
    MEMatteCriterion(per_block=True, distill_known_weight=0.1),
)


def outputs(count: int) -> dict[str, torch.Tensor]:
    """Network results, ground truth and trimaps with unknown regions of different sizes."""
    random = torch.Generator().manual_seed(0)
    tensors = {name: torch.rand(count, 1, 64, 64, generator=random) for name in ("alpha", "target")}
    tensors |= {name: torch.rand(count, 8, 4, 4, generator=random) for name in ("features", "teacher")}
    tensors |= {f"policy{index}": torch.rand(count, 4, 4, generator=random) for index in range(2)}
    trimap = torch.zeros(count, 1, 64, 64)
    for index in range(count):
        trimap[index, :, : 6 * (index + 1), :30] = 0.5
    return {**tensors, "trimap": trimap}


def losses(criterion, part, **mean) -> torch.Tensor:
    output = MattingOutput(
        part["alpha"], part["features"], policy=[part["policy0"], part["policy1"]], teacher_features=part["teacher"]
    )
    return sum(criterion(output, part["target"], part["trimap"], **mean).values())


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: type(criterion).__name__)
def test_losses_of_parts_add_up_to_those_of_the_whole(criterion):
    batch = outputs(4)
    leaves = [batch[name].requires_grad_() for name in ("alpha", "features", "policy0", "policy1")]
    whole = losses(criterion, batch)
    wanted = torch.autograd.grad(whole, leaves, allow_unused=True)

    parts = split_batch({**batch, "name": list("abcd")}, 2)
    means = BatchMeans()
    for part in parts:
        losses(criterion, part, mean=means.recorder())
    means.average()
    total = sum(losses(criterion, part, mean=means.player()) for part in parts) / len(parts)
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    torch.testing.assert_close(total, whole, rtol=1e-5, atol=0)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def run(folder, accumulate: int, *overrides: str):
    """Weights after one step of gradient descent, without norms and noise.

    Batch norms are frozen, routers draw no noise.
    """
    config = tiny(
        folder,
        "train.max_iter=1",
        "lr_multiplier.warmup_factor=1.0",
        "train.total_batch_size=4",
        "train.freeze_norms_from=0",
        "train.image_period=1000",
        f"train.accumulate={accumulate}",
        *overrides,
    )
    config.model.backbone.router_noise = 0.0
    # The published scale of the losses is meant for crops 64 times as large.
    config.optimizer = L(torch.optim.SGD)(params=L(parameter_groups)(lr=1 / 64, weight_decay=0.0))
    assert session.train(config, "x", resume=False)
    return torch.load(folder / "model_final.pth", weights_only=True)


def test_a_step_in_parts_is_the_step_of_the_whole_batch(tmp_path):
    whole, parts = run(tmp_path / "whole", 1), run(tmp_path / "parts", 4)
    for name, wanted in whole["model"].items():
        assert (parts["model"][name].double() - wanted.double()).abs().max() <= 1e-6, name
    for name, value in curve(tmp_path / "whole")[0].items():
        assert curve(tmp_path / "parts")[0][name] == pytest.approx(value, rel=1e-5), name


def test_the_teacher_runs_once_per_part(tmp_path):
    """Not in a routed network's first pass.

    That pass gathers means in which the teacher has no part.
    """
    settings = ("model.distill=true", "train.total_batch_size=4", "train.accumulate=2", "train.max_iter=1")
    config = tiny(tmp_path, *settings)
    teacher = instantiate(config.teacher)
    state = {f"backbone.{name}": value for name, value in teacher.state_dict().items()}
    save_file(state, tmp_path / "teacher.safetensors")
    config.train.teacher_checkpoint = str(tmp_path / "teacher.safetensors")
    trainer, start = session.prepare(config, "x", resume=False)
    sizes = []
    trainer.bare.teacher_backbone.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    trainer.train(start, 1)
    assert sizes == [2, 2]


def test_a_resumed_run_that_accumulates_and_recomputes_goes_on_to_the_bit(tmp_path):
    """With a moving average too.

    A run that is stopped within a batch resumes before it.
    """
    settings = (
        "train.accumulate=2",
        "train.checkpoint_activations=true",
        "train.ema_decay=0.9",
        "train.max_iter=3",
        "train.checkpoint_period=2",
        "train.image_period=1000",
    )
    assert session.train(tiny(tmp_path / "whole", *settings), "tiny", resume=False)
    leave_checkpoint(tmp_path / "whole", tmp_path / "parts", "model_0000001.pth")
    assert session.train(tiny(tmp_path / "parts", *settings), "tiny", resume=True)
    contents = [torch.load(tmp_path / folder / "model_final.pth", weights_only=True) for folder in ("whole", "parts")]
    for key in ("model", "ema", "trainer", "random", "iteration"):
        assert_same(*(content[key] for content in contents))


def test_unequal_parts_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train\.accumulate=3 does not divide the 2 crops"):
        session.train(tiny(tmp_path, "train.accumulate=3"), "tiny", resume=False)
