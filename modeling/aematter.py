"""AEMatter: Swin encoder and decoder with appearance-enhanced axis-wise attention.

Attribute names follow the published checkpoints; the layers themselves follow a functional description of the network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone.swin import NormedPatchEmbed, SwinEncoder, SwinStage
from .checkpoints.files import CheckpointError
from .decoder.axis_attention import GROUPS, ContextBlock, context_stage
from .decoder.blocks import Bottleneck, double
from .onehot import OneHotNetwork
from .precision import full_precision

CONTEXT_DIM, GUIDE_DIM = 640, 512


class AEMatter(OneHotNetwork):
    """Alpha from an image and its trimap; about 51 million parameters.

    Args:
        drop_path: stochastic depth of the encoder, growing linearly to this; training only.
        decoder_drop_path: the same, constant, of the four decoder stages from 1/32 to 1/4 resolution.
        dropout: of the context blocks; training only.
    """

    def __init__(
        self,
        drop_path: float = 0.2,
        decoder_drop_path: tuple[float, float, float, float] = (0.09, 0.07, 0.05, 0.03),
        dropout: float = 0.2,
    ):
        super().__init__()
        self.start_conv0 = nn.Sequential(nn.Conv2d(6, 48, 3, padding=1), nn.PReLU(48))
        self.start_conv = nn.Sequential(
            nn.Conv2d(48, 64, 3, stride=2, padding=1), nn.PReLU(64), nn.Conv2d(64, 64, 3, padding=1), nn.PReLU(64)
        )
        self.trans = SwinEncoder(NormedPatchEmbed(64, 96, kernel=3, stride=2, padding=1), drop_path=drop_path)
        self.conv1 = nn.Sequential(nn.Conv2d(768 + CONTEXT_DIM, 256, 1))
        self.conv2 = nn.Sequential(nn.Conv2d(384 + 256, 256, 1))
        self.conv3 = nn.Sequential(nn.Conv2d(192 + 256, 192, 1))
        self.conv4 = nn.Sequential(nn.Conv2d(96 + 192, 128, 1))
        for i, (dim, heads) in enumerate([(256, 8), (256, 8), (192, 6), (128, 4)]):
            self.add_module(f"ctran{i}", SwinStage(dim, heads, depth=3, drop_path=[decoder_drop_path[i]] * 3))
        self.conv5 = nn.Sequential(
            *(nn.Conv2d(192, 64, 3, padding=1), nn.PReLU(64)),
            *(nn.Conv2d(64, 64, 3, padding=1), nn.PReLU(64)),
            *(nn.Conv2d(64, 48, 3, padding=1), nn.PReLU(48)),
        )
        self.convo = nn.Sequential(
            *(nn.Conv2d(6 + 48 + 48, 32, 3, padding=1), nn.PReLU(32)),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.PReLU(32)),
            nn.Conv2d(32, 1, 3, padding=1),
        )
        self.apptrans = nn.Sequential(
            nn.Conv2d(384 + 256, 256, 1),
            Bottleneck(256, 128, GROUPS),
            Bottleneck(256, 128, GROUPS),
            nn.Conv2d(256, GUIDE_DIM, 2, stride=2),
            Bottleneck(GUIDE_DIM, 128, GROUPS),
        )
        self.emb = nn.Sequential(nn.Conv2d(768, CONTEXT_DIM, 1), Bottleneck(CONTEXT_DIM, 160, GROUPS))
        self.embdp = nn.Sequential(nn.Conv2d(CONTEXT_DIM, CONTEXT_DIM, 1))
        self.h2l = nn.Conv2d(768, 256, 1)
        for i in (1, 2, 3):
            self.add_module(f"trans{i}", ContextBlock(CONTEXT_DIM, GUIDE_DIM, dropout=dropout))

    def raw_alpha(self, inputs: Tensor) -> Tensor:
        """(B, 6, H, W) -> (B, 1, H, W); see `OneHotNetwork.raw_alpha`."""
        stem = self.start_conv0(inputs)  # (B, 48, H, W)
        half = self.start_conv(stem)  # (B, 64, H/2, W/2)
        x1, x2, x3, x4 = self.trans(half)  # at 1/4 to 1/32
        x = self.conv1(torch.cat([x4, self.context(x3, x4)], dim=1))
        x = self.ctran0(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for skip, merge, stage in self.decoder_steps(x1, x2, x3):
            x = merge(torch.cat([skip, double(x)], dim=1))
            x = stage(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.conv5(torch.cat([half, double(x)], dim=1))  # (B, 48, H/2, W/2)
        return self.convo(torch.cat([inputs, stem, double(x)], dim=1))

    def decoder_steps(self, x1: Tensor, x2: Tensor, x3: Tensor) -> list[tuple[Tensor, nn.Module, SwinStage]]:
        """Skip features, merging convolution and stage per decoder step, coarse first."""
        return [(x3, self.conv2, self.ctran1), (x2, self.conv3, self.ctran2), (x1, self.conv4, self.ctran3)]

    def context(self, x3: Tensor, x4: Tensor) -> Tensor:
        """(B, 384, 2h, 2w) and (B, 768, h, w) -> (B, 640, h, w), in float32."""
        with full_precision(x4.device):
            return context_stage([self.trans1, self.trans2, self.trans3], *self.context_inputs(x3, x4))

    def context_inputs(self, x3: Tensor, x4: Tensor) -> tuple[Tensor, Tensor]:
        """Source (B, 640, h, w) and guide (B, 512, h, w) of the context stage."""
        x3, x4 = x3.float(), x4.float()
        guide = self.apptrans(torch.cat([x3, F.interpolate(self.h2l(x4), scale_factor=2, mode="nearest")], dim=1))
        return self.embdp(self.emb(x4)), guide

    @staticmethod
    def convert_state_dict(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Refuse the checkpoints of another network of the same name.

        Raises:
            CheckpointError: for files of the published "PT20" branch.
        """
        if "trans1.self_attn1.in_proj_weight" in state and "trans1.gamma" not in state:
            raise CheckpointError(
                "this is a checkpoint of AEMatter's PT20 branch: its context blocks have no gamma, normalise before "
                "attention and attend across strips instead of along them, so its weights mean nothing to AEMatter; "
                "use a checkpoint of the original's main branch (534 entries, with trans1.gamma)"
            )
        return state
