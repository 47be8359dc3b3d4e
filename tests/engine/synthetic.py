"""Endless cheap batches of composites: soft discs over plane waves."""

import math

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data.training.datasets import TrainBatches


def composite(seed: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Image (3, side, side), trimap (1, side, side) uint8 and alpha (1, side, side) of a random disc."""
    random = torch.Generator().manual_seed(seed)
    place, waves, colours = (torch.rand(*shape, generator=random) for shape in ((3,), (3, 2), (3,)))
    rows, cols = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
    distance = torch.hypot(rows - 0.3 - 0.4 * place[0], cols - 0.3 - 0.4 * place[1])
    alpha = ((0.15 + 0.15 * place[2] - distance) * 20 + 0.5).clamp(0, 1)[None]  # (1, side, side)
    texture = torch.stack([(2 * math.pi * 4 * (a * rows + b * cols)).sin() for a, b in waves]) * 0.25 + 0.5
    image = alpha * colours[:, None, None] + (1 - alpha) * texture
    trimap = torch.full_like(alpha, 128).masked_fill(alpha <= 0, 0).masked_fill(alpha >= 1, 255).to(torch.uint8)
    return image, trimap, alpha


class Composites(Dataset):
    """`length` composites; those from `broken_from` on have NaN in their alpha."""

    def __init__(self, length: int, side: int, broken_from: int | None) -> None:
        self.length, self.side, self.broken_from = length, side, broken_from

    def __len__(self) -> int:
        return self.length

    def sources(self) -> list[dict]:
        return []

    @property
    def skipped(self) -> dict[str, int]:
        return {"bad file": 0}

    def __getitem__(self, key: tuple[int, int]) -> dict:
        index = key[1]
        image, trimap, alpha = composite(index, self.side)
        if self.broken_from is not None and index >= self.broken_from:
            alpha = alpha * math.nan
        return {"image": image, "trimap": trimap, "alpha": alpha, "name": f"disc_{index}"}


def build_loader(
    batch_size: int,
    rank: int,
    world_size: int,
    start_iteration: int,
    pin_memory: bool = False,
    length: int = 50,
    side: int = 64,
    num_workers: int = 0,
    broken_from: int | None = None,
) -> DataLoader:
    """As `data.training.datasets.build_train_loader`."""
    batches = TrainBatches(length, batch_size, 0, 1, rank, world_size, start_iteration)
    composites = Composites(length, side, broken_from)
    return DataLoader(composites, batch_sampler=batches, num_workers=num_workers, persistent_workers=num_workers > 0)
