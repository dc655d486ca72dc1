"""Networks that write token by token with random weights from a seed, as checkpoints that the export reads.

Their text is words of one token each: `w17 w523` are the tokens 17 and 523. The first three tokens are padding, start
and end.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor, nn
from typing_extensions import override

from models.checkpoint import SAMPLES_DIR, Record
from models.export.candidate import export_candidate
from models.export.publish import publish
from models.export.quantise_candidate import quantise_candidate
from models.export.trained import Trained
from models.export.verify import verify_candidate
from models.networks import Step, Stepwise
from models.networks.stepwise import INPUT_IDS, MASK
from models.tasks.task import Exportable, Signature, stepwise_signature
from server.manifest import CHECKPOINT_FILE, CodecSpec, TextCodecSpec
from server.manifest import Task as TaskName

TOKENIZER_FILE = "tokenizer.json"
SPECIAL = ("[PAD]", "[START]", "[END]")


class Untaught(Exportable[Any]):
    """A network that writes and that nobody trained; `build` makes it from its configuration."""

    def __init__(self, name: TaskName, build: Callable[[Any], Stepwise]) -> None:
        self.name = name  # type: ignore[misc]
        self._build = build

    @property
    @override
    def source(self) -> str:
        return "none: the weights are random numbers"

    @override
    def build(self, config: Any) -> nn.Module:
        return self._build(config)

    @override
    def signature(self, config: Any, codec: CodecSpec | None) -> Signature:
        with torch.device("meta"):
            return stepwise_signature(self._build(config))

    @override
    def flatten(self, output: object) -> tuple[Tensor, ...]:
        if not isinstance(output, Step):
            raise TypeError(f"expected a step, not {type(output).__name__}")
        return (output.logits, *output.attention)


@dataclass(frozen=True)
class Writer:
    """A network to publish: its task, its class, and its configuration, whose vocabularies are of one size."""

    name: str
    task: TaskName
    build: Callable[[Any], Stepwise]
    config: Any
    samples: Sequence[str]
    """Texts that it reads, of words that are in the vocabulary."""
    max_length: int
    """The most tokens that the codec takes."""


def publish_writer(writer: Writer, scratch: Path, store: Path, *, seed: int = 0, int8: bool = False) -> Trained:
    """Exports, verifies and publishes the network with random weights from the seed into a store; returns it.

    `scratch` is an empty folder for what comes before. Raises what these steps raise.
    """
    trained = untaught(writer, scratch / "checkpoint", seed)
    bundle = scratch / "bundle"
    export_candidate(trained, bundle)
    if int8:
        # Random weights have no quality that could drop; the error to fp32 is measured and recorded.
        quantise_candidate(trained, bundle, without_quality=True)
    verify_candidate(trained, bundle)
    publish(bundle, store)
    return trained


def untaught(writer: Writer, directory: Path, seed: int = 0) -> Trained:
    """A checkpoint folder with random weights, as the export reads it."""
    (directory / SAMPLES_DIR).mkdir(parents=True)
    for number, text in enumerate(writer.samples):
        (directory / SAMPLES_DIR / f"{number}.txt").write_text(text, encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = writer.build(writer.config).eval()
    save_model(network, str(directory / CHECKPOINT_FILE))
    write_words(network.generation.vocab_size, directory / TOKENIZER_FILE)
    codec = TextCodecSpec(
        tokenizer=TOKENIZER_FILE,
        max_length=writer.max_length,
        input_ids=INPUT_IDS,
        mask=MASK if network.encodes else None,
    )
    task = cast("Exportable[object]", Untaught(writer.task, writer.build))
    record = Record(
        model=writer.name,
        task=writer.task,
        config=asdict(writer.config),
        codec=codec.model_dump(),
        files=(TOKENIZER_FILE,),
        labels=None,
        seed=seed,
        data=None,  # Nothing was learned, so there is no quality to have been earned.
        quality=None,
        versions={},
        git_revision=None,
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
    return Trained(directory, record, task, writer.config, network, codec, task.signature(writer.config, codec))


def write_words(vocabulary: int, path: Path) -> None:
    """A tokenizer of so many tokens: padding, start, end, and words `w3`, `w4`, … divided by white space."""
    words = {token: index for index, token in enumerate(SPECIAL)}
    words |= {f"w{index}": index for index in range(len(SPECIAL), vocabulary)}
    tokenizer = Tokenizer(WordLevel(words))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(path), pretty=False)
