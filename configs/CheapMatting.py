"""CheapMatting by AEMatter's recipe, since its own was never published.

Its published weights were not made by this recipe.
"""

from .common.criteria import aematter_criterion as criterion
from .common.models import network
from .common.recipes.aematter import dataloader, lr_multiplier, optimizer, training

model = network("CheapMatting")
train = training("CheapMatting")
