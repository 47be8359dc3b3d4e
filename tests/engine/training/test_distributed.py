"""Two processes with half a batch give one process's gradients."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.config import instantiate
from torch.nn.parallel import DistributedDataParallel

from engine.training.hooks import FreezeNorms
from engine.training.processes import distributed
from engine.training.trainer import MattingTrainer
from modeling.inputs import training_trimap
from modeling.losses.criteria import MEMatteCriterion
from tests.engine.synthetic import composite
from tests.engine.training.test_trainer import TINY, load_config
from tools.reference.weights import fill_

BATCH, TOKENS, BLOCKS = 4, 16, 2


def gradients(rank: int, world_size: int) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Gradients and losses of this process's share, with the same noise."""
    model = instantiate(load_config(TINY).model)
    fill_(model.state_dict())
    model.train()
    model.decoder.eval()  # batch norm's own statistics are per process, as published
    share = slice(rank * BATCH // world_size, (rank + 1) * BATCH // world_size)
    samples = zip(*(composite(index, 64) for index in range(BATCH)), strict=True)
    image, trimap, alpha = (torch.stack(part)[share] for part in samples)
    noise = torch.randn(BLOCKS, BATCH, TOKENS, 2, generator=torch.Generator().manual_seed(0))[:, share]
    wrapped = DistributedDataParallel(model) if world_size > 1 else model
    trimap = training_trimap(trimap)
    losses = MEMatteCriterion()(wrapped(image, trimap, gumbel_noise=noise), alpha, trimap)
    (sum(losses.values()) / 64).backward()  # the published scale is meant for crops 64 times as large
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return found, {name: value.item() for name, value in losses.items()}


def trained(rank: int, world_size: int, accumulate: int, static_graph: bool) -> dict[str, torch.Tensor]:
    """Gradients of the second step on part of a batch, without noise.

    The share is this process's; routers draw no noise.
    """
    config = load_config(TINY)
    config.model.backbone.router_noise = 0.0
    model = instantiate(config.model)
    fill_(model.state_dict())
    share = slice(rank * BATCH // world_size, (rank + 1) * BATCH // world_size)
    samples = zip(*(composite(index, 64) for index in range(BATCH)), strict=True)
    image, trimap, alpha = (torch.stack(part)[share] for part in samples)
    batch = {"image": image, "trimap": trimap, "alpha": alpha, "name": list("abcd")[share]}
    trainer = MattingTrainer(
        model=model,
        criterion=MEMatteCriterion(),
        data_loader=[batch, batch],
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
        device=torch.device("cpu"),
        precision=torch.float32,
        output_dir=Path(),
        accumulate=accumulate,
    )
    trainer.model = distributed(model, trainer.device, trainer.precision, static_graph)
    trainer.register_hooks([FreezeNorms(0)])
    trainer.train(0, 2)
    return {name: parameter.grad / 64 for name, parameter in model.named_parameters()}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", world_size=2, rank=rank)
    torch.save(gradients(rank, 2), f"{folder}/{rank}.pth")
    steps = {"accumulated": trained(rank, 2, 2, static_graph=False), "static": trained(rank, 2, 1, static_graph=True)}
    torch.save(steps, f"{folder}/steps{rank}.pth")


def test_two_processes_equal_one(tmp_path):
    mp.start_processes(work, (str(tmp_path),), nprocs=2, start_method="spawn")
    (first, some), (second, others) = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    whole, losses = gradients(0, 1)

    whole_step = trained(0, 1, 1, static_graph=False)
    for rank in range(2):
        for way, found in torch.load(tmp_path / f"steps{rank}.pth").items():
            for name, wanted in whole_step.items():
                assert (found[name] - wanted).abs().max() <= 1e-6, (way, name)
    assert max(wanted.abs().max() for wanted in whole_step.values()) > 0.1
    assert all(torch.equal(first[name], second[name]) for name in whole)
    for name, wanted in whole.items():
        assert (first[name] - wanted).abs().max() <= 1e-6, name
    assert max(wanted.abs().max() for wanted in whole.values()) > 0.1
    assert some["mse_ratio_loss"] == others["mse_ratio_loss"]  # of the joint batch
    assert abs(some["mse_ratio_loss"] - losses["mse_ratio_loss"]) < 1e-7
    assert abs((some["unknown_l1_loss"] + others["unknown_l1_loss"]) / 2 - losses["unknown_l1_loss"]) < 1e-4
