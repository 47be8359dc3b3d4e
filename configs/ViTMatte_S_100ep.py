"""ViTMatte-S."""

from .common.vit import vitmatte

model = vitmatte(embed_dim=384, num_heads=6)
