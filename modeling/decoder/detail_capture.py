"""Detail-capture decoder: image details fused with encoder features, scale by scale."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Recomputing
from ..precision import compute_dtype
from .blocks import ConvBlock, MattingHead, double

LOGIT_MARGIN = 0.01  # alphas that a residual decoder starts from keep so far from 0 and 1

# Attribute names (`convstream`, `fusion_blks`, `matting_head`, ...) are those of published checkpoints.


class ConvStream(nn.Module):
    """Details of the 4-channel input at scales 1, 1/2, 1/4, 1/8."""

    def __init__(self, in_chans: int, out_chans: Sequence[int]) -> None:
        super().__init__()
        widths = [in_chans, *out_chans]
        self.convs = nn.ModuleList(ConvBlock(a, b, stride=2) for a, b in zip(widths, out_chans, strict=False))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        details = [inputs]
        for conv in self.convs:
            details.append(conv(details[-1]))
        return details


class FusionBlock(nn.Module):
    """Upsampling of a coarse map, fused with details of the finer scale."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        self.conv = ConvBlock(in_chans, out_chans)

    def forward(self, coarse: Tensor, detail: Tensor) -> Tensor:
        """(B, C, H, W) and (B, D, 2H, 2W) -> (B, out_chans, 2H, 2W).

        One convolution of both maps, without joining them: copying and convolving the joined map, whose channels are
        no multiple of a vector's length, takes a quarter of a training step of the decoder on a CPU.
        """
        conv = self.conv.conv
        fine, doubled = conv.weight.split([detail.shape[1], coarse.shape[1]], dim=1)
        fused = F.conv2d(double(coarse), doubled, conv.bias, padding=1)  # a bias comes of a folded batch norm
        return self.conv.activate(fused + F.conv2d(detail, fine, padding=1))


class DetailCapture(Recomputing):
    """Features at 1/16 and the padded 4-channel input to alpha.

    Args:
        feature_chans: channels of the encoder.
        in_chans: channels of the input.
        stream_chans: widths of the detail stream at scales 1/2, 1/4, 1/8.
        fusion_chans: widths of the fusion blocks at scales 1/8, 1/4, 1/2, 1.
        head_chans: hidden width of the head.
        residual: the last channel of the input is an alpha, and the head predicts how much its logit changes;
            published decoders predict the logit itself. The untrained decoder returns that alpha.
        weighed: of residual decoders, whose head also predicts the weight of that alpha's logit, 0 to 2.
    """

    def __init__(
        self,
        feature_chans: int = 384,
        in_chans: int = 4,
        stream_chans: Sequence[int] = (48, 96, 192),
        fusion_chans: Sequence[int] = (256, 128, 64, 32),
        head_chans: int = 16,
        residual: bool = False,
        weighed: bool = False,
    ) -> None:
        super().__init__()
        self.residual, self.weighed = residual, weighed
        if weighed and not residual:
            raise ValueError("weighed=True needs residual=True: there is no alpha to weigh")
        if len(fusion_chans) != len(stream_chans) + 1:
            raise ValueError(f"fusion_chans {fusion_chans} must have one entry more than stream_chans {stream_chans}")
        self.convstream = ConvStream(in_chans, stream_chans)
        details = [in_chans, *stream_chans][::-1]
        coarse = [feature_chans, *fusion_chans]
        self.fusion_blks = nn.ModuleList(
            FusionBlock(detail + below, out) for detail, below, out in zip(details, coarse, fusion_chans, strict=False)
        )
        self.matting_head = MattingHead(fusion_chans[-1], head_chans, logits=2 if weighed else 1)
        if residual:
            nn.init.zeros_(self.matting_head.matting_convs[-1].weight)
            nn.init.zeros_(self.matting_head.matting_convs[-1].bias)

    def forward(self, features: Tensor, inputs: Tensor) -> Tensor:
        """Alpha (B, 1, 16h, 16w) from (B, C, h, w) and (B, in_chans, 16h, 16w)."""
        fused = features.to(compute_dtype(features))
        details = self.apply_part(self.convstream, inputs.to(compute_dtype(inputs)))
        for block, detail in zip(self.fusion_blks, reversed(details), strict=True):
            fused = self.apply_part(block, fused, detail)
        return self.alpha(self.apply_part(self.matting_head, fused), inputs)

    def alpha(self, logit: Tensor, inputs: Tensor) -> Tensor:
        """Alpha of the head's output (B, 1 or 2, H, W), and the inputs of the same pixels.

        These in float32: bf16 has no number between 0.992 and 0.996, and the logit is steep there.
        """
        logit = logit.float()
        if self.residual:
            started = inputs[:, -1:].float().logit(LOGIT_MARGIN)
            if self.weighed:
                logit, weight = logit.split(1, dim=1)  # (B, 1, H, W) each
                started = started * (2 * weight.sigmoid())
            logit = logit + started
        return logit.sigmoid()
