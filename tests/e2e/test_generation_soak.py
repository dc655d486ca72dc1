"""The soak, small: `make soak` asks for many times as many texts and watches the memory too."""

import asyncio

import pytest
import torch

from tests.soak.models import prepare
from tests.soak.run import SETTINGS, soak
from tests.support.catalogued import QUIET_EXPORT
from tests.support.server_process import process

TEXTS, RELOADS = 300, 6

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET_EXPORT]


def test_texts_of_all_kinds_of_callers_while_versions_come_and_go(tmp_path):
    torch.set_num_threads(1)
    models = prepare(tmp_path, 8, 0)
    with process(tmp_path, *SETTINGS) as server:
        found = asyncio.run(soak(server, models, TEXTS, reload_every=TEXTS // RELOADS, seed=3, say=lambda line: None))
        errors = [entry for entry in server.entries() if entry["level"] in ("error", "critical")]
    assert found.outcomes.wrong == []
    assert found.outcomes.count == TEXTS
    assert found.left_over == {}
    assert errors == []
    assert found.outcomes.tokens > TEXTS
