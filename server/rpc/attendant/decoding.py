"""How tokens are chosen, from the wire: there 0 means that the caller has said nothing."""

from attendant.v1 import generate_pb2 as wire

from server.errors import ParameterInvalid
from server.generation.decoding import MAX_SEED, Decoding
from server.rpc.generation import Wish


def read_decoding(request: wire.Decoding) -> Wish:
    """What was chosen.

    Raises ParameterInvalid for a seed that is too large; the rest is for `Decoding.check`.
    """
    if request.seed > MAX_SEED:
        raise ParameterInvalid(f"seed is {request.seed}; expected 0 to {MAX_SEED}", {"parameter": "seed"})
    decoding = Decoding(
        max_tokens=request.max_tokens,
        min_tokens=request.min_tokens,
        stop=tuple(request.stop),
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p or 1.0,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty or 1.0,
        seed=request.seed,
        num_beams=request.num_beams or 1,
        length_penalty=request.length_penalty if request.HasField("length_penalty") else 1.0,
        num_sequences=request.num_sequences or 1,
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
    )
    return Wish(decoding, seeded=request.HasField("seed"))
