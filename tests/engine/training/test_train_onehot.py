"""AEMatter and CheapMatting training: recipe, clipping, small runs, common data options."""

import math

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate

from data.training.sources import ROOT_VARIABLE
from engine.build import load_config
from engine.training import session as run
from engine.training.optim import parameter_groups
from engine.training.schedule import CosineByEpoch
from engine.training.trainer import MattingTrainer
from modeling.checkpoints.weights import load_weights
from modeling.inference.predictor import Predictor
from tests.data.folders import make_dim, waves, write
from tests.engine.shrunk import CONFIGS, final, leave_checkpoint, lines, shrunk
from tests.engine.synthetic import composite
from tests.engine.training.test_trainer import tiny
from tests.test_train import assert_same

TRAINABLE = sorted(path.stem for path in CONFIGS.glob("*.py"))
ONE_HOT = ("AEMatter", "CheapMatting")


@pytest.fixture
def trainers(monkeypatch):
    """The trainers that runs make."""
    made = []

    class Recorded(MattingTrainer):
        def __init__(self, **settings):
            super().__init__(**settings)
            made.append(self)

    monkeypatch.setattr(run, "MattingTrainer", Recorded)
    return made


@pytest.mark.parametrize("name", ONE_HOT)
def test_the_recipe(name):
    config = load_config(CONFIGS / f"{name}.py")
    epoch = 82_783 // 2
    train = config.train
    assert (train.max_iter, train.checkpoint_period, train.total_batch_size) == (150 * epoch, epoch, 2)
    assert train.max_grad_norm == 10 and train.precision == "fp32"
    assert config.dataloader.train.dataset.settings.crop.size_px == 1024
    with torch.device("meta"):
        config.optimizer.params.model = model = instantiate(config.model)
    optimizer = instantiate(config.optimizer)
    assert isinstance(optimizer, torch.optim.RAdam) and optimizer.defaults["decoupled_weight_decay"]
    assert optimizer.defaults["betas"] == (0.5, 0.999) and optimizer.defaults["eps"] == 1e-8
    assert all(group["lr"] == 5e-5 for group in optimizer.param_groups)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay = {names[id(part)]: group["weight_decay"] for group in optimizer.param_groups for part in group["params"]}
    assert len(decay) == sum(parameter.requires_grad for parameter in model.parameters())
    assert set(decay.values()) == {0, 1e-6}
    spared = ("bias", "conv3", "conv4", "conv5", "convo", "start_conv")
    assert all((decay[name] == 0) == any(part in name for part in spared) for name in decay)
    if name == "AEMatter":
        wanted = {
            "start_conv0.0.weight": 0,
            "conv4.0.weight": 0,
            "conv5.0.weight": 0,
            "convo.0.weight": 0,
            "conv1.0.weight": 1e-6,
            "emb.1.conv3.weight": 0,
            "trans.norm0.weight": 1e-6,
            "trans.layers.0.blocks.0.attn.relative_position_bias_table": 0,
        }
        assert {key: decay[key] for key in wanted} == wanted


def test_the_rate_falls_along_a_cosine_in_steps_of_an_epoch():
    multiplier = CosineByEpoch(epochs=150)
    iterations = 150 * 41_391
    for epoch in (0, 1, 75, 149):
        wanted = 0.5 * (1 + math.cos(math.pi * epoch / 150))
        for step in (0, 41_390):
            assert multiplier((epoch * 41_391 + step) / iterations) == pytest.approx(wanted, abs=1e-12)
    assert multiplier(0.0) == 1 and multiplier(1.0) == pytest.approx(0)


def test_stochastic_depth_is_the_published_one():
    with torch.device("meta"):
        model = instantiate(load_config(CONFIGS / "AEMatter.py").model)
    encoder = [block.drop_path for stage in model.trans.layers for block in stage.blocks]
    assert encoder == pytest.approx([0.2 * index / 11 for index in range(12)])
    decoder = [[block.drop_path for block in getattr(model, f"ctran{index}").blocks] for index in range(4)]
    assert decoder == [[0.09] * 3, [0.07] * 3, [0.05] * 3, [0.03] * 3]


