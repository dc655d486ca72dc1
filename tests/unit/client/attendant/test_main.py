import sys

import pytest
from attendant.__main__ import main


def test_command_without_its_extra_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "attendant.cli", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "attendant-client[cli]" in capsys.readouterr().err
