"""Speed of the arithmetic-bound parts: linear layers and dense convolutions."""

from collections.abc import Callable

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

LINEAR, PRODUCTS, CONVOLUTION = ("aten::linear",), ("aten::mm", "aten::addmm"), ("aten::conv2d",)


def rates(run: Callable[[], object], device: str) -> dict[str, dict[str, float]]:
    """Seconds and GFLOP of each part per call.

    Depthwise convolutions and attention are not counted.
    """
    activities = {ProfilerActivity.CPU, ProfilerActivity.CUDA if device.startswith("cuda") else ProfilerActivity.CPU}
    with profile(activities=activities, record_shapes=True, with_flops=True) as profiler:
        run()
    events = [event for event in profiler.events() if _is_outermost(event)]
    convolutions = [event for event in events if event.name in CONVOLUTION and _mixes_channels(event)]
    linears = [event for event in events if event.name in LINEAR]
    products = [event for event in events if event.name in PRODUCTS]
    time = "device_time_total" if device.startswith("cuda") else "cpu_time_total"  # microseconds
    return {
        name: {
            "seconds": sum(getattr(event, time) for event in timed) / 1e6,
            "gflop": sum(event.flops or 0 for event in counted) / 1e9,
        }
        for name, timed, counted in (("linears", linears, products), ("convolutions", convolutions, convolutions))
    }


def _is_outermost(event: FunctionEvent) -> bool:
    """Under autocast an operation calls itself once more, after converting its inputs."""
    return event.cpu_parent is None or event.cpu_parent.name != event.name


def _mixes_channels(convolution: FunctionEvent) -> bool:
    weight = convolution.input_shapes[1]  # (out, in / groups, k, k)
    return weight[1] > 1