@pytest.mark.parametrize("name", ONE_HOT)
def test_a_small_run(tmp_path, trainers, name):
    config = shrunk(name, tmp_path, "train.max_iter=2", side=64)
    assert run.train(config, name, resume=False)
    found = lines(tmp_path)
    assert {"l1_loss", "unknown_l1_loss", "laplacian_loss", "gradient_norm"} <= found[-1].keys()
    assert all(math.isfinite(line["total_loss"]) and line["gradient_norm"] > 0 for line in found)
    unused = [name for name, part in trainers[0].model.named_parameters() if part.requires_grad and part.grad is None]
    assert not unused  # which several processes would wait for
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["description"]["config"] == name
    (tmp_path / "model_final.pth").unlink()  # AEMatter's holds 600 MB


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path):
    settings = ("train.max_iter=3", "train.checkpoint_period=2")
    assert run.train(shrunk("CheapMatting", tmp_path / "whole", *settings), "x", resume=False)
    leave_checkpoint(tmp_path / "whole", tmp_path / "resumed", "model_0000001.pth")
    assert run.train(shrunk("CheapMatting", tmp_path / "resumed", *settings), "x", resume=True)
    assert_same(final(tmp_path / "whole"), final(tmp_path / "resumed"))


def test_cheapmatting_learns_a_crop_by_heart(tmp_path):
    config = shrunk(
        "CheapMatting",
        tmp_path,
        "train.max_iter=50",
        "optimizer.params.lr=3e-3",
        "train.seed=2",
        "train.max_grad_norm=null",
        "train.total_batch_size=1",
        side=96,
        length=1,
    )
    assert run.train(config, "x", resume=False)
    losses = [line["total_loss"] for line in lines(tmp_path)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    model = instantiate(config.model)
    load_weights(model, tmp_path / "model_final.pth")
    image, trimap, alpha = (part.numpy() for part in composite(0, 96))
    pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)
    found = Predictor(model, device="cpu").predict(pixels, trimap[0])
    assert np.abs(found - alpha[0]).sum() < 0.8 * np.abs(np.where(trimap == 128, 0.5, alpha) - alpha).sum()


def sgd_step(folder, trainers, **train):
    """Parameter change and gradient norm of one descent step, rate 1."""
    config = tiny(folder, "train.max_iter=1", "lr_multiplier.warmup_factor=1.0")
    config.train.update(train)
    config.optimizer = L(torch.optim.SGD)(params=L(parameter_groups)(lr=1.0, weight_decay=0.0))
    torch.manual_seed(0)
    start = instantiate(config.model)
    torch.save(start.state_dict(), folder.with_suffix(".pth"))
    config.train.init_checkpoint = str(folder.with_suffix(".pth"))
    assert run.train(config, "x", resume=False)
    before, after = dict(start.named_parameters()), dict(trainers[-1].model.named_parameters())
    return math.sqrt(sum((after[name] - before[name]).square().sum().item() for name in before)), lines(folder)[-1]


def test_gradients_are_clipped_to_their_norm_in_every_config(tmp_path, trainers):
    free, line = sgd_step(tmp_path / "free", trainers)
    assert "gradient_norm" not in line
    clipped, line = sgd_step(tmp_path / "clipped", trainers, max_grad_norm=0.5)
    assert clipped == pytest.approx(0.5, rel=1e-3) and line["gradient_norm"] == pytest.approx(free, rel=1e-3)
    loose, _ = sgd_step(tmp_path / "loose", trainers, max_grad_norm=1e6)
    assert loose == pytest.approx(free, rel=1e-6) and free > 0.5


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_config_trains_and_knows_the_common_options(name):
    config = load_config(
        CONFIGS / f"{name}.py",
        [
            "train.max_grad_norm=1.0",
            "dataloader.train.dataset.settings.realworld.probability=0.5",
        ],
    )
    assert {"model", "criterion", "dataloader", "optimizer", "lr_multiplier", "train"} <= config.keys()
    assert config.dataloader.train.dataset.settings.realworld.probability == 0.5
    assert instantiate(config.criterion) and instantiate(config.lr_multiplier)(0.5) > 0


def test_a_config_trains_on_its_folders_with_real_world_augmentation(tmp_path, monkeypatch):
    make_dim(tmp_path / "DIM")
    for number in range(2):
        write(tmp_path / "train2014" / f"{number}.jpg", waves(100, 120))
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    images = []
    for probability in (0.0, 1.0):
        data = load_config(
            CONFIGS / "CheapMatting.py",
            [
                f"dataloader.train.dataset.settings.realworld.probability={probability}",
                "dataloader.train.dataset.settings.crop.size_px=96",
                "dataloader.train.num_workers=0",
            ],
        ).dataloader
        config = shrunk("CheapMatting", tmp_path / f"run{probability}", "train.max_iter=1")
        config.dataloader = data
        assert run.train(config, "x", resume=False)
        images.append(instantiate({**data.train, "batch_size": 1}).dataset[0])
    plain, degraded = images
    assert (plain["image"] - degraded["image"]).abs().max() > 0.01
    assert torch.equal(plain["alpha"], degraded["alpha"]) and torch.equal(plain["trimap"], degraded["trimap"])
