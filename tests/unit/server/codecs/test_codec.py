"""The parts that all codecs share, and the choice of codec."""

from pathlib import Path

import numpy as np

from server.codecs import CodecLimits, EncodedRow, ImageCodec, Token, build_codec
from server.manifest import ImageCodecSpec
from server.settings import SecuritySettings


def test_default_limits_are_those_of_the_settings() -> None:
    settings = SecuritySettings()

    assert CodecLimits() == CodecLimits(settings.max_text_bytes, settings.max_image_pixels)


def test_image_spec_builds_an_image_codec(tmp_path: Path) -> None:
    assert isinstance(build_codec(ImageCodecSpec(height=2, width=2), tmp_path), ImageCodec)


def test_row_makes_its_tokens_only_when_asked() -> None:
    calls: list[int] = []

    def source() -> tuple[Token, ...]:
        calls.append(1)
        return (Token("a", 0, 1),)

    row = EncodedRow({"ids": np.zeros((1, 1), np.int64)}, token_source=source, kept_tokens=1, original_tokens=2)

    assert not calls
    assert row.tokens == (Token("a", 0, 1),)
    assert row.truncated


def test_row_without_tokens_has_none_and_is_not_truncated() -> None:
    row = EncodedRow({"pixels": np.zeros((1, 1), np.float32)})

    assert row.tokens == ()
    assert not row.truncated
