"""MEMatte-B: a quarter of the tokens in global attention."""

from .common.vit import backbone, mematte

model = mematte(embed_dim=768, num_heads=12)
teacher = backbone(embed_dim=768, num_heads=12, routed=False)
