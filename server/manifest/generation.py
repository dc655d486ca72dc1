"""How a model writes token by token: the step graph's face beside its states, and the vocabulary's special tokens."""

from pydantic import Field, model_validator

from server.manifest.base import FileName, Frozen


class GenerationSpec(Frozen):
    """A step graph takes new tokens and states, and gives logits and states; an `encode` graph starts the states.

    With an `encode` graph, the manifest's inputs are that graph's: the source. Without one, the codec's ids are the
    beginning of what is written, and the step graph reads them. The manifest's outputs are the step graph's, less the
    states: the logits, and attention weights [row, head, new token, key].
    """

    tokens: str = Field(default="tokens", min_length=1)
    """The step graph's input: the new tokens of each row, int64 [row, new]."""
    logits: str = Field(default="logits", min_length=1)
    """The step graph's output: scores of what follows the last of the new tokens, float32 [row, vocabulary]."""
    vocab_size: int = Field(ge=1)
    max_new: int = Field(default=1, ge=1)
    """The most new tokens that one run takes of a row; more than one only where a row is alone in the run."""
    start: tuple[int, ...] = ()
    """What is written before anything else, such as BOS; may be empty only without an `encode` graph."""
    end: tuple[int, ...] = Field(min_length=1)
    """Tokens that end what is written; none of them is part of the text."""
    suppress: tuple[int, ...] = ()
    """Tokens that are never written, such as padding."""
    max_length: int = Field(ge=1)
    """The most positions of a row in the step graph: start, prompt or prefix, and new tokens."""
    max_tokens: int = Field(ge=1)
    """The most new tokens, where a caller says nothing."""
    tokenizer: FileName = "tokenizer.json"
    """What turns written tokens into text, and a forced prefix into tokens."""

    @model_validator(mode="after")
    def _within_vocabulary(self) -> "GenerationSpec":
        for name in ("start", "end", "suppress"):
            if any(not 0 <= token < self.vocab_size for token in getattr(self, name)):
                raise ValueError(f"{name} names a token outside the vocabulary of {self.vocab_size}")
        if len(self.start) >= self.max_length:
            raise ValueError("start leaves no room in max_length")
        if set(self.suppress) & set(self.end):
            raise ValueError("a token that ends the text must not be suppressed")
        return self
