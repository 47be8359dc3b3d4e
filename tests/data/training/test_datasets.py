"""Dataset: reproducible samples, exact resume, bad files skipped and counted."""

import itertools
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.training.augment import CropSettings
from data.training.crops import CompositionSettings, one_sided
from data.training.datasets import (
    BAD_FILE,
    NOTHING_UNKNOWN,
    ONE_SIDED,
    ONE_SIDED_ATTEMPTS,
    MattingDataset,
    TrainBatches,
    build_train_loader,
)
from data.training.sources import BackgroundFolder, ForegroundFolder
from data.trimap import TrimapSettings
from tests.data.folders import disc, make_dim, write

SETTINGS = CompositionSettings(crop=CropSettings(size_px=64), trimap=TrimapSettings(side_px=128), shrink_px=128)


def make_dataset(root: Path, settings: CompositionSettings = SETTINGS, **options) -> MattingDataset:
    if not (root / "fg").exists():
        make_dim(root)
    return MattingDataset(ForegroundFolder(root), BackgroundFolder(root / "bg"), settings, **options)


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key]
        for key, value in first.items()
    )


def test_a_sample_is_what_the_contract_says(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, length=20)
    for index in range(20):
        sample = dataset[index]
        assert sample["image"].shape == (3, 64, 64) and sample["image"].dtype == torch.float32
        assert sample["alpha"].shape == (1, 64, 64) and sample["alpha"].dtype == torch.float32
        assert sample["trimap"].shape == (1, 64, 64) and sample["trimap"].dtype == torch.uint8
        for key in ("image", "alpha"):
            assert 0 <= sample[key].min() and sample[key].max() <= 1
        assert set(sample["trimap"].unique().tolist()) <= {0, 128, 255} and (sample["trimap"] == 128).any()
        assert sample["name"].split("/")[1] == f"b{index % 4}"


def test_samples_depend_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    dataset, other = make_dataset(tmp_path), make_dataset(tmp_path)
    backwards = {index: other[index] for index in reversed(range(4))}
    assert all(same(dataset[index], backwards[index]) for index in range(4))
    assert same(other[5, 2], dataset[5, 2]) and same(dataset[0, 2], dataset[2]) and not same(dataset[5, 2], dataset[2])
    assert not same(make_dataset(tmp_path, seed=1)[2], dataset[2])


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    loads = [
        list(itertools.islice(build_train_loader(dataset, batch_size=3, num_workers=workers), 4)) for workers in (0, 2)
    ]
    assert all(same(first, second) for first, second in zip(*loads, strict=True))


def test_the_loader_resumes_exactly(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, length=7)
    whole = list(itertools.islice(build_train_loader(dataset, batch_size=3, num_workers=0), 6))
    resumed = itertools.islice(build_train_loader(dataset, batch_size=3, num_workers=0, start_iteration=4), 2)
    assert all(same(first, second) for first, second in zip(whole[4:], resumed, strict=True))


def test_processes_share_the_batch_of_one() -> None:
    single = TrainBatches(10, batch_size=4)
    halves = [TrainBatches(10, batch_size=2, rank=rank, world_size=2) for rank in (0, 1)]
    for whole, first, second in itertools.islice(zip(single, *halves, strict=False), 8):
        assert whole == first + second


def test_every_epoch_is_a_pass_in_another_order() -> None:
    flat = [key for batch in itertools.islice(TrainBatches(12, batch_size=4), 9) for key in batch]
    passes = [[index for epoch, index in flat if epoch == number] for number in range(3)]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


