import torch

from modeling.backbone.prior_swin import PriorSwin, area_means
from modeling.inference.swin import encode_prior


def small():
    torch.manual_seed(0)
    return PriorSwin(embed_dim=12, depths=(2, 2), num_heads=(3, 6), drop_path=0.3).eval()


def random_input(height=96, width=64, batch=1):
    generator = torch.Generator().manual_seed(1)
    classes = torch.randint(0, 3, (batch, height, width), generator=generator)
    one_hot = torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    return torch.cat([torch.rand(batch, 3, height, width, generator=generator), one_hot], dim=1)


def test_area_means_by_hand_and_zero_for_an_empty_area():
    tokens = torch.tensor([[[[1.0], [3.0]], [[5.0], [7.0]]]])
    areas = torch.tensor([[[[1, 0], [1, 0]], [[0, 1], [0, 1]], [[0, 0], [0, 0]]]])
    torch.testing.assert_close(area_means(tokens, areas), torch.tensor([[[3.0], [5.0], [0.0]]]))


def test_each_block_sees_three_more_prior_tokens_than_the_one_before():
    tables = [len(block.attn.relative_position_bias_table) for block in PriorSwin().layers[2].blocks]
    assert tables == [169 + 3 * (n + 1) for n in range(6)]


@torch.no_grad()
def test_limits_do_not_change_the_result():
    net, x = small(), random_input()
    bounded = encode_prior(net, x, 60).features
    torch.testing.assert_close(bounded, net(x).features, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_batch_equals_its_singles():
    net, x = small(), random_input(batch=2)
    singles = torch.cat([net(x[:1]).features, net(x[1:]).features])
    torch.testing.assert_close(net(x).features, singles, atol=1e-5, rtol=0)


@torch.no_grad()
def test_prior_tokens_carry_the_trimap_across_windows():
    net, x = small(), random_input(224, 224)
    changed = x.clone()
    changed[:, 3:, 192:, 192:] = changed[:, [4, 5, 3], 192:, 192:]  # another trimap far from the first window
    changed[:, :3] = x[:, :3]
    net.patch_embed.proj.weight[:, 3:] = 0  # the trimap acts through its areas only
    difference = (net(changed).features - net(x).features).abs()
    assert difference[..., 0, 0].max() > 1e-6
