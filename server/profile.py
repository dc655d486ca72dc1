"""What runs of each served model cost on this machine: a table and a plot of measured against fitted."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from server.batching.cost import Measurement
from server.batching.variant import Variant
from server.bootstrap import make_loader
from server.errors import ServeError
from server.loading.generation.loaded import LoadedGeneration
from server.loading.loaded import LoadedVersion
from server.loading.loader import batch_limits
from server.settings import Settings
from server.store.policy import parse_policy
from server.store.scan import Store, StoreUnavailable

LENGTHS = (8, 32, 128, 512)
"""Of the rows for which the size of batch is told that runs best."""


def split_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """(what `profile` takes for itself, the settings' flags)."""
    parser = argparse.ArgumentParser("python -m server profile", add_help=False)
    parser.add_argument("--model", action="append", default=[], help="measure this model alone; may be repeated")
    parser.add_argument("--plot", type=Path, help="draw measured against fitted into this PNG file")
    return parser.parse_known_args(arguments)


def profile(settings: Settings, models: Sequence[str], plot: Path | None) -> int:
    """Measures the versions that `serve` would serve and prints what it found; 0 if all of them could be measured."""
    try:
        snapshot = Store(settings.store.path).scan()
    except StoreUnavailable as error:
        print(f"store FAILED  {error}")
        return 1
    unknown = [name for name in models if name not in snapshot.models]
    for name in unknown:
        print(f"{name}  FAILED  the store has no such model")
    loader, sound = make_loader(settings), not unknown
    curves: list[tuple[str, Variant]] = []
    for name, folder in snapshot.models.items():
        if models and name not in models:
            continue
        policy = parse_policy(settings.store.version_policies.get(name, settings.store.version_policy))
        for version in sorted(policy.choose(set(folder.versions), folder.aliases)):
            try:
                loaded = loader.load(name, version)
            except ServeError as error:
                print(f"{name}/{version}  FAILED  {error.message}")
                sound = False
                continue
            if isinstance(loaded, LoadedGeneration):
                print(described_generation(loaded))
                sound &= loaded.calibrated
                loaded.close()
                continue
            print(described(loaded, settings))
            curves += [(f"{name}/{version} {variant.name}", variant) for variant in loaded.variants]
            sound &= loaded.calibrated
            loaded.close()
    if plot is not None and curves:
        if not draw(curves, plot):
            return 1
        print(f"drawn into {plot}")
    return 0 if sound else 1


def described_generation(loaded: LoadedGeneration) -> str:
    """What encoding, reading a prompt, and a decoding step cost, as text."""
    bundle = loaded.bundle
    lines = [f"{bundle.model}/{bundle.version}  {bundle.manifest.task}, written token by token"]
    if not loaded.together:
        lines.append(f"  rows run alone: {loaded.reason_alone}")
    for graphs in loaded.graphs:
        lines.append(f"  {graphs.precision}: {graphs.threads} threads a run")
        for name, cost in (("encode", graphs.encode_cost), ("read", graphs.read_cost), ("step", graphs.step_cost)):
            for one in cost.measurements:
                fitted = cost.seconds(one.work)
                lines.append(
                    f"    {name:<7} {one.work.rows:>4} rows {one.work.tokens:>6} tokens"
                    f"  measured {one.seconds * 1e3:9.3f} ms  fitted {fitted * 1e3:9.3f} ms"
                )
    return "\n".join(lines)


def described(loaded: LoadedVersion, settings: Settings) -> str:
    """All that is known of a version's costs, as text."""
    manifest = loaded.bundle.manifest
    lines = [f"{loaded.bundle.model}/{loaded.bundle.version}  {manifest.task}, {loaded.precision} on {loaded.provider}"]
    if not loaded.together:
        lines.append(f"  requests run alone: {loaded.reason_alone}")
    for precision, error in loaded.errors.items():
        lines.append(f"  {precision}: largest error {error.max_error:.3g}, least cosine {error.min_cosine:.6f}")
    for variant in loaded.variants:
        lines += _variant_lines(loaded, variant, settings)
    return "\n".join(lines)


def _variant_lines(loaded: LoadedVersion, variant: Variant, settings: Settings) -> list[str]:
    fitted = variant.cost.coefficients
    lines = [
        "",
        f"  {variant.name} ({variant.graph}): {variant.threads} threads a run",
        f"  {1e6 * fitted.fixed_s:.1f} µs a run, {1e6 * fitted.row_s:.2f} a row, {1e6 * fitted.token_s:.3f} a token, "
        f"{1e6 * fitted.pair_s:.6f} a pair",
    ]
    if not variant.cost.measurements:
        return [*lines, "  nothing was measured: these are rough figures"]
    heads = (
        ("rows", 8),
        ("tokens", 7),
        ("pairs", 9),
        ("measured ms", 12),
        ("fitted ms", 10),
        ("off", 5),
        ("tokens/s", 9),
    )
    lines.append(" ".join(f"{head:>{width}}" for head, width in heads))
    lines += [_line(variant, one) for one in variant.cost.measurements]
    limits = batch_limits(loaded.bundle.manifest, settings.batching)
    if loaded.together:
        best = ", ".join(f"{variant.appetite(length, limits)[1]} at length {length}" for length in LENGTHS)
        lines.append(f"  tokens of a batch that runs best: {best}")
    return lines


def _line(variant: Variant, one: Measurement) -> str:
    predicted = variant.cost.seconds(one.work)
    size = f"  {one.work.rows:>6} {one.work.tokens:>7} {one.work.pairs:>9}"
    times = f"{1e3 * one.seconds:>12.3f} {1e3 * predicted:>10.3f} {100 * (predicted / one.seconds - 1):>4.0f}%"
    return f"{size} {times} {one.work.tokens / one.seconds:>9.0f}"


def draw(curves: Sequence[tuple[str, Variant]], path: Path) -> bool:
    """Draws each variant's measurements and what its model predicts for them; False, and why, without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("a plot needs matplotlib: install the extra `profile`")
        return False
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    for label, variant in curves:
        points = variant.cost.measurements
        tokens = [one.work.tokens for one in points]
        dots = axes.plot(tokens, [1e3 * one.seconds for one in points], "o", markersize=4, label=label)
        predicted = [1e3 * variant.cost.seconds(one.work) for one in points]
        axes.plot(tokens, predicted, "x", color=dots[0].get_color(), markersize=7)
    axes.set(xscale="log", yscale="log", xlabel="tokens of a run, padding included", ylabel="ms")
    axes.set_title("What a run costs: measured (dots) and fitted (crosses)")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    return True
