"""Small networks with the deterministic weights: every kind of block, in milliseconds."""

from torch import nn

from modeling import MEMatte, ViTMatte
from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture
from tools.reference.weights import fill_

WIDTH = 32


def filled(model: nn.Module) -> nn.Module:
    fill_(model.state_dict())
    return model.eval()


def small_vit(routed: bool) -> ViT:
    return filled(
        ViT(
            WIDTH,
            depth=4,
            num_heads=2,
            window_size=5,
            global_blocks=(1, 3),
            routed=routed,
            table_side=6,
            pretrain_side=4,
        )
    )


def small_decoder() -> DetailCapture:
    return filled(DetailCapture(WIDTH, stream_chans=(8, 12, 16), fusion_chans=(24, 16, 12, 8), head_chans=8))


def small_mematte() -> MEMatte:
    return filled(MEMatte(small_vit(routed=True), small_decoder()))


def small_vitmatte() -> ViTMatte:
    return filled(ViTMatte(small_vit(routed=False), small_decoder()))
