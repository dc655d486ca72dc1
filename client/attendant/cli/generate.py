"""`attendant generate`: texts from arguments, files or standard input, what is written for each as it comes."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from attendant.attention import AttentionMap
from attendant.cli.connection import ADDRESS, Address, Json, Timeout, Tls, connected, wrong_use
from attendant.cli.rendering import call_json, headline, printable, title
from attendant.client import Client
from attendant.generate import Decoding, GeneratedSequence, GenerateResult, Generation, GenerationTiming
from attendant.generate_stream import Increment

_TIMEOUT_S = 60.0


def generate(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="A text; the path of a file; - for stdin.")],
    version: Annotated[int | None, typer.Option("--version", min=1, help="Version of the model.")] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="Alias of a version, such as stable or canary.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print each text as it comes.")] = False,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=0, help="Most new tokens; 0: the model's own.")] = 0,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="End the text here; may be given again.")] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Above 0 tokens are drawn.")] = 0.0,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Draw from so many tokens; 0: from all.")] = 0,
    top_p: Annotated[float, typer.Option("--top-p", min=0, max=1, help="Draw from so much probability.")] = 0.0,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Where the random numbers begin.")] = None,
    beams: Annotated[int, typer.Option("--beams", min=0, help="Hypotheses to follow at once.")] = 0,
    sequences: Annotated[int, typer.Option("--sequences", min=0, help="Hypotheses to return, best first.")] = 0,
    prefix: Annotated[str, typer.Option("--prefix", help="A beginning that is forced on what is written.")] = "",
    truncation: Annotated[
        str, typer.Option("--truncation", help="For a text that is too long: refuse, cut_end or cut_start.")
    ] = "refuse",
    attention: Annotated[
        Path | None,
        typer.Option("--attention", metavar="OUT.PNG", help="Draw what each written token looked at."),
    ] = None,
    address: Address = ADDRESS,
    timeout_s: Timeout = _TIMEOUT_S,
    tls: Tls = False,
    json_output: Json = False,
) -> None:
    """Writes a text for each input, token by token.

    An argument that names a file is read from it.
    """
    decoding: Decoding = {
        "max_tokens": max_tokens,
        "stop": stop or (),
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "num_beams": beams,
        "num_sequences": sequences,
    }
    if seed is not None:
        decoding["seed"] = seed
    named: dict[str, Any] = {"version": version, "alias": alias, "prefix": prefix, "truncation": truncation}
    with connected(address, timeout_s, tls, json_output) as client:
        contents = [_content(each) for each in texts]
        if stream:
            maps = [
                _stream(client, model, each, attention is not None, json_output, **named, **decoding)
                for each in contents
            ]
        else:
            result = client.generate(model, contents, attention=attention is not None, **named, **decoding)
            _show(result, texts, json_output)
            maps = [each.best.attention for each in result]
    if attention is not None:
        _draw(attention, maps)


def _content(named: str) -> str:
    if named == "-":
        return sys.stdin.buffer.read().decode()
    try:
        return Path(named).read_text(encoding="utf-8") if Path(named).is_file() else named
    except UnicodeDecodeError:
        wrong_use(f"{named} is no text in UTF-8")
    except OSError:  # a long text is no file name
        return named


def _stream(
    client: Client, model: str, content: str, attention: bool, json_output: bool, **arguments: Any
) -> Sequence[AttentionMap]:
    """Prints one text as it comes; returns its attention."""
    maps: Sequence[AttentionMap] = ()
    for increment in client.generate_stream(
        model, content, attention=attention, whole_attention=attention, **arguments
    ):
        if json_output:
            typer.echo(json.dumps(_plain_increment(increment), ensure_ascii=False))
        else:
            typer.echo(_lines(increment.text), nl=False)
        sys.stdout.flush()
        if increment.end is not None:
            maps = increment.end.attention
    if not json_output:
        typer.echo()
    return maps


def _lines(text: str) -> str:
    """The text with its line breaks, and nothing else that could move the cursor."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _show(result: GenerateResult, names: Sequence[str], json_output: bool) -> None:
    if json_output:
        answer = call_json(result.model, result.timing, result.request_id)
        answer["results"] = [_plain(each, name) for each, name in zip(result, names, strict=True)]
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    console = Console()
    console.print(headline(result.model, result.timing))
    for each, name in zip(result, names, strict=True):
        console.print(Text(f"\n{title(name)}", style="bold"))
        for sequence in each.sequences:
            console.print(Text(_lines(sequence.text)))
            told = f"{len(sequence.tokens)} tokens, {sequence.finish_reason}, score {sequence.score:.3f}"
            console.print(Text(f"{told}, seed {each.seed}" if each.seed else told, style="dim"))
        if each.truncation is not None and each.truncation.truncated:
            kept, whole = each.truncation.kept_length, each.truncation.original_length
            console.print(Text(f"read {kept} of {whole} tokens", style="yellow"))


def _plain(generation: Generation, name: str) -> dict[str, Any]:
    return {
        "input": name,
        "sequences": [_plain_sequence(each) for each in generation.sequences],
        "prompt_tokens": generation.prompt_tokens,
        "seed": generation.seed,
        "truncated": generation.truncation is not None and generation.truncation.truncated,
        "timing": _plain_timing(generation.timing),
    }


def _plain_sequence(sequence: GeneratedSequence) -> dict[str, Any]:
    return {
        "text": sequence.text,
        "ids": list(sequence.ids),
        "score": sequence.score,
        "finish_reason": sequence.finish_reason,
        "attention": [{"name": each.name, "weights": each.dense().tolist()} for each in sequence.attention],
    }


def _plain_increment(increment: Increment) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "text": increment.text,
        "ids": [token.id for token in increment.tokens],
        "at_s": increment.at_s,
    }
    if increment.start is not None:
        model = increment.start.model
        plain["model"] = {"name": model.name, "version": model.version, "alias": model.alias}
        plain |= {"request_id": increment.start.request_id, "seed": increment.start.seed}
    if increment.end is not None:
        plain |= {"finish_reason": increment.end.finish_reason, "score": increment.end.score}
        plain["timing"] = _plain_timing(increment.end.timing)
    return plain


def _plain_timing(timing: GenerationTiming) -> dict[str, Any]:
    return {
        "queue_s": timing.queue_s,
        "first_token_s": timing.first_token_s,
        "compute_s": timing.compute_s,
        "steps": timing.steps,
        "batch_rows": timing.batch_rows,
    }


def _draw(target: Path, maps: Sequence[Sequence[AttentionMap]]) -> None:
    """Writes a PNG per text, of its first map: to `target`, or to numbered siblings of it where there are several."""
    from attendant.heatmap import alignment  # Pillow is slow to import and rarely needed

    for number, found in enumerate(maps, start=1):
        if not found:
            wrong_use("there is no attention to draw: nothing was written")
        path = target if len(maps) == 1 else target.with_stem(f"{target.stem}-{number}")
        path.write_bytes(alignment(found[0]))
