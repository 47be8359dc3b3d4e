"""MEMatte-S: a quarter of the tokens in global attention."""

from .common.vit import backbone, mematte

model = mematte(embed_dim=384, num_heads=6)
teacher = backbone(embed_dim=384, num_heads=6, routed=False)
