"""A results file as a picture: every cell's ratio with its interval, and each pair as a dot."""

from pathlib import Path

import matplotlib as mpl

from benchmarks.report.results import Results

INCHES_A_CELL = 0.34
WIDTH_INCHES = 9.0


def plot(results: Results, path: Path) -> None:
    """Writes a PNG. Raises ValueError where no cell has a ratio."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cells = [cell for cell in results.cells if cell.ratio is not None]
    if not cells:
        raise ValueError("no cell of the file has a ratio to draw")
    figure, axes = plt.subplots(figsize=(WIDTH_INCHES, 1.2 + INCHES_A_CELL * len(cells)), layout="constrained")
    for row, cell in enumerate(cells):
        assert cell.ratio is not None
        pairs = [a / b for a, b in cell.figures(cell.figure)]
        axes.plot(pairs, [row] * len(pairs), ".", color="0.6", markersize=5)
        axes.plot([cell.ratio.low, cell.ratio.high], [row, row], color="tab:blue", linewidth=2)
        axes.plot(cell.ratio.value, row, "o", color="tab:blue" if cell.sound else "tab:red")
    axes.axvline(1.0, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(cells)), [f"{cell.id} ({cell.figure})" for cell in cells], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("a over b; line: 95% interval; dots: pairs")
    title = f"{results.suite}, {results.environment.date[:10]}, {results.environment.cores} cores"
    axes.set_title(f"{title}: a quick run, without meaning" if results.quick else title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
