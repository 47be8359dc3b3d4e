"""DiffMatte with ViT-B."""

from .common.diffmatte import diffmatte_vit

model = diffmatte_vit(embed_dim=768, num_heads=12)
