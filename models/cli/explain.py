"""`python -m models explain`: why a published version answered as it did, as pictures and as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.cli import app
from models.cli.run_folder import DEFAULT_STORE, ModelArgument, StoreOption, check_alias, one_line_errors
from server.codecs import Truncation

if TYPE_CHECKING:
    from models.explain.explanation import Explanation, Mechanism


@app.command()
def explain(
    model: ModelArgument,
    given: Annotated[
        str,
        typer.Option(
            "--input",
            help="A text, or the name of a text file; for an image model the name of an image file; for a model that "
            "takes tensors that of an .npz file.",
            show_default=False,
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    version: Annotated[int | None, typer.Option(min=1, show_default="the highest")] = None,
    alias: Annotated[
        str | None, typer.Option(help="In place of a version, such as stable.", callback=check_alias)
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The label to explain, by name or index.", show_default="the most probable")
    ] = None,
    layer: Annotated[
        list[int] | None, typer.Option(help="A layer to show; may be repeated.", show_default="all")
    ] = None,
    head: Annotated[list[int] | None, typer.Option(help="A head to show; may be repeated.", show_default="all")] = None,
    truncation: Annotated[
        Truncation, typer.Option(help="Which end of a text that is too long to cut off.")
    ] = Truncation.REFUSE,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write to.", show_default="runs/<model>/explain")
    ] = None,
) -> None:
    """Draws attention, rollout, gradients and what each head is worth, for any published model and input."""
    if version is not None and alias is not None:
        raise typer.BadParameter("give either a version or an alias")
    with one_line_errors():
        # matplotlib takes a second to import: not for `--help`
        from models.explain.content import read_content
        from models.explain.inquiry import Inquiry
        from models.explain.inquiry import explain as explained
        from models.explain.version import opened_version
        from models.explain.write import write

        with opened_version(store, model, version, alias) as opened:
            content = read_content(given, opened.codec, truncation)
            explanation = explained(opened, content, Inquiry(label, tuple(layer or ()), tuple(head or ())))
        written = write(explanation, Path("runs") / model / "explain" if out is None else out)
    for line in findings(explanation):
        typer.echo(line)
    for path in written:
        typer.echo(f"wrote {path}")


def findings(explanation: "Explanation") -> list[str]:
    """What a person wants to know first, a line each."""
    from models.explain.explanation import Missing

    lines = [f"{explanation.model} version {explanation.version}"]
    if explanation.label_name is not None:
        lines[0] += f": {explanation.label_name} ({explanation.probability:.1%})"
    for mechanism in explanation.mechanisms:
        lines += _of_mechanism(mechanism, explanation)
    if not isinstance(explanation.parity, Missing):
        lines.append(explanation.parity.sentence)
    return [*lines, *explanation.notes, *explanation.missing()]


def _of_mechanism(mechanism: "Mechanism", explanation: "Explanation") -> list[str]:
    from models.explain.explanation import Gradient, Missing, key_weights, position_name

    lines = []
    strongest = mechanism.strongest()
    if strongest is not None:
        lines.append(
            f"{mechanism.name}: strongest head is layer {strongest.layer}, head {strongest.head}: without it "
            f"{strongest.probability:.1%} ({100 * strongest.change:+.1f} points)"
        )
    layer, head, focus = mechanism.sharpest()
    lines.append(
        f"{mechanism.name}: sharpest head is layer {layer}, head {head}: largest weight {focus:.2f} on average"
    )
    found = {"rollout": mechanism.rollout}
    if isinstance(mechanism.gradient, Gradient) and mechanism.gradient.combined is not None:
        found[f"weights × gradient for {explanation.label_name}"] = mechanism.gradient.combined
    for what, weights in found.items():
        if not isinstance(weights, Missing):
            means = key_weights(weights)
            top = "; ".join(position_name(mechanism.key, int(index)) for index in (-means).argsort(kind="stable")[:3])
            lines.append(f"{mechanism.name}: most by {what}: {top}")
    return lines
