"""The networks: one file per family, each readable alone."""

from seg.models import deeplab, fcn, reference, unet  # noqa: F401  (importing a family registers its networks)
from seg.models._registry import build_model, list_models, register
from seg.models.backbone import DEFAULT_BACKBONE, Backbone

__all__ = ["DEFAULT_BACKBONE", "Backbone", "build_model", "list_models", "register"]
