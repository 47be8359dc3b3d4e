"""Sessions of onnxruntime whose errors are one line: numpy and onnxruntime only."""

import re
from pathlib import Path

import numpy as np
import onnxruntime

MAX_THREADS = 1024


def open_session(model: str | Path | bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A session on the CPU that returns memory between runs.

    Raises:
        ValueError: the file is missing, is no ONNX model, or needs a newer onnxruntime; or `threads` is out of range.
    """
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise ValueError(f"{model}: no such file; tools/export_onnx.py writes it")
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"threads must be 1 to {MAX_THREADS}, is {threads}")
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # sizes differ from image to image, and an arena keeps the largest
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        source = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        version = onnxruntime.__version__
        raise ValueError(f"{label(model)}: onnxruntime {version} cannot load it ({_reason(error)})") from error


def run_session(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs.

    Raises:
        ValueError: onnxruntime failed, as with a damaged file or too little memory.
    """
    try:
        return session.run(None, feed)
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        part = session.get_modelmeta().custom_metadata_map.get("part", "file")
        raise ValueError(f"onnxruntime cannot run the {part} of the network ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """First words of a message, without onnxruntime's codes and paths.

    Callers give the path; places in its source are dropped too.
    """
    text = re.sub(r"\s+", " ", str(error))
    text = re.sub(r"^(\[ONNXRuntimeError\] : \d+ : )?([A-Z_]+ : )?(Load model from .*? failed: ?)?", "", text)
    return re.sub(r"/onnxruntime_src/.*?\) (?=[A-Z])", "", text)[:200]


def label(model: str | Path | bytes) -> str | Path:
    """Name of a model in messages."""
    return "the model" if isinstance(model, bytes) else model
