"""Networks composed from `models.attention`, each with a frozen config on top; nothing here knows a task."""

from models.networks.encoder import Encoder, EncoderBlock, EncoderConfig, EncoderOutput
from models.networks.image_classifier import ImageClassifier, ImageClassifierConfig
from models.networks.output import ClassifierOutput
from models.networks.text_classifier import TextClassifier, TextClassifierConfig

__all__ = [
    "ClassifierOutput",
    "Encoder",
    "EncoderBlock",
    "EncoderConfig",
    "EncoderOutput",
    "ImageClassifier",
    "ImageClassifierConfig",
    "TextClassifier",
    "TextClassifierConfig",
]
