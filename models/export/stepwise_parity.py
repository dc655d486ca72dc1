"""A model that writes, against PyTorch: each graph by itself, and whole texts token by token.

source -> encode graph -------┐                    tokens, one by one and in chunks -> step graph ---┐
       -> network.start ------┴> difference        the same tokens, all at once -> network.forward --┴> difference
states -> one run of the step graph, network.step -> difference         beside others, alone -> difference
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from models.export.parity import Difference
from models.export.quantise_compare import Answer
from models.export.rows import Row, crop_row, pad_rows, row_lengths
from models.export.stepwise import encode_outputs
from models.export.stepwise_cases import Case
from models.export.trained import Trained
from models.export.walk import StepSeen, Walker, own_keys
from models.networks.stepwise import INPUT_IDS, TOKENS, Stepwise
from server.manifest import OutputParity, ParityReport
from server.runtime.session import Session
from server.tensors import Array


@dataclass
class Seen:
    """What has been measured so far, by output."""

    to_network: dict[str, Difference] = field(default_factory=dict)
    to_alone: Difference = field(default_factory=Difference)
    batch_sizes: set[int] = field(default_factory=set)
    lengths: set[int] = field(default_factory=set)

    def add(self, name: str, ours: Array, theirs: Array) -> None:
        """Compares what a graph gave under this name with what PyTorch gave."""
        self.to_network.setdefault(name, Difference()).add(ours, theirs)

    def parities(self) -> tuple[OutputParity, ...]:
        """Each output's differences, in the order in which they were first seen."""
        return tuple(
            OutputParity(output=name, max_error=difference.largest, mean_error=difference.mean)
            for name, difference in self.to_network.items()
        )

    def report(self, tolerance: float) -> ParityReport:
        """All of it; the judgement is left to the caller."""
        return ParityReport(
            tolerance=tolerance,
            outputs=self.parities(),
            batched_equals_alone_max_error=self.to_alone.largest,
            batch_sizes=tuple(sorted(self.batch_sizes)),
            lengths=tuple(sorted(self.lengths)),
        )


def stepwise_network(trained: Trained) -> Stepwise:
    """The network. Raises TypeError if it does not write token by token."""
    if not isinstance(trained.network, Stepwise):
        raise TypeError(f"{trained.record.model} does not write token by token")
    return trained.network


@torch.inference_mode()
def network_answer(trained: Trained, row: Row, *, maps: bool) -> Answer:
    """What the network answers to a text when all its tokens are given at once: logits (1,T,V), weights (1,H,T,K)."""
    network, signature = stepwise_network(trained), trained.signature
    tokens = torch.from_numpy(row[TOKENS])
    sources = [torch.from_numpy(row[spec.name]) for spec in signature.inputs] if network.encodes else []
    answer = {network.generation.logits: network(*sources, tokens).numpy()}
    if maps:
        started = network.start(*sources) if sources else ()
        states = network.first_states(started, 1, tokens.shape[1])
        lengths = torch.zeros(1, dtype=torch.int32) if network.takes_lengths else None
        step = network.step(tokens, lengths, *states)
        names = [spec.name for spec in signature.outputs if spec.role == "attention"]
        answer |= {name: weights.numpy() for name, weights in zip(names, step.attention, strict=True)}
    return answer


@torch.inference_mode()
def measure_encode(trained: Trained, session: Session, cases: Iterable[Sequence[Row]], seen: Seen) -> None:
    """Holds the encode graph's answers to padded batches of sources against the network's."""
    network, inputs = stepwise_network(trained), trained.signature.inputs
    outputs = encode_outputs(trained.signature.states)
    for rows in cases:
        sources = [{spec.name: row[spec.name] for spec in inputs} for row in rows]
        batch = pad_rows(sources, inputs)
        started = network.start(*(torch.from_numpy(batch[spec.name]) for spec in inputs))
        expected = {spec.name: tensor.numpy() for spec, tensor in zip(outputs, started, strict=True)}
        answered = session.run(batch)
        for index, source in enumerate(sources):
            lengths = row_lengths(source, inputs)
            ours, theirs = (crop_row(arrays, index, outputs, lengths) for arrays in (answered, expected))
            for name, array in ours.items():
                seen.add(name, array, theirs[name])


