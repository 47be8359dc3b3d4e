"""Continuous-time diffusion of an alpha matte: schedule, strategy strings, samplers, reproducible noise.

The matte m = 2 * alpha - 1 is diffused as x_t = a(t) * m + s(t) * noise, t from 0 (clean) to 1 (pure noise), with
a(t) = scale * sqrt(gamma(t)) and s(t) = sqrt(1 - gamma(t)). Networks see x_t divided by its standard deviation and
predict m. Because time is continuous any number of steps is a valid sampler.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Stage = Literal["plain", "self_align_1", "self_align_2"]
# From the normalised state (B, 1, H, W), its time (B,) and whether no step follows to a clean matte in [-1, 1].
Estimate = Callable[[Tensor, Tensor, bool], Tensor]

_SMALLEST_GAMMA = 1e-9
_SMALLEST_SNR = 1e-5
_SMALLEST_VARIANCE = 1e-20
_SMALLEST_STD = 1e-5

# The published command fixes this seed; here it is the part of the noise seed that is common to all images.
DEFAULT_SEED = 8282


@dataclass(frozen=True)
class Strategy:
    """Sampler and number of steps.

    `ddim` is deterministic given its first noise, `ddpm` adds noise at every step.
    """

    sampler: Literal["ddim", "ddpm"]
    steps: int

    def __str__(self) -> str:
        return f"{self.sampler}{self.steps}"

    @classmethod
    def parse(cls, text: str) -> "Strategy":
        """Parse `ddim10`, `ddpm4` or `50` (DDPM), with any number of steps."""
        match = re.fullmatch(r"(ddim|ddpm)?[-_]?(\d+)", text.strip().lower())
        if match is None or int(match[2]) < 1:
            raise ValueError(
                f"sample strategy {text!r} is not a sampler and a number of steps; use for example ddim10 or ddpm10"
            )
        return cls("ddim" if match[1] == "ddim" else "ddpm", int(match[2]))


def gamma(t: Tensor) -> Tensor:
    """Share of the signal's variance left at time t."""
    return (1 - t).clamp(min=_SMALLEST_GAMMA)


def signal_and_noise(t: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return a(t) and s(t)."""
    left = gamma(t)
    return scale * left.sqrt(), (1 - left).sqrt()


def diffuse(matte: Tensor, noise: Tensor, t: Tensor, scale: float) -> Tensor:
    """Return x_t of a matte in [-1, 1]; matte and noise (B, 1, H, W), t (B,)."""
    a, s = signal_and_noise(t.view(-1, 1, 1, 1), scale)
    return a * matte + s * noise


def draw_times(stage: Stage, uniform: Tensor) -> tuple[Tensor | None, Tensor]:
    """Times of a training step.

    Args:
        stage: how the noisy matte is made. `plain` from the ground truth; `self_align_1` from the estimate at pure
            noise; `self_align_2` from an estimate at an earlier time, at a uniformly distributed interval.
        uniform: (2, B) in [0, 1); the second row is used by `self_align_2` only.

    Returns:
        time of the earlier estimate (B,), None without one, and time of the loss (B,).
    """
    if stage == "plain":
        return None, uniform[0]
    if stage == "self_align_1":
        return torch.ones_like(uniform[0]), uniform[0]
    interval = uniform[0]
    t = uniform[1] * (1 - interval)
    return t + interval, t


def normalise(x: Tensor) -> Tensor:
    """Divide each sample (B, 1, H, W) by its standard deviation, keeping its mean."""
    return x / x.std(dim=(1, 2, 3), correction=0, keepdim=True).clamp(min=_SMALLEST_STD)


@dataclass(frozen=True)
class Schedule:
    """Coefficients of a sampler with T steps.

    Step k goes from times[k] to times[k + 1].

    Attributes:
        times: (T + 1,) from 1 to 0.
        a, s: (T + 1,) signal and noise at those times.
        c: (T,) share of the new estimate in a DDPM step.
        log_variance: (T,) of the noise that a DDPM step adds.
    """

    times: Tensor
    a: Tensor
    s: Tensor
    c: Tensor
    log_variance: Tensor

    @classmethod
    def create(cls, steps: int, scale: float) -> "Schedule":
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float32)
        a, s = signal_and_noise(times, scale)
        log_snr = (gamma(times) / (1 - gamma(times))).clamp(min=_SMALLEST_SNR).log()  # infinite at t = 0
        c = -torch.expm1(log_snr[:-1] - log_snr[1:])
        log_variance = (s[1:] ** 2 * c).clamp(min=_SMALLEST_VARIANCE).log()
        return cls(times, a, s, c, log_variance)

    @property
    def steps(self) -> int:
        return len(self.times) - 1


class NamedNoise:
    """Standard normal noise that depends on a name and a seed only.

    Drawn on the CPU, so that it is the same on every device, whatever other images a process has handled before.
    """

    def __init__(self, name: str, seed: int = DEFAULT_SEED) -> None:
        digest = hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
        self._generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self._generator)


def sample(
    estimate: Estimate,
    noise: Callable[[tuple[int, ...]], Tensor],
    shape: tuple[int, ...],
    *,
    strategy: Strategy,
    scale: float,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw a matte.

    Args:
        estimate: maps the normalised state (B, 1, H, W), its time (B,) and whether this is the last step to a clean
            matte in [-1, 1].
        noise: draws standard normal noise of a given shape.
        shape: (B, 1, H, W) of the image before padding.
        strategy: sampler and number of steps.
        scale: signal scale of the schedule.
        device: where the state lives.

    Returns:
        alpha (B, 1, H, W), not clamped.
    """
    schedule = Schedule.create(strategy.steps, scale)
    x = noise(shape).to(device, torch.float32)
    for k in range(schedule.steps):
        t = schedule.times[k].to(device).expand(len(x))
        clean = estimate(normalise(x), t, k + 1 == schedule.steps).clamp(-1, 1)
        if strategy.sampler == "ddim":
            x = _ddim_step(schedule, k, x, clean)
        else:
            # The last step is free of noise.
            fresh = noise(shape).to(x) if k + 1 < schedule.steps else torch.zeros_like(x)
            x = _ddpm_step(schedule, k, x, clean, fresh)
    return (x / scale + 1) / 2


def _ddim_step(schedule: Schedule, k: int, x: Tensor, clean: Tensor) -> Tensor:
    implied = (x - schedule.a[k] * clean) / schedule.s[k].clamp(min=1e-10)
    return schedule.a[k + 1] * clean + schedule.s[k + 1] * implied


def _ddpm_step(schedule: Schedule, k: int, x: Tensor, clean: Tensor, fresh: Tensor) -> Tensor:
    c = schedule.c[k]
    mean = schedule.a[k + 1] * (x * (1 - c) / schedule.a[k] + c * clean)
    return mean + (0.5 * schedule.log_variance[k]).exp() * fresh
