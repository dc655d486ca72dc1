"""Networks composed from `models.attention`, each with a frozen config on top; nothing here knows a task."""

from models.networks.bare_attention import BareAttentionConfig, bare_attention
from models.networks.block import BlockConfig
from models.networks.decoder import Decoder, DecoderBlock, DecoderBlockOutput, DecoderConfig, DecoderOutput
from models.networks.encoder import Encoder, EncoderBlock, EncoderConfig, EncoderOutput
from models.networks.image_classifier import ImageClassifier, ImageClassifierConfig
from models.networks.language_model import LanguageModel, LanguageModelConfig
from models.networks.output import ClassifierOutput
from models.networks.recurrent_translator import RecurrentTranslator, RecurrentTranslatorConfig
from models.networks.stepwise import Step, Stepwise
from models.networks.text_classifier import TextClassifier, TextClassifierConfig
from models.networks.translator import Translator, TranslatorConfig

__all__ = [
    "BareAttentionConfig",
    "BlockConfig",
    "ClassifierOutput",
    "Decoder",
    "DecoderBlock",
    "DecoderBlockOutput",
    "DecoderConfig",
    "DecoderOutput",
    "Encoder",
    "EncoderBlock",
    "EncoderConfig",
    "EncoderOutput",
    "ImageClassifier",
    "ImageClassifierConfig",
    "LanguageModel",
    "LanguageModelConfig",
    "RecurrentTranslator",
    "RecurrentTranslatorConfig",
    "Step",
    "Stepwise",
    "TextClassifier",
    "TextClassifierConfig",
    "Translator",
    "TranslatorConfig",
    "bare_attention",
]
