"""DiffMatte with ResNet-34-D."""

from .common.diffmatte import diffmatte_res34

model = diffmatte_res34()
