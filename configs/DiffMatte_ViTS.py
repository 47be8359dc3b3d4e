"""DiffMatte with ViT-S."""

from .common.diffmatte import diffmatte_vit

model = diffmatte_vit(embed_dim=384, num_heads=6)
