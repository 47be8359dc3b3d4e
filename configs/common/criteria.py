"""The published criteria."""

from detectron2.config import LazyCall as L

from modeling.losses.criteria import (
    AEMatterCriterion,
    DiffMatteCriterion,
    MEDiffMatteCriterion,
    MEMatteCriterion,
    ViTMatteCriterion,
)

mematte_criterion = L(MEMatteCriterion)(keep_ratio=0.25, distill_weight=1.0, ratio_weight=1.0)
vitmatte_criterion = L(ViTMatteCriterion)()
diffmatte_criterion = L(DiffMatteCriterion)()
mediffmatte_criterion = L(MEDiffMatteCriterion)(keep_ratio=0.25, distill_weight=1.0, ratio_weight=1.0)
aematter_criterion = L(AEMatterCriterion)(weight=0.5)
