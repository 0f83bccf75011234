"""SegLab's core: upload a photo, see how FCN, U-Net and DeepLab label every pixel of it."""

from seg.checkpoint import CheckpointError, list_checkpoints
from seg.image import InvalidImageError, read_image
from seg.predictor import Predictor, Segmentation, load_predictor

__all__ = [
    "CheckpointError",
    "InvalidImageError",
    "Predictor",
    "Segmentation",
    "list_checkpoints",
    "load_predictor",
    "read_image",
]
