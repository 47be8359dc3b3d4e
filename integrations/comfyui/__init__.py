"""Natural-image matting in ComfyUI; copy this folder to its `custom_nodes`."""

from .nodes import MatteNode

NODE_CLASS_MAPPINGS = {"MEMatte": MatteNode}
NODE_DISPLAY_NAME_MAPPINGS = {"MEMatte": "Matte (MEMatte)"}
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
