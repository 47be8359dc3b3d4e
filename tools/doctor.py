"""Print versions, devices and memory, and recompute a recorded result.

Paste the output into a bug report.

Exit codes: 0 all well, 1 something is missing or computes other numbers than recorded.
"""

import importlib.metadata
import importlib.util
import platform
import sys
import time
from collections.abc import Iterator, Sequence

import tools  # noqa: F401  (puts the repository on the path)
from tools import arguments, cli

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "timm",
    "einops",
    "safetensors",
    "fvcore",
    "omegaconf",
    "tifffile",
    "OpenEXR",
    "av",
)
GOLDEN = arguments.ROOT / "tests" / "golden" / "mematte_s_128x180_padquirk.npz"

Line = tuple[str, str, bool]  # subject, state, True if all is well


def version(package: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def packages() -> Iterator[Line]:
    """Versions of the required packages."""
    yield "python", f"{platform.python_version()}, {platform.platform()}", sys.version_info >= (3, 10)
    for package in PACKAGES:
        found = version(package)
        yield package, found or "missing: install requirements.txt", found is not None
    yield "detectron2", *detectron2()


def detectron2() -> tuple[str, bool]:
    """Installed build of detectron2: the wheel or the official one."""
    if importlib.util.find_spec("detectron2") is None:
        return "missing: run tools/install_detectron2.py", False
    compiled = "with" if importlib.util.find_spec("detectron2._C") else "without"
    if found := version("sal-detectron2"):
        return f"the wheel sal-detectron2 {found}, {compiled} compiled operators (not needed)", True
    return f"the official build {version('detectron2') or 'of unknown version'}, {compiled} compiled operators", True


def devices() -> Iterator[Line]:
    """Processors, accelerators and free memory."""
    import torch

    from modeling.inference.memory import free

    cores = arguments.cores()
    yield "cpu", f"{torch.backends.cpu.get_cpu_capability()}, {cores} cores, {torch.get_num_threads()} threads", True
    libraries = {"MKL": torch.backends.mkl, "oneDNN": torch.backends.mkldnn, "OpenMP": torch.backends.openmp}
    yield "cpu libraries", ", ".join(name for name, found in libraries.items() if found.is_available()) or "none", True
    for index in range(torch.cuda.device_count()):
        yield f"cuda:{index}", cuda(index), True
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without it"
        yield "cuda", f"no device ({built})", True
    yield "mps", "available" if torch.backends.mps.is_available() else "no device", True
    try:
        yield "free memory", f"{free(torch.device('cpu')) / 2**30:.1f} GiB", True
    except ValueError as error:
        yield "free memory", str(error), True


def cuda(index: int) -> str:
    """One GPU in one line."""
    import torch

    from modeling.inference.memory import free

    properties = torch.cuda.get_device_properties(index)
    half = "bf16" if torch.cuda.is_bf16_supported() else "fp16 only"
    flash = (
        "flash attention" if torch.backends.cuda.flash_sdp_enabled() and properties.major >= 8 else "no flash attention"
    )
    left = free(torch.device("cuda", index)) / 2**30
    return (
        f"{properties.name}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, {half}, {flash}, "
        f"{left:.1f} of {properties.total_memory / 2**30:.1f} GiB free"
    )


def golden() -> Iterator[Line]:
    """A recorded result, computed again."""
    start = time.perf_counter()
    try:
        from tools.reference.golden import check_file

        quantities = check_file(GOLDEN)
    except Exception as error:  # whatever is wrong with this installation is what is asked for
        yield GOLDEN.name, f"cannot be computed ({type(error).__name__}: {error})", False
        return
    for quantity in quantities:
        yield f"{GOLDEN.stem}: {quantity.name}", f"differs by {quantity.difference:.1e}", quantity.ok
    yield "computed in", f"{time.perf_counter() - start:.1f} s", True


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments.make_parser(__doc__).parse_args(argv)
    code = 0
    for part in (packages, devices, golden):
        for what, how, well in part():
            cli.say(f"{'ok ' if well else 'BAD'} {what}: {how}")
            code = code if well else 1
    return code


if __name__ == "__main__":
    sys.exit(main())
