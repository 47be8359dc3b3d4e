import numpy as np
import pytest
import torch

from modeling.diffmatte import DiffMatte
from modeling.inference.budget import Limits
from modeling.inference.executors import matte, memory_cost
from modeling.inference.predictor import Predictor
from modeling.inputs import image_and_classes, trimap_classes, whole_window
from modeling.losses.criteria import DiffMatteCriterion
from tools.reference.diffmatte import CONFIGS, build, diffmatte_keys
from tools.reference.golden.files import key_list, load_golden


@pytest.mark.parametrize("variant", CONFIGS)
def test_state_dict_is_the_published_one(variant):
    with torch.device("meta"):
        assert key_list(build(variant)) == diffmatte_keys(variant)


def test_trimap_classes_are_the_same_for_every_way_to_write_a_trimap():
    levels = torch.tensor([0, 84, 85, 128, 169, 170, 255], dtype=torch.uint8).view(1, 1, 1, -1)
    expected = [0, 0, 1, 1, 1, 2, 2]
    assert trimap_classes(levels).flatten().tolist() == expected
    assert trimap_classes(levels[..., [0, 3, 6]] / 255).flatten().tolist() == [0, 1, 2]
    assert trimap_classes(torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)).flatten().tolist() == [0, 1, 2]


def test_padding_is_zero_in_every_channel_centred_or_not():
    image = torch.rand(1, 3, 75, 101)
    classes = torch.full((1, 1, 75, 101), 2, dtype=torch.uint8)
    for centred in (False, True):
        channels = image_and_classes(image, classes, whole_window(image), centred=centred)
        assert channels.shape == (1, 6, 96, 128)
        assert channels[..., 75:, :].abs().sum() == 0 and channels[..., 101:].abs().sum() == 0
    assert (channels[:, 3:, 0, 0] == torch.tensor([-1, -1, 1])).all()


def small(variant="vit", **options) -> DiffMatte:
    """A tiny network with random weights that reacts to everything."""
    from modeling.backbone.prior_swin import PriorSwin
    from modeling.backbone.vit import ViT
    from modeling.decoder.diffusion_decoder import DiffusionDecoder

    torch.manual_seed(0)
    if variant == "vit":
        backbone = ViT(embed_dim=32, depth=2, num_heads=2, window_size=4, global_blocks=[1], table_side=4)
        decoder = DiffusionDecoder([7, 8, 8, 8], [32, 8, 8, 8, 8])
    else:
        backbone = PriorSwin(embed_dim=8, num_heads=(1, 2, 4, 8))
        decoder = DiffusionDecoder([7, 8, 8, 8, 8], [64, 8, 8, 8, 8, 8])
    for parameter in decoder.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.1 * parameter[0].numel() ** -0.5)
    return DiffMatte(backbone, decoder, **options).eval()


def random_pair(height, width):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    image = torch.randint(0, 256, (1, 3, height, width), generator=generator, dtype=torch.uint8)
    trimap = torch.full((1, 1, height, width), 128, dtype=torch.uint8)
    trimap[..., : height // 3, :] = 0
    trimap[..., -(height // 3) :, :] = 255
    return image, trimap


@pytest.mark.parametrize(("variant", "tile_px"), [("vit", 208**2), ("swin", 288**2)])
@pytest.mark.parametrize(("strategy", "height", "width"), [("ddim2", 261, 300), ("ddpm2", 352, 256)])
def test_tiles_equal_the_whole(variant, tile_px, strategy, height, width):
    model = small(variant, sample_strategy=strategy)
    image, trimap = random_pair(height, width)
    whole = matte(model, image, trimap, Limits(tile_px=10**9)).alpha
    tiled = matte(model, image, trimap, Limits(tile_px=tile_px, chunk_tokens=300)).alpha
    unknown = trimap == 128
    assert whole[unknown].std() > 0.01
    torch.testing.assert_close(tiled[unknown], whole[unknown], atol=1e-5, rtol=0)
    direct = model(image / 255, trimap / 255).alpha
    torch.testing.assert_close(direct[unknown], whole[unknown], atol=1e-5, rtol=0)


def test_the_noise_level_is_that_of_the_whole_image():
    """Noise in far, known background changes the result.

    No tile may be left out before the last step.
    """
    model = small(sample_strategy="ddim2")
    image, trimap = random_pair(480, 96)
    draw = torch.randn(1, 1, 480, 96, generator=torch.Generator().manual_seed(0))
    louder = draw.clone()
    louder[..., :32, :] *= 10
    results = [model(image / 255, trimap / 255, lambda shape, n=n: n).alpha[..., 300:, :] for n in (draw, louder)]
    assert not torch.allclose(*results, atol=1e-4)


def test_tiles_that_no_one_looks_at_are_left_out_of_the_last_step_only(monkeypatch):
    model = small(sample_strategy="ddim3")
    image, trimap = random_pair(512, 64)
    trimap[..., 256:, :] = 255
    calls = []
    monkeypatch.setattr(model.decoder, "forward", _counting(model.decoder.forward, calls))
    limits = Limits(tile_px=160 * 160)
    alpha = matte(model, image, trimap, limits).alpha
    per_step = [calls.count(t) for t in sorted(set(calls), reverse=True)]
    assert per_step[0] == per_step[1] > per_step[2]
    assert (alpha[..., -64:, :] == 1).all()

    calls.clear()
    model.published_foreground = True
    kept = matte(model, image, trimap, limits).alpha
    assert kept[..., -64:, :].std() > 0
    whole = model(image / 255, trimap / 255).alpha
    foreground = trimap == 255
    torch.testing.assert_close(kept[foreground], whole[foreground], atol=1e-5, rtol=0)


def _counting(forward, calls):
    def counted(constants, x, t):
        calls.append(float(t[0]))
        return forward(constants, x, t)

    return counted


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 17), (33, 64), (64, 31)])
@pytest.mark.parametrize("variant", ["vit", "swin"])
def test_any_size_keeps_its_size(variant, height, width):
    alpha = matte(small(variant, sample_strategy="ddim2"), *random_pair(height, width), Limits()).alpha
    assert alpha.shape == (1, 1, height, width)
    assert ((alpha >= 0) & (alpha <= 1)).all()


