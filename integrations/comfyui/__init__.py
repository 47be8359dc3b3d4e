"""Natural-image matting as a node of ComfyUI; copy this folder into ComfyUI's `custom_nodes`."""

from .nodes import MatteNode

NODE_CLASS_MAPPINGS = {"MEMatte": MatteNode}
NODE_DISPLAY_NAME_MAPPINGS = {"MEMatte": "Matte (MEMatte)"}
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
