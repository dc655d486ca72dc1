import pytest

from models.cli.quantised_table import show_quantised
from server.manifest import GraphSpec, QualityDrop, QuantisationReport


def graph(quality=None, layout="rows"):
    report = QuantisationReport(
        source="model.onnx",
        source_bytes=4096,
        bytes=1024,
        max_error=0.002,
        min_cosine=0.999,
        batched_equals_alone_max_error=0.003,
        quality=quality,
    )
    return GraphSpec(file="int8.onnx", layout=layout, precision="int8", opset=20, quantisation=report)


def drop(value):
    return QualityDrop(metric="accuracy", source_value=0.95, value=value, largest_drop=0.01, examples=1200)


@pytest.mark.parametrize(("value", "lost"), [(0.945, "0.0050"), (0.96, "-0.0100"), (0.5, "0.4500")])
def test_table_sets_the_graph_in_int8_below_its_source(value, lost, capsys):
    show_quantised([GraphSpec(file="model.onnx", opset=20), graph(drop(value))])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["padded", "rows", "fp32", "4", "0.9500"] in lines
    assert ["int8", "1", "3.00e-03", "0.9990", f"{value:.4f}", lost] in lines
    assert lines[-1][:5] == ["quality:", "accuracy", "on", "1,200", "held-out"]


def test_quality_that_was_left_unmeasured_is_none(capsys):
    show_quantised([graph(layout="block-diagonal")])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["block-diagonal", "fp32", "4", "none"] in lines
    assert not any(line[:1] == ["quality:"] for line in lines)


def test_bundle_without_int8_graphs_shows_nothing(capsys):
    show_quantised([GraphSpec(file="model.onnx", opset=20)])
    assert capsys.readouterr().out == ""
