"""DiffMatte with Swin-T and prior tokens."""

from .common.diffmatte import diffmatte_swin_t

model = diffmatte_swin_t()
