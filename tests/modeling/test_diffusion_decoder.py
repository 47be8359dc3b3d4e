import pytest
import torch

from modeling.decoder.diffusion_decoder import DiffusionDecoder, encode_time
from modeling.inference.diffusion_tiles import decoder_reach, halo_cells

SHALLOW = {"down_channels": [7, 4, 6, 8], "up_channels": [12, 10, 8, 6, 4]}
DEEP = {"down_channels": [7, 4, 6, 8, 8], "up_channels": [12, 10, 10, 8, 6, 4]}


def decoder(sizes, positive=False):
    torch.manual_seed(0)
    net = DiffusionDecoder(**sizes).double().eval()
    if positive:  # so that no gradient cancels or is cut off by a ReLU
        for parameter in net.parameters():
            parameter.data.abs_().add_(0.01)
    return net


def random_inputs(net, height, width, batch=1):
    generator = torch.Generator().manual_seed(1)
    stride = net.feature_stride
    shapes = (batch, 12, height // stride, width // stride), (batch, 6, height, width), (batch, 1, height, width)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("sizes", [SHALLOW, DEEP], ids=["shallow", "deep"])
def test_reach_is_what_gradients_say(sizes):
    net = decoder(sizes, positive=True)
    stride = net.feature_stride
    side = 2 * (max(decoder_reach(net)) // stride + 2) * stride
    logits = []
    net.matting_head.register_forward_hook(lambda module, args, out: logits.append(out))  # the sigmoid saturates
    # A strip one cell wide: rows are what is looked at, and a pixel reaches all of them in its own column.
    feature, condition, x = (tensor.requires_grad_() for tensor in random_inputs(net, side, stride))
    image_reach = feature_reach = 0
    for pixel in range(side // 2, side // 2 + stride):
        net(net.prepare(feature, condition), x, torch.tensor([0.5], dtype=torch.float64))
        grads = torch.autograd.grad(logits.pop()[0, 0, pixel, stride // 2], (feature, condition, x))
        cells, *image = [grad.abs().sum(dim=(0, 1)).sum(dim=1).nonzero()[:, 0] for grad in grads]
        for touched in image:
            image_reach = max(image_reach, pixel - int(touched[0]), int(touched[-1]) - pixel)
        feature_reach = max(feature_reach, pixel - int(cells[0]) * stride, int(cells[-1] + 1) * stride - 1 - pixel)
    assert decoder_reach(net) == (image_reach, feature_reach)


@pytest.mark.parametrize("sizes", [SHALLOW, DEEP], ids=["shallow", "deep"])
def test_an_inner_tile_with_its_halo_equals_the_whole(sizes):
    net = decoder(sizes)
    halo = halo_cells(net) * 16
    stride = net.feature_stride
    side = 2 * halo + 3 * stride
    feature, condition, x = random_inputs(net, side, side)
    time = torch.tensor([0.3], dtype=torch.float64)
    with torch.no_grad():
        whole = net(net.prepare(feature, condition), x, time)
        inner = slice(stride, side - stride)
        cells = slice(1, side // stride - 1)
        tile = net(net.prepare(feature[..., cells, cells], condition[..., inner, inner]), x[..., inner, inner], time)
        core = slice(halo, side - 2 * stride - halo)
        expected = whole[..., inner, inner]
        torch.testing.assert_close(tile[..., core, core], expected[..., core, core], atol=2e-7, rtol=0)
        assert not torch.allclose(tile, expected, atol=1e-5)  # the test would notice a missing halo


def test_the_shared_part_does_not_depend_on_the_step():
    net = decoder(SHALLOW)
    feature, condition, x = random_inputs(net, 32, 48, batch=2)
    constants = net.prepare(feature, condition)
    with torch.no_grad():
        for time in (0.1, 0.9):
            t = torch.full((2,), time, dtype=torch.float64)
            embedded = net.time_embed(encode_time(t).double())
            skips = [net.down_blks[0](torch.cat([condition, x], dim=1), embedded)]
            for block in net.down_blks[1:]:
                skips.append(block(skips[-1], embedded))
            hidden = net.mid_blk(feature, embedded)
            for block in net.up_blks:
                hidden = block(torch.cat([hidden, skips.pop()], dim=1), embedded)
            expected = 2 * net.matting_head(hidden).float().sigmoid() - 1
            torch.testing.assert_close(net(constants, x, t), expected, atol=1e-6, rtol=0)


def test_widths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one entry more"):
        DiffusionDecoder(down_channels=[7, 4, 6], up_channels=[12, 10, 8, 6, 4])
