"""DiffMatte: an encoder run once, a decoder iterated by a diffusion sampler."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .base import Encoder, Encoding, MattingNetwork, MattingOutput
from .decoder.diffusion_decoder import DiffusionDecoder
from .diffusion import DEFAULT_SEED, Estimate, NamedNoise, Stage, Strategy, diffuse, draw_times, normalise, sample
from .inputs import image_and_classes, model_input, pad_right_bottom, trimap_classes, whole_window

Noise = Callable[[tuple[int, ...]], Tensor]


class DiffMatte(MattingNetwork):
    """Alpha from an image, its trimap and noise.

    Args:
        backbone: encoder with one output map.
        decoder: from feature, image, trimap and noisy matte to a clean matte.
        sample_strategy: sampler and number of steps, for example `ddim10`.
        signal_scale: strength of the matte against the noise; that of training.
        seed: part of the noise seed that all images share.
        published_foreground: leave the predicted alpha in known foreground, as the published code does by mistake.
        self_align_stage1_step, self_align_stage2_step: iterations of training from which the noisy matte comes from the
            network's own estimate, at pure noise (stage 1) or at an earlier time (stage 2, which takes precedence).
    """

    training_inputs = ("alpha", "iteration")

    def __init__(
        self,
        backbone: Encoder,
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
    def backbone(self) -> Encoder:
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
        """Sample whole images; given `alpha`, `denoise` it as in training.

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
        estimate = self.whole_estimate(encoding, image, classes)
        return self.sample(estimate, encoding, image, noise or NamedNoise("", self.seed))

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
        estimate = self.whole_estimate(encoding, image, classes)
        matte = 2 * alpha - 1
        if earlier is not None:
            start = noise if stage == "self_align_1" else diffuse(matte, noise, earlier, self.signal_scale)
            matte = estimate(normalise(start), earlier, False).detach()
        clean = estimate(normalise(diffuse(matte, noise, t, self.signal_scale)), t, True)
        return _output((clean + 1) / 2, encoding)

    def stage(self, iteration: int) -> Stage:
        """Stage of training at an iteration."""
        for stage, start in self._stage_starts:
            if start is not None and iteration >= start:
                return stage
        return "plain"

    def encoder_input(self, image: Tensor, classes: Tensor) -> Tensor:
        """Padded (B, 6, H', W') with the trimap's classes, or (B, 4, H', W') for encoders that read the trimap."""
        window = whole_window(image)
        if self.backbone.reads_classes:
            return image_and_classes(image, classes, window, centred=False)
        return model_input(image, classes.float() / 2, window)

    def whole_estimate(self, encoding: Encoding, image: Tensor, classes: Tensor) -> Estimate:
        """Estimator of the clean matte on whole images, from state and time."""
        _, padded_height, _, padded_width = window = whole_window(image)
        constants = self.decoder.prepare(encoding.features, image_and_classes(image, classes, window, centred=True))

        def estimate(x: Tensor, t: Tensor, last: bool) -> Tensor:
            padded = pad_right_bottom(x, padded_height, padded_width)
            return self.decoder(constants, padded, t)[..., : x.shape[-2], : x.shape[-1]]

        return estimate

    def sample(self, estimate: Estimate, encoding: Encoding, image: Tensor, noise: Noise) -> MattingOutput:
        """Draw the matte of an encoded image."""
        shape = (len(image), 1, *image.shape[-2:])
        alpha = sample(
            estimate, noise, shape, strategy=self.strategy, scale=self.signal_scale, device=encoding.tokens.device
        )
        return _output(alpha.clamp(0, 1), encoding)

    @property
    def encoder_depth(self) -> int | None:
        return self.backbone.depth


def _output(alpha: Tensor, encoding: Encoding) -> MattingOutput:
    return MattingOutput(alpha, encoding.features, encoding.keep, encoding.router_logp, encoding.policy)
