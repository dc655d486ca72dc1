"""Bytes to arrays, one codec a file; used by training too, so that there is no skew."""

from pathlib import Path

from server.codecs.codec import CodecLimits, EncodedRow, Token, Truncation
from server.codecs.image import ImageCodec
from server.codecs.text import TextCodec
from server.manifest import CodecSpec, TextCodecSpec

Codec = TextCodec | ImageCodec

__all__ = ["Codec", "CodecLimits", "EncodedRow", "ImageCodec", "TextCodec", "Token", "Truncation", "build_codec"]


def build_codec(spec: CodecSpec, directory: Path, limits: CodecLimits | None = None) -> Codec:
    """The codec that a manifest asks for, its files read from `directory`; `limits` None: the defaults.

    Raises ArtifactCorrupt if a file that it needs is broken.
    """
    if isinstance(spec, TextCodecSpec):
        return TextCodec(spec, directory, limits)
    return ImageCodec(spec, limits)
