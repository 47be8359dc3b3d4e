"""CheapMatting."""

from detectron2.config import LazyCall as L

from modeling.cheapmatting import CheapMatting

model = L(CheapMatting)()
