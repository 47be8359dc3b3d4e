"""Goldens of DiffMatte: the schedule, the losses, passes of training, whole samplers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modeling.base import MattingOutput
from modeling.decoder.diffusion_decoder import encode_time
from modeling.diffmatte import DiffMatte
from modeling.diffusion import Schedule, Strategy, draw_times, normalise
from modeling.inference.predictor import enforce_known
from modeling.inputs import trimap_classes, whole_window
from modeling.losses.criteria import DiffMatteCriterion
from tools.reference.diffmatte import filled, inputs
from tools.reference.golden.check import (
    Arrays,
    Quantity,
    compare_losses,
    largest_difference,
    share_of_tolerance,
)

STAGES = {"plain_": "plain", "stage1_": "self_align_1", "stage2_": "self_align_2"}


def check_schedule(path: Path, arrays: Arrays) -> list[Quantity]:
    """All numbers of schedules and time encoding, bit by bit."""
    quantities = []
    for key in (key for key in arrays if key.startswith("n")):
        schedule = Schedule.create(int(key[1:]), scale=0.2)
        ours = {
            "t": schedule.times[:-1],
            "t_next": schedule.times[1:],
            "a": schedule.a[:-1],
            "a_next": schedule.a[1:],
            "s": schedule.s[:-1],
            "s_next": schedule.s[1:],
            "c": schedule.c,
            "log_variance": schedule.log_variance,
        }
        table = dict(zip(arrays["columns"].tolist(), arrays[key], strict=True))
        difference = max(largest_difference(values.numpy(), table[name]) for name, values in ours.items())
        quantities.append(Quantity(key, difference, 0))
    encoded = encode_time(torch.from_numpy(arrays["temb_t"])).numpy()
    return [*quantities, Quantity("temb", largest_difference(encoded, arrays["temb"]), 0)]


def check_losses(path: Path, arrays: Arrays) -> list[Quantity]:
    """The five terms on their own."""
    pred, target, unknown = (torch.from_numpy(arrays[name]) for name in ("pred", "target", "unknown"))
    losses = DiffMatteCriterion()(MattingOutput((pred + 1) / 2), (target + 1) / 2, unknown / 2)
    return compare_losses({name: loss.item() for name, loss in losses.items()}, arrays)


@torch.no_grad()
def check_training(path: Path, arrays: Arrays) -> list[Quantity]:
    """Times, noisy matte, estimate and losses per stage of training."""
    model = filled(path.stem.split("_", 2)[2])
    noise, uniform = torch.from_numpy(arrays["noise"]), torch.from_numpy(arrays["uniform"])
    image, trimap = inputs(arrays)
    alpha, halves = torch.from_numpy(arrays["alpha"])[:, None] / 255, trimap_classes(trimap) / 2
    quantities = []
    for prefix, stage in STAGES.items():
        earlier, t = draw_times(stage, uniform)
        first = t if earlier is None else earlier
        with record_decoder(model) as calls:
            output = model.denoise(image / 255, halves, alpha, stage, noise=noise, uniform=uniform)
        exact = {"times": t.numpy(), "first_times": first.numpy(), "ncalls": np.array(len(calls))}
        for name, ours in exact.items():
            if prefix + name in arrays:
                quantities.append(Quantity(prefix + name, largest_difference(ours, arrays[prefix + name]), 0))
        if f"{prefix}noised" in arrays:
            noised = normalise(torch.from_numpy(arrays[f"{prefix}noised"])).numpy()
            quantities.append(Quantity(f"{prefix}noised", largest_difference(calls[-1][0].numpy(), noised), 1e-5))
        pred = (2 * output.alpha - 1).numpy()
        quantities.append(Quantity(f"{prefix}pred", largest_difference(pred, arrays[f"{prefix}pred"]), 1e-5))
        losses = DiffMatteCriterion()(output, alpha, halves)
        quantities += compare_losses({name: loss.item() for name, loss in losses.items()}, arrays, prefix)
    return quantities


@torch.no_grad()
def check_sampling(path: Path, arrays: Arrays) -> list[Quantity]:
    """Sampling with stored noise: result, encoder features and intermediate steps."""
    variant, strategy = str(arrays["variant"]), Strategy.parse(str(arrays["strategy"]))
    model = copy(filled(variant))
    model.strategy = strategy
    image, trimap = inputs(arrays)
    with record_decoder(model) as calls:
        output = model(image / 255, trimap / 255, given_noise(arrays["noise"], *arrays.get("step_noise", [])))
    height, width = image.shape[-2:]
    states, estimates = (torch.cat(tensors)[:, 0, :height, :width].numpy() for tensors in zip(*calls, strict=True))
    known = enforce_known(output.alpha[0, 0].clone(), trimap[0, 0], foreground=False)
    quantities = [
        Quantity(name, largest_difference(ours, arrays[name]), tolerance)
        for name, ours, tolerance in (
            ("padded_hw", np.array(whole_window(image)[1::2]), 0),
            ("times", Schedule.create(strategy.steps, model.signal_scale).times.numpy(), 0),
            ("xt_first", states[0], 1e-5),
            ("pred_first", estimates[0], 1e-5),
            ("pred_steps", estimates, 3e-4),  # stored in half precision
            ("alpha_before", output.alpha[0, 0].numpy(), 5e-6),
            ("alpha_after", known.numpy(), 5e-6),
        )
        if name in arrays
    ]
    if "features" in arrays:
        tolerance = {"absolute": 5e-4, "relative": 0} if variant == "res34" else {"absolute": 5e-3, "relative": 1e-3}
        quantities.append(share_of_tolerance("features", output.features[0].numpy(), arrays["features"], **tolerance))
    return quantities


def given_noise(*draws: np.ndarray) -> Callable[[tuple[int, ...]], Tensor]:
    """A noise source that returns known draws."""
    remaining = iter(draws)
    return lambda shape: torch.from_numpy(next(remaining))


@contextmanager
def record_decoder(model: DiffMatte) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """State and estimate, both padded, of every pass of the decoder."""
    calls = []
    handle = model.decoder.register_forward_hook(lambda _, inputs, output: calls.append((inputs[1], output)))
    yield calls
    handle.remove()
