"""Models around the plain ViT, by size."""

from detectron2.config import LazyCall as L

from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture
from modeling.mematte import MEMatte
from modeling.vitmatte import ViTMatte

GLOBAL_BLOCKS = [2, 5, 8, 11]


def backbone(embed_dim: int, num_heads: int, routed: bool):
    """ViT of depth 12 with windows of 14 tokens and four global blocks."""
    return L(ViT)(
        embed_dim=embed_dim,
        depth=12,
        num_heads=num_heads,
        window_size=14,
        global_blocks=GLOBAL_BLOCKS,
        routed=routed,
        table_side=32,
    )


def vitmatte(embed_dim: int, num_heads: int):
    return L(ViTMatte)(
        backbone=backbone(embed_dim, num_heads, routed=False),
        decoder=L(DetailCapture)(feature_chans=embed_dim),
    )


def mematte(embed_dim: int, num_heads: int):
    return L(MEMatte)(
        backbone=backbone(embed_dim, num_heads, routed=True),
        decoder=L(DetailCapture)(feature_chans=embed_dim),
        distill=True,
    )


def narrow_decoder(embed_dim: int):
    """The decoder at half its width, for the tiny models."""
    return L(DetailCapture)(
        feature_chans=embed_dim, stream_chans=[24, 48, 96], fusion_chans=[128, 64, 32, 16], head_chans=8
    )