def measure_walks(trained: Trained, walker: Walker, cases: Iterable[Case], seen: Seen, *, steps: bool) -> None:
    """Writes every case through the graphs and holds it against the network, and each row against the same row alone.

    `steps`: also holds each run of the step graph against the network's own step from the same states.
    """
    for rows, held in cases:
        watch = (lambda run, rows=rows: _compare_step(trained, walker, run, seen)) if steps else None
        answers = walker.walk(rows, held, watch)
        seen.batch_sizes.add(len(rows))
        for row, count, answer in zip(rows, held, answers, strict=True):
            seen.lengths.add(_length(walker, row))
            _compare(answer, network_answer(trained, row, maps=bool(walker.attention)), count, walker, seen)
            if len(rows) > 1:
                alone = walker.walk([row])[0]
                for name, array in answer.items():
                    seen.to_alone.add(array, alone[name][:, _known(name, walker, count) :])


def _compare(answer: Answer, expected: Answer, held: int, walker: Walker, seen: Seen) -> None:
    for name, array in answer.items():
        seen.add(name, array, expected[name][:, _known(name, walker, held) :])


def _known(name: str, walker: Walker, held: int) -> int:
    """From which token on a row has logits; it has weights of all, whose second axis counts heads."""
    return max(held - 1, 0) if name == walker.generation.logits else 0


@torch.inference_mode()
def _compare_step(trained: Trained, walker: Walker, run: StepSeen, seen: Seen) -> None:
    """One run against `network.step`, from the states that the run began with."""
    network, signature = stepwise_network(trained), walker.signature
    lengths = torch.from_numpy(run.lengths) if network.takes_lengths else None
    states = [torch.from_numpy(run.before[state.name]) for state in signature.states]
    step = network.step(torch.from_numpy(run.tokens), lengths, *states, maps=bool(walker.attention))
    seen.add(walker.generation.logits, run.outputs[walker.generation.logits], step.logits.numpy())
    changed = [state for state in signature.states if state.output is not None]
    for state, expected in zip(changed, step.states, strict=True):
        assert state.output is not None  # noqa: S101 - chosen above
        for row, held in enumerate(run.lengths + run.tokens.shape[1]):
            grown = [slice(held) if axis == state.growing_axis else slice(None) for axis in range(1, len(state.axes))]
            kept = (slice(row, row + 1), *grown)
            seen.add(state.output, run.after[state.name][kept], expected.numpy()[kept])
    for spec, weights in zip(walker.attention, step.attention, strict=True):
        for row, held in enumerate(run.lengths + run.tokens.shape[1]):
            keys = own_keys(spec, run.sources[row], held)
            seen.add(spec.name, run.outputs[spec.name][row, ..., :keys], weights.numpy()[row, ..., :keys])


def _length(walker: Walker, row: Row) -> int:
    """Of what a row reads; where there is no source, of what it writes."""
    return int(row[INPUT_IDS if walker.encode is not None else TOKENS].shape[1])


def largest_numbers(trained: Trained, texts: Sequence[Row]) -> tuple[float, float]:
    """The largest magnitude in what the network makes of the texts' sources, and in its logits."""
    network, signature = stepwise_network(trained), trained.signature
    started = 0.0
    logits = 0.0
    for row in texts:
        answer = network_answer(trained, row, maps=False)
        logits = max(logits, float(np.abs(answer[network.generation.logits]).max(initial=0.0)))
        if network.encodes:
            with torch.inference_mode():
                tensors = network.start(*(torch.from_numpy(row[spec.name]) for spec in signature.inputs))
            floats = [tensor for tensor in tensors if tensor.dtype.is_floating_point and tensor.numel()]
            started = max([started, *(float(tensor.abs().max()) for tensor in floats)])
    return started, logits
