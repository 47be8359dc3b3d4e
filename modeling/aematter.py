"""AEMatter: a Swin encoder over a convolutional stem, appearance-enhanced axis-wise attention, a Swin decoder.

Attribute names follow the published checkpoints; the layers themselves follow a functional description of the network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone.precise import full_precision
from .backbone.swin import PatchEmbed, SwinEncoder, SwinStage
from .base import MattingOutput
from .checkpoints.files import CheckpointError
from .decoder.axis_attention import GROUPS, ContextBlock, context_stage
from .decoder.bottleneck import Bottleneck
from .decoder.upsample import double_rows, map_strips
from .inference.budget import Limits
from .inference.strips import Strip, rows_within
from .onehot import clamp_alpha, crop, mirrored_input, one_hot_trimap

CONTEXT_DIM, GUIDE_DIM = 640, 512
_STEM_HALO, _REFINE_HALO, _HEAD_HALO = 2, 3, 3  # rows, at the resolution of the result

# Cost model, float32: what is held per pixel of the image during the last Swin stage and during the head; per token of
# a band and pixel of a strip; and what convolutions prepare once.
_BYTES_AT_QUARTER, _BYTES_AT_FULL = 4 * (6 + 64 / 4 + 180 / 16 + 3 * 128 / 16) * 1.2, 4 * (6 + 48 / 4 + 3) * 1.2
_BYTES_OF_TOKEN, _BYTES_OF_STRIP = 12_000, 4 * (102 + 2 * 48 + 4 * 32)
_FIXED_BYTES = 350_000_000


class AEMatter(nn.Module):
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
        self.trans = SwinEncoder(PatchEmbed(64, 96, kernel=3, stride=2, padding=1), drop_path=drop_path)
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

    def forward(self, image: Tensor, trimap: Tensor) -> MattingOutput:
        """Whole-image pass.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            trimap: (B, 1, H, W) in [0, 1]; known regions are not enforced on the result.
        """
        inputs, origin = mirrored_input(image, trimap)
        raw = crop(self.raw_alpha(inputs), origin, image.shape[-2:])
        return MattingOutput(clamp_alpha(raw, self.training))

    @torch.inference_mode()
    def matte(self, image: Tensor, trimap: Tensor, limits: Limits) -> MattingOutput:
        """The same on one large image, in bounded strips; alpha is computed only in strips with unknown pixels.

        Args:
            image: (1, 3, H, W) uint8 RGB.
            trimap: (1, 1, H, W) uint8 of 0, 128, 255.
        """
        unknown = one_hot_trimap(trimap)[:, 1:2]
        if not unknown.any():
            return MattingOutput(torch.zeros_like(unknown))
        inputs, origin = mirrored_input(image, trimap)
        raw = crop(self.raw_alpha(inputs, limits), origin, image.shape[-2:])
        return MattingOutput(clamp_alpha(raw.float(), training=False))

    def memory_cost(self, height: int, width: int, limits: Limits) -> int:
        """Upper estimate in bytes of what `matte` takes for an image of height x width pixels, beside its inputs."""
        height, width = height + -height % 32, width + -width % 32
        pixels = height * width
        strip_px = min(max(limits.tile_px, 32 * width), pixels)
        band_tokens = min(max(limits.chunk_tokens, 2 * width), pixels // 16)  # a row of windows at 1/4 has 7 W / 4
        at_quarter = _BYTES_AT_QUARTER * pixels + _BYTES_OF_TOKEN * band_tokens
        return int(_FIXED_BYTES + max(at_quarter, _BYTES_AT_FULL * pixels + _BYTES_OF_STRIP * strip_px))

    def raw_alpha(self, inputs: Tensor, limits: Limits | None = None) -> Tensor:
        """Unclamped alpha of a padded input.

        Args:
            inputs: (B, 6, H, W): RGB and one-hot trimap; sides are multiples of 32.
            limits: bounds of the intermediate results; None computes everything at once and fills all rows, with
                limits the strips without an unknown pixel stay 0.

        Returns:
            (B, 1, H, W).
        """
        chunk = None if limits is None else limits.chunk_tokens
        height, width = inputs.shape[2:]
        rows = height if limits is None else rows_within(width, limits.tile_px, multiple=32)
        stem = self.start_conv0(inputs) if limits is None else None
        stem_half = self._stem_half(inputs, stem, rows // 2)
        x1, x2, x3, x4 = self.trans(stem_half, chunk)
        x = torch.cat([x4, self._context(x3, x4, chunk)], dim=1)
        x = self.ctran0(self.conv1(x).permute(0, 2, 3, 1), chunk).permute(0, 3, 1, 2)
        for skip, merge, stage in (
            (x3, self.conv2, self.ctran1),
            (x2, self.conv3, self.ctran2),
            (x1, self.conv4, self.ctran3),
        ):
            merged = self._merge(merge, skip, x, skip.shape[2] if limits is None else rows * skip.shape[2] // height)
            x = stage(merged.permute(0, 2, 3, 1), chunk).permute(0, 3, 1, 2)
        del x1, x2, x3, x4, skip, merged
        unknown = None if limits is None else inputs[:, 4].amax(dim=(0, 2)) > 0  # (H,)
        x = self._merge(self.conv5, stem_half, x, rows // 2, _REFINE_HALO)
        del stem_half
        return self._head(inputs, stem, x, rows, unknown)

    def _stem_half(self, inputs: Tensor, stem: Tensor | None, rows: int) -> Tensor:
        """(B, 64, H/2, W/2); the full-resolution stem exists for one strip only unless it is given."""

        def strip_of(strip: Strip) -> Tensor:
            first, last = 2 * strip.first, 2 * strip.last
            return self.start_conv(self.start_conv0(inputs[:, :, first:last]) if stem is None else stem)

        return map_strips(strip_of, inputs.shape[2] // 2, rows, _STEM_HALO)

    def _context(self, x3: Tensor, x4: Tensor, chunk_tokens: int | None) -> Tensor:
        """(B, 384, h, w) and (B, 768, h/2, w/2) -> (B, 640, h/2, w/2), in float32."""
        with full_precision(x4.device):
            x3, x4 = x3.float(), x4.float()
            guide = self.apptrans(torch.cat([x3, F.interpolate(self.h2l(x4), scale_factor=2, mode="nearest")], dim=1))
            source = self.embdp(self.emb(x4))
            return context_stage([self.trans1, self.trans2, self.trans3], source, guide, chunk_tokens)

    def _merge(self, convs: nn.Module, skip: Tensor, x: Tensor, rows: int, halo: int = 0) -> Tensor:
        """Convolve cat(skip (B, C, 2h, 2w), doubled x (B, C', h, w)), `rows` rows at a time."""

        def strip_of(strip: Strip) -> Tensor:
            return convs(torch.cat([skip[:, :, strip.first : strip.last], double_rows(x, strip.first, strip.last)], 1))

        return map_strips(strip_of, skip.shape[2], max(rows, 1), halo)

    def _head(self, inputs: Tensor, stem: Tensor | None, x: Tensor, rows: int, wanted: Tensor | None) -> Tensor:
        """Full-resolution convolutions on inputs, stem and doubled x: (B, 1, H, W)."""

        def strip_of(strip: Strip) -> Tensor:
            first, last = strip.first, strip.last
            part = stem
            if part is None:
                outer = max(first - 1, 0)
                part = self.start_conv0(inputs[:, :, outer : last + 1])[:, :, first - outer : last - outer]
            return self.convo(torch.cat([inputs[:, :, first:last], part, double_rows(x, first, last)], dim=1))

        return map_strips(strip_of, inputs.shape[2], rows, _HEAD_HALO, wanted)

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
