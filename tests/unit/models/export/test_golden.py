import numpy as np

from models.export.cases import sample_rows
from models.export.golden import GOLDEN_ROWS, read_golden, write_golden
from models.export.graph import GRAPH_FILE
from server.manifest import GOLDEN_FILE
from server.runtime.session import Session


def test_golden_rows_replay_to_their_outputs(trained, candidate):
    session = Session.open(candidate / GRAPH_FILE)
    rows = list(read_golden(candidate / GOLDEN_FILE))
    assert len(rows) == GOLDEN_ROWS
    for inputs, outputs in rows:
        assert outputs.keys() == {spec.name for spec in trained.signature.outputs}
        for name, array in session.run(inputs).items():
            np.testing.assert_allclose(array, outputs[name], atol=1e-6)


def test_golden_rows_are_the_smallest_samples(trained, candidate, tmp_path):
    samples = sample_rows(trained, candidate)
    session = Session.open(candidate / GRAPH_FILE)
    assert write_golden(tmp_path, session, samples) == GOLDEN_FILE
    sizes = sorted(sum(array.size for array in row.values()) for row in samples)[:GOLDEN_ROWS]
    written = [sum(array.size for array in inputs.values()) for inputs, _ in read_golden(tmp_path / GOLDEN_FILE)]
    assert written == sizes


def test_file_needs_no_pickle_and_names_rows_and_tensors(candidate):
    with np.load(candidate / GOLDEN_FILE, allow_pickle=False) as archive:
        assert "output.0.logits" in archive.files
        assert all(name.split(".")[0] in ("input", "output") for name in archive.files)
        assert all(archive[name].shape[0] == 1 for name in archive.files)
