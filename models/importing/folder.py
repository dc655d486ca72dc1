"""The folder that an export left: three graphs, and what the library wrote about them in JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from models.importing.failure import ImportRefused

ENCODER_FILE = "encoder_model.onnx"
DECODER_FILE = "decoder_model.onnx"
WITH_PAST_FILE = "decoder_with_past_model.onnx"
MERGED_FILE = "decoder_model_merged.onnx"
CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
GRAPHS_FOLDER = "onnx"
"""Some repositories keep the graphs in a folder of this name."""
EXPORT_COMMAND = (
    "optimum-cli export onnx --model <model> --task text2text-generation-with-past --no-post-process <folder>"
)


@dataclass(frozen=True)
class Export:
    """An export of an encoder-decoder, as far as it was looked at: all files are there, the JSON is read."""

    directory: Path
    graphs: Path
    """Where the graphs lie; `directory`, or a folder in it."""
    config: Mapping[str, Any]
    """`config.json`: the network."""
    generation: Mapping[str, Any]
    """`generation_config.json`; where there is none, `config.json`, in which older versions kept the same."""

    @property
    def encoder(self) -> Path:
        """Source ids and mask -> hidden states."""
        return self.graphs / ENCODER_FILE

    @property
    def decoder(self) -> Path:
        """Hidden states and the first tokens -> logits, and keys and values of the tokens and of the source."""
        return self.graphs / DECODER_FILE

    @property
    def with_past(self) -> Path:
        """One token, and keys and values so far -> logits, and keys and values."""
        return self.graphs / WITH_PAST_FILE

    @property
    def model_type(self) -> str:
        """The library's name of the architecture, such as `marian`."""
        return str(self.config.get("model_type", "unknown"))


def read_export(directory: Path) -> Export:
    """Looks at an export's folder.

    Raises ImportRefused if it is no folder, a JSON file is missing or malformed, the model is no encoder-decoder, or
    one of the three graphs is missing; a merged decoder does not stand for the two that it was made of.
    """
    if not directory.is_dir():
        raise ImportRefused(f"{directory} is no folder")
    if not (directory / CONFIG_FILE).exists():
        raise ImportRefused(f"{directory} holds no {CONFIG_FILE}: it is no export of a Hugging Face model")
    config = read_json_object(directory / CONFIG_FILE)
    if config.get("is_encoder_decoder") is not True:
        raise ImportRefused(f"{CONFIG_FILE} does not say is_encoder_decoder: only encoder-decoders are imported")
    graphs = directory / GRAPHS_FOLDER if (directory / GRAPHS_FOLDER / ENCODER_FILE).exists() else directory
    _check_graphs(graphs)
    generation = directory / GENERATION_FILE
    return Export(directory, graphs, config, read_json_object(generation) if generation.exists() else config)


def known_words(export: Export, vocab_size: int) -> int:
    """The number of words that the encoder knows; `vocab_size`, those that the decoder writes, where it is not told."""
    size = export.config.get("vocab_size")
    return size if isinstance(size, int) and size > 0 else vocab_size


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object. Raises ImportRefused if it cannot be read or holds anything else."""
    try:
        document = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ImportRefused(f"{path.name} cannot be read as JSON") from error
    if not isinstance(document, dict):
        raise ImportRefused(f"{path.name} is not a JSON object")
    return document


def _check_graphs(graphs: Path) -> None:
    missing = [name for name in (ENCODER_FILE, DECODER_FILE, WITH_PAST_FILE) if not (graphs / name).exists()]
    if not missing:
        return
    if (graphs / MERGED_FILE).exists():
        raise ImportRefused(
            f"{graphs} holds {MERGED_FILE}, but not {' and '.join(missing)}: the step graph is made of a decoder that "
            f"was not merged; export with `{EXPORT_COMMAND}`"
        )
    raise ImportRefused(f"{graphs} lacks {', '.join(missing)}: export with `{EXPORT_COMMAND}`")
