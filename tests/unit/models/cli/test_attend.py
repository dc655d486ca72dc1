from typer.testing import CliRunner

from models.cli import app
from models.cli import attend as command
from models.registry import MODELS
from server.store.aliases import read_aliases


def test_every_mechanism_is_published_and_attend_last(tmp_path, monkeypatch):
    family = {name: MODELS[name] for name in ("digits", "attend", "attend-bilinear")}
    monkeypatch.setattr(command, "MODELS", family)
    store = tmp_path / "store"
    arguments = ["attend", "--runs", str(tmp_path / "runs"), "--store", str(store), "--alias", "stable"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    published = [line for line in result.output.splitlines() if line.startswith("published")]
    assert [line.split(": ")[0] for line in published] == [
        "published attend-bilinear version 1",
        "published attend version 1",
    ]
    assert sorted(path.name for path in store.iterdir()) == ["attend", "attend-bilinear"]
    assert read_aliases(store / "attend")["stable"].version == 1
