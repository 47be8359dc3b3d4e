"""DiffMatte: an encoder that runs once and a light decoder that a diffusion sampler iterates."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .backbone.vit import Encoding, ViT
from .base import MattingOutput
from .decoder.diffusion_decoder import DiffusionDecoder
from .diffusion import DEFAULT_SEED, NamedNoise, Stage, Strategy, diffuse, draw_times, normalise, sample
from .inference.budget import Limits
from .inference.diffusion_tiles import (
    KEPT_TILES,
    TiledEstimate,
    image_and_classes,
    trimap_classes,
    whole_window,
)
from .inputs import model_input, published_size
from .vitmatte import encode_within

Noise = Callable[[tuple[int, ...]], Tensor]


class DiffMatte(nn.Module):
    """Alpha from an image, its trimap and noise.

    Args:
        backbone: encoder with one output map. A `ViT` reads the image and the trimap, others read the image and the
            three trimap classes.
        decoder: from feature, image, trimap and noisy matte to a clean matte.
        sample_strategy: sampler and number of steps, for example `ddim10`.
        signal_scale: strength of the matte against the noise; that of training.
        seed: part of the noise seed that all images share.
        published_foreground: leave the predicted alpha in known foreground, as the published code does by mistake.
        self_align_stage1_step, self_align_stage2_step: iterations of training from which the noisy matte comes from the
            network's own estimate, at pure noise (stage 1) or at an earlier time (stage 2, which takes precedence).
    """

    training_inputs = ("alpha", "iteration")  # of `forward`, beyond image and trimap
    draws_noise = True  # `matte` takes the image's name, by which the noise is drawn

    def __init__(
        self,
        backbone: nn.Module,
        decoder: DiffusionDecoder,
        sample_strategy: str = "ddim10",
        signal_scale: float = 0.2,
        seed: int = DEFAULT_SEED,
        published_foreground: bool = False,
        self_align_stage1_step: int | None = None,
        self_align_stage2_step: int | None = None,
    ) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"backbone": backbone, "decoder": decoder})  # the names in published checkpoints
        self.strategy = Strategy.parse(sample_strategy)
        self.signal_scale = signal_scale
        self.seed = seed
        self.published_foreground = published_foreground
        self._stage_starts = ("self_align_2", self_align_stage2_step), ("self_align_1", self_align_stage1_step)

    @property
    def backbone(self) -> nn.Module:
        return self.model["backbone"]

    @property
    def decoder(self) -> DiffusionDecoder:
        return self.model["decoder"]

    def forward(
        self,
        image: Tensor,
        trimap: Tensor,
        noise: Noise | None = None,
        *,
        alpha: Tensor | None = None,
        iteration: int = 0,
    ) -> MattingOutput:
        """Sample whole images; or, where `alpha` is given, `denoise` it as that iteration of training does.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            trimap: (B, 1, H, W) in [0, 1]; known regions are not enforced on the result.
            noise: draws the initial state, and for DDPM the noise of the steps.
            alpha: (B, 1, H, W) ground truth in [0, 1], in training.
            iteration: of training; decides on the stage.
        """
        if alpha is not None:
            return self.denoise(image, trimap, alpha, self.stage(iteration))
        classes = trimap_classes(trimap)
        encoding = self.backbone(self.encoder_input(image, classes))
        estimate = TiledEstimate(self.decoder, encoding.features, image, classes)
        return self._sample(estimate, encoding, image, noise or NamedNoise("", self.seed))

    @torch.inference_mode()
    def matte(self, image: Tensor, trimap: Tensor, limits: Limits, name: str = "") -> MattingOutput:
        """Sample one large image within `limits`, with the noise that belongs to its name.

        Args:
            image: (1, 3, H, W) uint8 RGB.
            trimap: (1, 1, H, W) uint8 of 0, 128, 255. Tiles without unknown pixels take its values.
        """
        classes = trimap_classes(trimap)
        if isinstance(self.backbone, ViT):
            encoding = encode_within(self.backbone, image, classes.float() / 2, limits)
        else:
            encoding = self.backbone(self.encoder_input(image, classes), limits)
        free_classes = [0] if self.published_foreground else [0, 2]
        estimate = TiledEstimate(self.decoder, encoding.features, image, classes, limits.tile_px, free_classes)
        output = self._sample(estimate, encoding, image, NamedNoise(name, self.seed))
        output.features = None
        return output

    def memory_cost(self, height: int, width: int, limits: Limits) -> int:
        """Upper estimate in bytes of what `matte` takes for an image of height x width pixels, beside its inputs."""
        height, width = published_size(height, width)
        stride = self.decoder.feature_stride
        rows, cols = height // stride, width // stride
        features = 4 * self.decoder.mid_blk.conv1.in_channels * rows * cols
        tile_px = min(limits.tile_px, height * width)
        kept = min((KEPT_TILES - 1) * tile_px, 2 * height * width)  # halos at most double what tiles hold together
        sampling = self.decoder.memory_cost(tile_px) + self.decoder.constants_cost(kept) + 7 * 4 * height * width
        return max(self.backbone.memory_cost(rows, cols, limits) + 9 * height * width, features + sampling)

    def denoise(
        self,
        image: Tensor,
        trimap: Tensor,
        alpha: Tensor,
        stage: Stage,
        *,
        noise: Tensor | None = None,
        uniform: Tensor | None = None,
        gumbel_noise: Sequence[Tensor] | None = None,
    ) -> MattingOutput:
        """Training: estimate the matte from a noisy one at a random time.

        In the self-aligned stages the noisy matte is built from the network's own estimate at an earlier, noisier time.

        Args:
            image, trimap: as in `forward`.
            alpha: (B, 1, H, W) ground truth in [0, 1].
            noise: (B, 1, H, W), drawn where not given.
            uniform: (2, B) in [0, 1) for the times, drawn where not given.
            gumbel_noise: of a routed backbone.
        """
        noise = torch.randn_like(alpha) if noise is None else noise
        uniform = torch.rand(2, len(alpha), device=alpha.device) if uniform is None else uniform
        earlier, t = draw_times(stage, uniform)
        classes = trimap_classes(trimap)
        inputs = self.encoder_input(image, classes)
        encoding = self.backbone(inputs) if gumbel_noise is None else self.backbone(inputs, gumbel_noise)
        estimate = TiledEstimate(self.decoder, encoding.features, image, classes)
        matte = 2 * alpha - 1
        if earlier is not None:
            start = noise if stage == "self_align_1" else diffuse(matte, noise, earlier, self.signal_scale)
            matte = estimate(normalise(start), earlier).detach()
        clean = estimate(normalise(diffuse(matte, noise, t, self.signal_scale)), t)
        return MattingOutput((clean + 1) / 2, encoding.features, encoding.keep, encoding.router_logp)

    def stage(self, iteration: int) -> Stage:
        """Stage of training at an iteration."""
        for stage, start in self._stage_starts:
            if start is not None and iteration >= start:
                return stage
        return "plain"

    def encoder_input(self, image: Tensor, classes: Tensor) -> Tensor:
        """What the encoder reads: (B, 4, H', W') with the trimap for a ViT, (B, 6, H', W') with its classes else."""
        window = whole_window(image)
        if isinstance(self.backbone, ViT):
            return model_input(image, classes.float() / 2, window)
        return image_and_classes(image, classes, window, centred=False)

    def _sample(self, estimate: TiledEstimate, encoding: Encoding, image: Tensor, noise: Noise) -> MattingOutput:
        shape = (len(image), 1, *image.shape[-2:])
        alpha = sample(
            estimate, noise, shape, strategy=self.strategy, scale=self.signal_scale, device=encoding.tokens.device
        )
        return MattingOutput(alpha.clamp(0, 1), encoding.features, encoding.keep, encoding.router_logp)
