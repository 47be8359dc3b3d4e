"""AEMatter."""

from detectron2.config import LazyCall as L

from modeling.aematter import AEMatter

model = L(AEMatter)()
