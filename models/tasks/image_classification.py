"""Which class an image belongs to."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import ClassVar

from torch import nn
from torch.nn import functional as F
from typing_extensions import override

from models.data.external import labelled_images
from models.data.labelled import Labelled
from models.networks import ImageClassifier, ImageClassifierConfig
from models.tasks.classification import LOGITS, Classification, attention_output, stack
from models.tasks.rows import TARGET, Rows
from models.tasks.task import Batch, Signature
from server.codecs import EncodedRow, ImageCodec
from server.manifest import (
    AttentionSpec,
    Baseline,
    CellAxis,
    CodecSpec,
    FixedAxis,
    ImageCodecSpec,
    InputSpec,
    OutputSpec,
    RowAxis,
)
from server.manifest import Task as TaskName
from server.tensors import Datatype

PIXELS = "pixels"
LINEAR_PIXELS = "pixels, logistic regression"
# Training images move by up to this share of their side: where a digit stands does not change what it is.
LARGEST_SHIFT = 1 / 8


class ImageClassification(Classification[ImageClassifierConfig, bytes]):
    """Image classification by an `ImageClassifier`."""

    name: ClassVar[TaskName] = "image-classification"
    sample_suffix = ".png"

    @override
    def read(self, data: str, seed: int) -> Labelled[bytes]:
        return labelled_images(data, seed)

    @override
    def write_codec(
        self, config: ImageClassifierConfig, directory: Path, labelled: Labelled[bytes]
    ) -> tuple[CodecSpec, tuple[str, ...]]:
        # A box averages all the pixels that fall into one, so that a large picture of a digit looks like a scan of it.
        return ImageCodecSpec(
            pixels=PIXELS,
            height=config.image_size,
            width=config.image_size,
            mode="L" if config.channels == 1 else "RGB",
            mean=(0.5,),
            std=(0.5,),
            resample="box",
        ), ()

    @override
    def encode(self, codec: CodecSpec, directory: Path, contents: Sequence[bytes]) -> list[EncodedRow]:
        assert isinstance(codec, ImageCodecSpec)  # noqa: S101
        encoder = ImageCodec(codec)
        return [encoder.encode(content) for content in contents]

    @override
    def baseline(self, labelled: Labelled[bytes], splits: dict[str, Rows]) -> Baseline:
        flat = {
            name: ([row[PIXELS].flatten().tolist() for row in rows], [int(row[TARGET]) for row in rows])
            for name, rows in splits.items()
        }
        from models.data.baseline import fit_linear  # scikit-learn takes seconds to import

        model = fit_linear(flat["train"], flat["validation"])
        return Baseline(name=LINEAR_PIXELS, value=float(model.score(*flat["test"])))

    @override
    def build(self, config: ImageClassifierConfig) -> nn.Module:
        return ImageClassifier(config)

    @override
    def augment(self, row: Batch, rng: Random) -> Batch:
        pixels = row[PIXELS]
        reach = max(1, round(pixels.shape[-1] * LARGEST_SHIFT))
        down, right = (rng.randint(-reach, reach) for _ in range(2))
        # What moves in from outside repeats the edge: (C,h,w) -> (C,h+2r,w+2r) -> (C,h,w).
        padded = F.pad(pixels.unsqueeze(0), (reach, reach, reach, reach), mode="replicate").squeeze(0)
        height, width = pixels.shape[-2:]
        moved = padded[:, reach + down : reach + down + height, reach + right : reach + right + width]
        return {**row, PIXELS: moved}

    @override
    def collate(self, rows: Sequence[Batch]) -> Batch:
        return stack(rows)

    @override
    def signature(self, config: ImageClassifierConfig, codec: CodecSpec | None) -> Signature:
        rows, columns = config.attention_grid
        sides = (FixedAxis(size=config.image_size), FixedAxis(size=config.image_size))
        cells = FixedAxis(size=rows * columns)
        grid = CellAxis(rows=rows, columns=columns)
        weights = attention_output(0)
        return Signature(
            inputs=(
                InputSpec(
                    name=PIXELS, datatype=Datatype.FP32, axes=(RowAxis(), FixedAxis(size=config.channels), *sides)
                ),
            ),
            outputs=(
                OutputSpec(
                    name=LOGITS,
                    datatype=Datatype.FP32,
                    axes=(RowAxis(), FixedAxis(size=config.num_classes)),
                    role="logits",
                ),
                OutputSpec(
                    name=weights,
                    datatype=Datatype.FP32,
                    axes=(RowAxis(), FixedAxis(size=1), cells, cells),
                    role="attention",
                ),
            ),
            attention=(
                AttentionSpec(
                    name="cells", mechanism="2-D spatial self-attention", outputs=(weights,), query=grid, key=grid
                ),
            ),
        )
