"""MEDiffMatte-S: DiffMatte's decoder on MEMatte's routed ViT-S, taught by the ViT of DiffMatte_ViTS_1024."""

from .common.diffmatte import mediffmatte
from .common.vit import backbone

model = mediffmatte(embed_dim=384, num_heads=6)
teacher = backbone(embed_dim=384, num_heads=6, routed=False)
teacher.table_side = 64