def test_the_result_depends_on_the_name_and_not_on_what_ran_before():
    model, pair = small(sample_strategy="ddpm3"), random_pair(64, 64)
    first = matte(model, *pair, Limits(), name="a").alpha
    other = matte(model, *pair, Limits(), name="b").alpha
    assert torch.equal(first, matte(model, *pair, Limits(), name="a").alpha)
    assert not torch.equal(first, other)


@torch.no_grad()
def test_a_batch_equals_its_singles():
    model = small(sample_strategy="ddim2")
    images, trimaps = zip(*(random_pair(64, 64 + side) for side in (0, 0)), strict=True)
    images = torch.cat([images[0], images[1].flip(-1)]) / 255
    trimaps = torch.cat(trimaps) / 255
    noise = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = model(images, trimaps, lambda shape: noise).alpha
    for index in range(2):
        single = model(images[index : index + 1], trimaps[:1], lambda shape, i=index: noise[i : i + 1]).alpha
        torch.testing.assert_close(batch[index : index + 1], single, atol=1e-5, rtol=0)


def test_stages_begin_where_the_settings_say():
    model = small(self_align_stage1_step=10, self_align_stage2_step=20)
    stages = [model.stage(iteration) for iteration in (0, 9, 10, 19, 20, 1000)]
    assert stages == ["plain", "plain", "self_align_1", "self_align_1", "self_align_2", "self_align_2"]
    assert small().stage(10**6) == "plain"


def test_the_estimate_that_stage_2_starts_from_gets_no_gradient():
    """Published: only the second pass of the decoder gives gradients.

    At t = 0 its input is the estimate, a constant.
    """
    model = small()
    image, trimap = (part / 255 for part in random_pair(64, 64))
    alpha = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    uniform = torch.tensor([[0.5], [0.0]])
    passes = []
    model.decoder.register_forward_hook(lambda module, args, out: passes.append((args[1], out)))
    model.denoise(image, trimap, alpha, "self_align_2", noise=torch.ones_like(alpha), uniform=uniform)
    (_, first), (second_input, second) = passes
    assert first.requires_grad and second.requires_grad and not second_input.requires_grad


@pytest.mark.parametrize("iteration", [0, 1])
def test_a_tiny_network_learns_a_crop_in_each_stage(iteration):
    torch.manual_seed(0)
    model = small(self_align_stage2_step=1).train()
    image, trimap = (part / 255 for part in random_pair(64, 64))
    alpha = (torch.linspace(-4, 4, 64).sigmoid()[:, None] * torch.ones(64)).view(1, 1, 64, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    history = []
    for _ in range(30):
        output = model(image, trimap, alpha=alpha, iteration=iteration)
        losses = DiffMatteCriterion()(output, alpha, trimap_classes(trimap) / 2)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(losses["mse_loss"].item())
    assert np.mean(history[-5:]) < 0.25 * history[0]


@pytest.mark.parametrize("published", [False, True])
def test_the_predictor_sets_known_foreground_unless_asked_for_the_published_result(published):
    arrays = load_golden("diffmatte_vits_75x101_ddim3")
    model = small(sample_strategy="ddim2", published_foreground=published)
    alpha = Predictor(model, device="cpu").predict(arrays["image"], arrays["trimap"])
    assert (alpha[arrays["trimap"] == 0] == 0).all()
    assert (alpha[arrays["trimap"] == 255] == 1).all() == (not published)


def test_the_predictor_draws_noise_by_name():
    predictor = Predictor(small(sample_strategy="ddim2"), device="cpu")
    image, trimap = random_pair(64, 64)
    pair = image[0].permute(1, 2, 0).numpy(), trimap[0, 0].numpy()
    first = predictor.predict(*pair, name="a")
    assert not np.array_equal(first, predictor.predict(*pair, name="b"))
    assert np.array_equal(first, predictor.predict(*pair, name="a"))


def test_bf16_stays_close_to_fp32():
    image, trimap = random_pair(96, 64)
    pair = image[0].permute(1, 2, 0).numpy(), trimap[0, 0].numpy()
    full = Predictor(small(sample_strategy="ddim3"), device="cpu").predict(*pair)
    half = Predictor(small(sample_strategy="ddim3"), device="cpu", dtype="bf16").predict(*pair)
    assert 0 < np.abs(full - half).max() < 0.1


@pytest.mark.parametrize("variant", ["res34", "swin_t", "vits"])
def test_the_memory_estimate_grows_with_the_image_and_falls_with_the_limits(variant):
    with torch.device("meta"):
        model = build(variant)
    usual, tight = Limits(), Limits(chunk_tokens=512, tile_px=300 * 300)
    assert memory_cost(model, 4096, 4096, usual) > memory_cost(model, 1024, 1024, usual)
    assert memory_cost(model, 768, 768, tight) < memory_cost(model, 768, 768, usual)
