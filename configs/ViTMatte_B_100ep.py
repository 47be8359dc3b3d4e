"""ViTMatte-B."""

from .common.vit import vitmatte

model = vitmatte(embed_dim=768, num_heads=12)
