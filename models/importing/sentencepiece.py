"""A SentencePiece model as a tokenizer of the `tokenizers` library, its pieces numbered by a vocabulary of its own.

The library reads no `.spm`. Messages here are skeletons of SentencePiece's (sentencepiece_model.proto, same field
numbers), built in a pool of their own; protobuf skips every field that a skeleton leaves out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from tokenizers import Regex, decoders, normalizers, pre_tokenizers

from models.importing.failure import ImportRefused

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "attendant.sentencepiece_skeleton"

# message -> (field, number, type, repeated, default); a type in capitals is a scalar, any other names a message here.
_SKELETON: dict[str, tuple[tuple[str, int, str, bool, str], ...]] = {
    "SentencePiece": (
        ("piece", 1, "STRING", False, ""),
        ("score", 2, "FLOAT", False, ""),
        ("type", 3, "INT32", False, "1"),
    ),
    "TrainerSpec": (
        ("model_type", 3, "INT32", False, "1"),
        ("treat_whitespace_as_suffix", 24, "BOOL", False, ""),
        ("byte_fallback", 35, "BOOL", False, ""),
    ),
    "NormalizerSpec": (
        ("precompiled_charsmap", 2, "BYTES", False, ""),
        ("add_dummy_prefix", 3, "BOOL", False, "true"),
        ("remove_extra_whitespaces", 4, "BOOL", False, "true"),
        ("escape_whitespaces", 5, "BOOL", False, "true"),
    ),
    "ModelProto": (
        ("pieces", 1, "SentencePiece", True, ""),
        ("trainer_spec", 2, "TrainerSpec", False, ""),
        ("normalizer_spec", 3, "NormalizerSpec", False, ""),
    ),
}
_UNIGRAM = 1
_NORMAL, _USER_DEFINED, _BYTE = 1, 4, 6
_SPACE = "▁"


@dataclass(frozen=True)
class Pieces:
    """What a unigram SentencePiece model knows."""

    scores: dict[str, float]
    """Log probabilities of the pieces that a text can be cut into, bytes included."""
    charsmap: bytes
    """How characters are normalised, as SentencePiece compiled it; empty: not at all."""
    byte_fallback: bool
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool

    def normalizer(self) -> normalizers.Normalizer:
        """What SentencePiece does to a text before it is cut, spaces excepted."""
        steps: list[normalizers.Normalizer] = []
        if self.charsmap:
            steps.append(normalizers.Precompiled(self.charsmap))
        if self.remove_extra_whitespaces:
            steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        return normalizers.Sequence(steps)

    def pre_tokenizer(self) -> pre_tokenizers.PreTokenizer:
        """Makes spaces visible, one before the text included."""
        scheme = "always" if self.add_dummy_prefix else "never"
        return pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=scheme, split=False)

    def decoder(self) -> decoders.Decoder:
        """Puts pieces together again."""
        spaces = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always" if self.add_dummy_prefix else "never")
        return decoders.Sequence([decoders.ByteFallback(), spaces]) if self.byte_fallback else spaces


def read_pieces(path: Path) -> Pieces:
    """Reads a SentencePiece model.

    Raises ImportRefused if the file is none, or is not of the unigram kind, or does what this library cannot: symbols
    of the user's own, spaces behind words or left as they are.
    """
    model = _ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise ImportRefused(f"{path.name} is no SentencePiece model that can be read") from error
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type in (_NORMAL, _BYTE)}
    if (
        not scores
        or trainer.model_type != _UNIGRAM
        or trainer.treat_whitespace_as_suffix
        or not normalizer.escape_whitespaces
        or any(piece.type == _USER_DEFINED for piece in model.pieces)
    ):
        raise ImportRefused(
            f"{path.name} is no unigram model of SentencePiece without symbols of its own; put a tokenizer.json that "
            "encodes as it does into the export's folder"
        )
    return Pieces(
        scores=scores,
        charsmap=normalizer.precompiled_charsmap,
        byte_fallback=trainer.byte_fallback,
        add_dummy_prefix=normalizer.add_dummy_prefix,
        remove_extra_whitespaces=normalizer.remove_extra_whitespaces,
    )


def _model_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sentencepiece_skeleton.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _SKELETON.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated, default in fields:
            field = described.field.add(name=name, number=number)
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if kind.isupper():
                field.type = _Field.Type.Value(f"TYPE_{kind}")
            else:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind}"
            if default:
                field.default_value = default
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.ModelProto"))


_ModelProto = _model_class()
