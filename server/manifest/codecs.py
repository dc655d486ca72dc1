"""How a caller's content becomes the inputs of one row."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from server.manifest.base import FileName, Frozen


class TextCodecSpec(Frozen):
    """Text to token ids, by a `tokenizers` file."""

    kind: Literal["text"] = "text"
    tokenizer: FileName = "tokenizer.json"
    max_length: int = Field(ge=1)
    """The most tokens of one row, special tokens included."""
    input_ids: str = "input_ids"
    mask: str | None = "mask"
    token_type_ids: str | None = None


class ImageCodecSpec(Frozen):
    """An encoded image to a float32 array [1, channels, height, width]: resized, scaled to 0..1, normalised."""

    kind: Literal["image"] = "image"
    pixels: str = "pixels"
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    mode: Literal["L", "RGB"] = "RGB"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resample: Literal["bilinear", "bicubic", "box", "nearest"] = "bilinear"

    @model_validator(mode="after")
    def _one_statistic_a_channel(self) -> "ImageCodecSpec":
        channels = len(self.mode)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ValueError(f"{name} has {len(values)} values for {channels} channels")
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be positive")
        return self


CodecSpec = Annotated[TextCodecSpec | ImageCodecSpec, Field(discriminator="kind")]
