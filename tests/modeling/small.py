"""Small networks with the deterministic weights: every kind of block, in milliseconds."""

from torch import nn

from modeling import MEMatte, ViTMatte
from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture
from tools.reference.weights import fill_

WIDTH = 32
VIT = dict(embed_dim=WIDTH, depth=4, num_heads=2, window_size=5, global_blocks=[1, 3], table_side=6, pretrain_side=4)
DECODER = dict(feature_chans=WIDTH, stream_chans=(8, 12, 16), fusion_chans=(24, 16, 12, 8), head_chans=8)


def filled(model: nn.Module) -> nn.Module:
    fill_(model.state_dict())
    return model.eval()


def small_vit(routed: bool, in_chans: int = 4) -> ViT:
    return filled(ViT(**VIT, in_chans=in_chans, routed=routed))


def small_decoder(in_chans: int = 4, **further: bool) -> DetailCapture:
    return filled(DetailCapture(**DECODER, in_chans=in_chans, **further))


def small_mematte(prior: bool = False) -> MEMatte:
    return _small(MEMatte, routed=True, prior=prior)


def small_vitmatte(prior: bool = False) -> ViTMatte:
    return _small(ViTMatte, routed=False, prior=prior)


def _small(make: type[ViTMatte], routed: bool, prior: bool) -> ViTMatte:
    in_chans = 5 if prior else 4
    decoder = small_decoder(in_chans, residual=prior, weighed=prior)
    return filled(make(small_vit(routed, in_chans), decoder, prior=prior))
