"""How a caller wants tokens chosen: greedy, sampled, or by beams; checked before any work."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from server.errors import ParameterInvalid

MAX_BEAMS = 16
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256
MAX_TOP_LOGPROBS = 20
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """One request's choices. Everything that is left at its default does nothing."""

    max_tokens: int
    """The most new tokens; the token that ends the text counts."""
    min_tokens: int = 0
    """Before so many new tokens, no token that ends the text is chosen, and no stop string ends it."""
    stop: tuple[str, ...] = ()
    """Strings that end the text where they first occur; they are not part of it."""
    temperature: float = 0.0
    """Logits are divided by this before a token is drawn; 0 takes the likeliest token (greedy)."""
    top_k: int = 0
    """Draw from the so many likeliest tokens; 0: from all."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have at least this probability (Holtzman et al. 2020)."""
    min_p: float = 0.0
    """Draw from tokens at least this many times as likely as the likeliest (Nguyen et al. 2024)."""
    repetition_penalty: float = 1.0
    """Logits of tokens already written are divided by this where positive, multiplied where negative (Keskar et al.
    2019, 4.1); also without sampling."""
    seed: int = 0
    """Of this request's own random numbers: the same request with the same seed draws the same, in any company."""
    num_beams: int = 1
    """Hypotheses that are followed at once; 1: none but the one."""
    length_penalty: float = 1.0
    """A hypothesis's score is its log probability over its length to this power; above 1 favours long ones."""
    num_sequences: int = 1
    """The best so many hypotheses are returned, best first; at most `num_beams`."""
    logprobs: bool = False
    """Return the log probability of each token, by the model's own distribution before temperature and filters."""
    top_logprobs: int = 0
    """And of the so many likeliest tokens at each step; needs `logprobs`."""

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn."""
        return self.temperature > 0.0

    @property
    def rows(self) -> int:
        """Slots that the request takes."""
        return self.num_beams

    def check(self) -> None:
        """Raises ParameterInvalid, naming the parameter, for what is out of range or contradicts another."""
        for parameter, message in self._problems():
            raise ParameterInvalid(message, {"parameter": parameter})

    def _problems(self) -> Iterator[tuple[str, str]]:
        yield from self._out_of_range()
        if self.min_tokens > self.max_tokens:
            yield "min_tokens", f"min_tokens is {self.min_tokens}, more than max_tokens, which is {self.max_tokens}"
        if not self.samples:
            for name, plain in (("top_k", 0), ("top_p", 1.0), ("min_p", 0.0)):
                if getattr(self, name) != plain:
                    yield name, f"{name} says how tokens are drawn; with temperature 0 none is: set a temperature"
        if self.num_beams > 1 and self.samples:
            yield "num_beams", "beam search and sampling exclude each other: set temperature to 0, or num_beams to 1"
        if self.num_beams > 1 and self.stop:
            yield "stop", "stop strings end one text; with beams several are followed at once"
        if self.num_sequences > self.num_beams:
            yield "num_sequences", f"num_sequences is {self.num_sequences}; num_beams allows {self.num_beams}"
        if self.length_penalty != 1.0 and self.num_beams == 1:
            yield "length_penalty", "length_penalty compares hypotheses; with num_beams 1 there is only one"
        if self.top_logprobs and not self.logprobs:
            yield "top_logprobs", "top_logprobs needs logprobs"

    def _out_of_range(self) -> Iterator[tuple[str, str]]:
        for name, least, most in (
            ("max_tokens", 1, math.inf),
            ("min_tokens", 0, math.inf),
            ("temperature", 0.0, 100.0),
            ("top_k", 0, math.inf),
            ("top_p", 0.0, 1.0),
            ("min_p", 0.0, 1.0),
            ("repetition_penalty", 0.01, 100.0),
            ("seed", 0, MAX_SEED),
            ("num_beams", 1, MAX_BEAMS),
            ("length_penalty", -10.0, 10.0),
            ("num_sequences", 1, MAX_BEAMS),
            ("top_logprobs", 0, MAX_TOP_LOGPROBS),
        ):
            value = getattr(self, name)
            if not least <= value <= most:  # so that NaN is refused
                bound = f"at least {least}" if most == math.inf else f"{least} to {most}"
                yield name, f"{name} is {value}; expected {bound}"
        if self.top_p == 0.0:
            yield "top_p", "top_p is 0; expected more than 0, at most 1"
        if len(self.stop) > MAX_STOPS:
            yield "stop", f"{len(self.stop)} stop strings; at most {MAX_STOPS} are taken"
        if any(not 1 <= len(text) <= MAX_STOP_CHARACTERS for text in self.stop):
            yield "stop", f"a stop string must have 1 to {MAX_STOP_CHARACTERS} characters"
