"""Training dataset, sampler and loader; samples depend on (seed, epoch, index) alone.

A worker process changes nothing but the speed, and a run that starts at iteration n sees what it would have seen.
"""

import logging
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from data.files import FileError, image_size, read_image
from data.training.cache import DecodedCache
from data.training.crops import CompositionSettings, Layer, draw_geometry, one_sided, plan_crop, render_crop
from data.training.sources import BackgroundFolder, Foreground
from data.training.warp import decode_reduction

logger = logging.getLogger(__name__)

MAX_WORKERS = 256
MAX_ATTEMPTS = 20  # draws for one sample before the data is called unusable
ONE_SIDED_ATTEMPTS = 4  # of them, in which crops may be drawn again for what they show of the known sides
BAD_FILE, NOTHING_UNKNOWN, ONE_SIDED = "bad file", "crop without unknown pixel", "crop with one known side"
REASONS = (BAD_FILE, NOTHING_UNKNOWN, ONE_SIDED)


class MattingDataset(Dataset):
    """Random crops of random foregrounds over backgrounds.

    A sample is a dict: image (3, S, S) float32 RGB in [0, 1]; alpha (1, S, S) float32 in [0, 1]; trimap (1, S, S) uint8
    of 0, 128, 255, with at least one unknown pixel; name, the files that it was made of.

    A file that turns out to be bad is logged by name and counted, and the sample is drawn again with the next
    foreground and background; so is a crop without an unknown pixel, which has no loss, and a crop with one known side
    if the settings ask for it.

    Args:
        foregrounds: a source of `data.training.sources`.
        backgrounds: every one is used once an epoch.
        settings: the augmentation.
        seed: of everything random.
        crops_per_foreground: so many samples in a row share their foregrounds, which are then decoded once.
        length: samples an epoch; as many as there are backgrounds, or foregrounds if they are more.
        cache_mb: decoded pictures that each worker keeps.
    """

    def __init__(
        self,
        foregrounds,
        backgrounds: BackgroundFolder,
        settings: CompositionSettings | None = None,
        seed: int = 0,
        crops_per_foreground: int = 1,
        length: int | None = None,
        cache_mb: int = 256,
    ) -> None:
        if crops_per_foreground < 1:
            raise ValueError(f"crops_per_foreground is {crops_per_foreground}; it must be at least 1")
        self.foregrounds, self.backgrounds = foregrounds, backgrounds
        self.settings = settings or CompositionSettings()
        self.seed = seed
        self.crops_per_foreground = crops_per_foreground
        self.length = length or max(len(backgrounds), len(foregrounds))
        self._cache = DecodedCache(cache_mb * 2**20)
        self._counts = torch.zeros(MAX_WORKERS + 1, len(REASONS), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return self.length

    def sources(self) -> list[dict[str, str | int]]:
        """Roots, counts and hashes of the files that samples are made of."""
        return [*self.foregrounds.summaries(), self.backgrounds.summary()]

    @property
    def skipped(self) -> dict[str, int]:
        """Number of rejected draws by reason, over all worker processes."""
        return dict(zip(REASONS, self._counts.sum(0).tolist(), strict=True))

    def __getitem__(self, key: int | tuple[int, int]) -> dict:
        """Sample `index`, or sample `(epoch, index)`."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < self.length:
            raise IndexError(f"sample {index} of {self.length}")
        problem = ""
        for attempt in range(MAX_ATTEMPTS):
            try:
                sample = self._draw(epoch, index, attempt)
            except FileError as error:
                problem = str(error)
                logger.warning("skipped in epoch %d, sample %d: %s", epoch, index, problem)
                self._count(BAD_FILE)
                continue
            if isinstance(sample, dict):
                return sample
            self._count(sample)
        raise ValueError(
            f"sample {index} of epoch {epoch}: {MAX_ATTEMPTS} draws in a row gave nothing to train on"
            f"{', at last ' + problem if problem else ' (no alpha with an unknown pixel)'}; "
            "run tools/check_dataset.py on the data"
        )

    def _count(self, reason: str) -> None:
        worker = get_worker_info()
        self._counts[0 if worker is None else 1 + worker.id, REASONS.index(reason)] += 1

    def _pick(self, epoch: int, index: int, attempt: int) -> tuple[Foreground, Foreground]:
        """The two foregrounds that the samples of a group share."""
        group = index // self.crops_per_foreground
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, group, attempt], spawn_key=(1,)))
        position = group + epoch + attempt  # shifted with the epoch, so that a background meets another foreground
        return self.foregrounds.pick(position, rng), self.foregrounds.pick_other(position, rng)

    def _draw(self, epoch: int, index: int, attempt: int) -> dict | str:
        """Sample, or the reason to draw again."""
        rng = np.random.default_rng([self.seed, epoch, index] + [attempt] * (attempt > 0))
        first, other = self._pick(epoch, index, attempt)
        second = other if rng.random() < self.settings.merge_probability else None
        background = self.backgrounds.pick(index + attempt)

        alpha = first.read_alpha(self._cache)
        second_alpha = None if second is None else second.read_alpha(self._cache)
        geometry = draw_geometry(alpha.shape, rng, self.settings)
        plan = plan_crop(geometry, alpha, second_alpha, rng, self.settings)
        if plan is None:
            return NOTHING_UNKNOWN
        redraw = self.settings.crop.redraw_one_sided if attempt < ONE_SIDED_ATTEMPTS else 0
        if redraw and one_sided(plan.trimap) and rng.random() < redraw:
            return ONE_SIDED
        crop = render_crop(
            plan,
            self._layer(first, alpha),
            None if plan.to_second is None else self._layer(second, second_alpha),
            read_image(background, decode_reduction(plan.to_background(image_size(background))), writeable=False),
            rng,
            self.settings,
        )
        names = [first.name] + ([] if plan.to_second is None else [second.name])
        return _to_tensors(crop, f"{'+'.join(names)}/{background.stem}")

    def _layer(self, foreground: Foreground, alpha: np.ndarray) -> Layer:
        return Layer(alpha, lambda reduction: foreground.read_colour(self._cache, reduction, alpha.shape))


class TrainBatches(Sampler):
    """Endless batches of (epoch, index) for one process of several, from any iteration on.

    Every epoch is one pass over the samples in a new random order; the passes follow each other without a gap, and
    iteration t of all processes together takes the samples that one process with the joint batch would take.

    Args:
        length: samples an epoch.
        batch_size: of this process.
        crops_per_foreground: so many neighbours stay together, for they share what is decoded.
        start_iteration: batches that were already consumed by an earlier run.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int = 0,
        crops_per_foreground: int = 1,
        rank: int = 0,
        world_size: int = 1,
        start_iteration: int = 0,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size or start_iteration < 0:
            raise ValueError(f"batch size {batch_size}, rank {rank} of {world_size}, start iteration {start_iteration}")
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.crops_per_foreground = crops_per_foreground
        self.rank, self.world_size, self.start_iteration = rank, world_size, start_iteration

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.empty(0, np.int64)
        start = (self.start_iteration * self.world_size + self.rank) * self.batch_size
        while True:
            batch = []
            for position in range(start, start + self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = self.order(epoch)
                batch.append((epoch, int(order[position % self.length])))
            yield batch
            start += self.batch_size * self.world_size

    def order(self, epoch: int) -> np.ndarray:
        """The sample indices in the order in which this epoch takes them."""
        group = self.crops_per_foreground
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, epoch], spawn_key=(2,)))
        groups = rng.permutation(-(-self.length // group))
        order = (groups[:, None] * group + np.arange(group)).reshape(-1)
        return order[order < self.length]


def build_train_loader(
    dataset: MattingDataset,
    batch_size: int,
    num_workers: int = 4,
    rank: int = 0,
    world_size: int = 1,
    start_iteration: int = 0,
    pin_memory: bool = False,
) -> DataLoader:
    """An endless loader of this process's batches.

    Args:
        batch_size: samples in a batch of this process.
        num_workers: processes that make them; changes the speed only. 0: in this process.
        start_iteration: where a resumed run goes on.
        pin_memory: batches come in page-locked memory, from which copies to a GPU are faster.
    """
    if num_workers > MAX_WORKERS:
        raise ValueError(f"num_workers is {num_workers}; at most {MAX_WORKERS}")
    batches = TrainBatches(
        len(dataset), batch_size, dataset.seed, dataset.crops_per_foreground, rank, world_size, start_iteration
    )
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        worker_init_fn=_one_thread,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
    )


def _one_thread(worker: int) -> None:
    """Limit a worker to one core, so that OpenCV starts no threads."""
    cv2.setNumThreads(0)


def _to_tensors(crop: dict[str, np.ndarray], name: str) -> dict:
    image = torch.from_numpy(np.stack(cv2.split(crop["image"])))  # (3, S, S)
    sample = {key: torch.from_numpy(value)[None] for key, value in crop.items() if key != "image"}
    return {"image": image.clamp_(0, 1), **sample, "name": name}
