"""DiffMatte with ViT-S, trained on crops of 1024 pixels."""

from .common.diffmatte import diffmatte_vit

model = diffmatte_vit(embed_dim=384, num_heads=6, table_side=64)
