"""Reading 8-bit mattes and trimaps for scoring: one stored channel, never a weighted grey, no silent conversion."""

from pathlib import Path

import cv2
import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH_BYTE = 24
# Some decoders hand out the part they could read of a file that was cut off; its end marker tells.
END_MARKERS = ((PNG_SIGNATURE, b"IEND"), (b"\xff\xd8", b"\xff\xd9"))
TRIMAP_VALUES = (0, 128, 255)
SNAP_LOW, SNAP_HIGH = 25, 230


def read_channel(path: Path, what: str, binary_ok: bool = False) -> np.ndarray:
    """Read the first channel as uint8 (H, W).

    Args:
        path: the image file.
        what: "prediction", "label" or "trimap", for the message.
        binary_ok: accept files of less than 8 bits, which are expanded to 0..255.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{what} {path.name} cannot be read: {error.strerror}") from error
    cut_off = any(data.startswith(start) and end not in data for start, end in END_MARKERS)
    image = None if cut_off or not data else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{what} {path.name} cannot be decoded: truncated, damaged, or no image file")
    if image.dtype != np.uint8:
        raise ValueError(f"{what} {path.name} is {image.dtype}; the metrics are defined on 8 bits, save it as 8-bit")
    if not binary_ok and data.startswith(PNG_SIGNATURE) and data[PNG_DEPTH_BYTE] < 8:
        raise ValueError(f"{what} {path.name} has {data[PNG_DEPTH_BYTE]} bit per pixel; save alpha as 8-bit")
    # Colour is decoded as BGR(A): the first stored channel, red, is at index 2.
    return image if image.ndim == 2 else np.ascontiguousarray(image[:, :, min(2, image.shape[2] - 1)])


def read_trimap(path: Path, snap: bool = False) -> np.ndarray:
    """Read a trimap of 0, 128 and 255, uint8 (H, W); other values are refused, or snapped to these three."""
    trimap = read_channel(path, "trimap", binary_ok=True)
    if snap:
        return np.select([trimap <= SNAP_LOW, trimap >= SNAP_HIGH], [np.uint8(0), np.uint8(255)], np.uint8(128))
    others = np.setdiff1d(np.flatnonzero(np.bincount(trimap.ravel())), TRIMAP_VALUES)
    if others.size:
        listed = ", ".join(map(str, others[:5])) + (", ..." if others.size > 5 else "")
        raise ValueError(
            f"trimap {path.name} holds values other than 0, 128 and 255 ({listed}); "
            f"--snap-trimap takes <= {SNAP_LOW} as 0, >= {SNAP_HIGH} as 255 and the rest as 128"
        )
    return trimap