def test_neighbours_stay_together_and_share_their_foregrounds(tmp_path: Path) -> None:
    order = TrainBatches(10, batch_size=2, crops_per_foreground=4).order(0)
    assert sorted(order) == list(range(10))
    assert len([group for group, _ in itertools.groupby(order // 4)]) == 3
    dataset = make_dataset(tmp_path, length=12, crops_per_foreground=4)
    for group in range(3):
        samples = [dataset[4 * group + member] for member in range(4)]
        assert len({sample["name"].split("/")[0].split("+")[0] for sample in samples}) == 1
        assert not same(samples[0], samples[1])


def test_the_cache_changes_nothing(tmp_path: Path) -> None:
    cached, fresh = make_dataset(tmp_path), make_dataset(tmp_path, cache_mb=0)
    assert all(same(cached[0, index], fresh[0, index]) for index in (0, 1, 0, 3))


def damage(root: Path, kind: str) -> str:
    """Damage one file beyond its header; returns its name."""
    if kind == "alpha of zeros":
        return write(root / "alpha" / "f1.png", np.zeros((160, 170), np.uint8)).name
    path = {
        "foreground": root / "fg" / "f1.jpg",
        "alpha": root / "alpha" / "f1.png",
        "background": root / "bg" / "b1.jpg",
        "pipe": root / "bg" / "b1.jpg",
    }[kind]
    if kind == "pipe":
        path.unlink()
        os.mkfifo(path)
        return path.name
    path.write_bytes(path.read_bytes()[:-100])
    return path.name


@pytest.mark.parametrize("kind", ["alpha of zeros", "foreground", "alpha", "background", "pipe"])
def test_bad_files_are_skipped_named_and_counted(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    make_dim(tmp_path)
    name = damage(tmp_path, kind)
    dataset = make_dataset(tmp_path, length=12)
    with caplog.at_level(logging.WARNING):
        names = [dataset[index]["name"] for index in range(12)]
    assert dataset.skipped[BAD_FILE] > 0 and name in caplog.text
    assert not any(Path(name).stem in used.replace("/", "+").split("+") for used in names)
    assert same(dataset[1], make_dataset(tmp_path, length=12)[1])  # the redraw repeats too


def test_workers_count_together(tmp_path: Path) -> None:
    make_dim(tmp_path)
    damage(tmp_path, "background")
    counts = []
    for workers in (0, 2):
        dataset = make_dataset(tmp_path, length=8)
        batches = build_train_loader(dataset, batch_size=4, num_workers=workers)
        batches.prefetch_factor = 1 if workers else None  # no draws beyond the batches that are taken
        list(itertools.islice(batches, 4))
        counts.append(dataset.skipped[BAD_FILE])
    assert counts[0] == 4 <= counts[1]  # workers are ahead of what is taken


def test_a_foreground_that_changed_its_size_since_the_start_is_skipped(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, length=12)
    write(tmp_path / "alpha" / "f1.png", disc(80, 90))
    names = [dataset[index]["name"] for index in range(12)]
    assert dataset.skipped[BAD_FILE] > 0 and not any("f1" in name for name in names)


def test_no_crop_without_unknown_pixels_comes_out(tmp_path: Path) -> None:
    make_dim(tmp_path, side=600)
    for number in range(3):  # opaque but for one corner pixel: nearly every crop is known throughout
        alpha = np.full((600, 600 + 10 * number), 255, np.uint8)
        alpha[:3, :3] = 100
        write(tmp_path / "alpha" / f"f{number}.png", alpha)
    dataset = make_dataset(tmp_path, length=30)
    assert all((dataset[index]["trimap"] == 128).any() for index in range(30))
    assert dataset.skipped[NOTHING_UNKNOWN] > 0


def test_crops_with_one_known_side_become_rare(tmp_path: Path) -> None:
    make_dim(tmp_path, side=300)
    settings = replace(SETTINGS, crop=replace(SETTINGS.crop, redraw_one_sided=1.0))
    datasets = [make_dataset(tmp_path, length=60), make_dataset(tmp_path, settings, length=60)]
    before, after = (sum(one_sided(dataset[index]["trimap"].numpy()) for index in range(60)) for dataset in datasets)
    assert before > 5 and after < before / 3
    assert datasets[1].skipped[ONE_SIDED] >= before and not datasets[0].skipped[ONE_SIDED]


def test_foregrounds_without_an_opaque_part_train(tmp_path: Path) -> None:
    make_dim(tmp_path)
    for number in range(3):
        write(tmp_path / "alpha" / f"f{number}.png", disc(160, 160 + 10 * number) // 2)
    dataset = make_dataset(tmp_path, replace(SETTINGS, crop=replace(SETTINGS.crop, redraw_one_sided=1.0)))
    assert not (dataset[0]["trimap"] == 255).any() and dataset.skipped[ONE_SIDED] == ONE_SIDED_ATTEMPTS


def test_hopeless_data_is_an_error_that_names_a_file(tmp_path: Path) -> None:
    make_dim(tmp_path)
    dataset = make_dataset(tmp_path)
    for path in (tmp_path / "alpha").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"20 draws in a row.*alpha.*f\d\.png"):
        dataset[0]


def test_backgrounds_smaller_than_the_crop_are_enlarged(tmp_path: Path) -> None:
    make_dim(tmp_path)
    for path in (tmp_path / "bg").iterdir():
        write(path, np.full((5, 7, 3), (10, 20, 250), np.uint8))
    sample = make_dataset(tmp_path)[0]
    outside = sample["image"][:, sample["alpha"][0] == 0]
    assert outside.shape[1] > 0 and (outside.mean(1) * 255).tolist() == pytest.approx([250, 20, 10], abs=4)


def test_16_bit_alphas_train(tmp_path: Path) -> None:
    make_dim(tmp_path)
    for number in range(3):
        write(tmp_path / "alpha" / f"f{number}.png", disc(160, 160 + 10 * number).astype(np.uint16) * 257)
    dataset = make_dataset(tmp_path, length=8)
    samples = [dataset[index] for index in range(8)]
    assert max(float(sample["alpha"].max()) for sample in samples) == 1 and not any(dataset.skipped.values())
