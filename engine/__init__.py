"""The training side: detectron2 trainer, hooks and writers."""
