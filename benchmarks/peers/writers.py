"""Every side of a pair that writes text, by its name; all others as in the catalogue."""

import sys
from collections.abc import Mapping
from pathlib import Path

from typing_extensions import override

from benchmarks.load.requests import RequestList
from benchmarks.peers.adapter import PeerUnavailable
from benchmarks.peers.catalogue import OURS, Arm, Maker
from benchmarks.peers.ctranslate2 import adapter as ctranslate2
from benchmarks.peers.generate_wire import Streamed, Unary
from benchmarks.peers.ours import PRECISIONS, ROOT, SETTINGS, our_python, our_server
from benchmarks.peers.target import Command, Target
from benchmarks.peers.writing_requests import WRITERS, bundle_of
from benchmarks.peers.writing_targets import WritingPlan, WritingServer
from server.manifest import CHECKPOINT_FILE, MANIFEST_FILE, parse_manifest

CTRANSLATE2, FULL_SLOTS = "ctranslate2", "full-slots"


class WriterMaker(Maker):
    """Makes targets for models that write too."""

    @override
    def make(self, arm: Arm, probe: RequestList) -> Target:
        if arm.shape not in WRITERS:
            return super().make(arm, probe)
        log = self.cache / "logs" / f"{arm.id.replace('/', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if arm.target == OURS:
            wire = Streamed(arm.shape) if arm.streamed else Unary(arm.shape)
            return WritingServer(lambda: self._writing_server(arm), wire, self.generator, probe, log)
        plans = {CTRANSLATE2: self._ctranslate2, FULL_SLOTS: self._full_slots}
        return WritingPlan(lambda scratch: plans[arm.target](arm, scratch), log)

    def _writing_server(self, arm: Arm) -> Command:
        flags = (*SETTINGS[arm.setting], *PRECISIONS[arm.precision])
        return our_server(WRITERS[arm.shape].published(self.cache), flags, our_python(arm.precision, self.cache))

    def _ctranslate2(self, arm: Arm, scratch: Path) -> Command:
        bundle = bundle_of(arm.shape, self.cache)
        model = ctranslate2.converted(bundle / CHECKPOINT_FILE, _config(bundle), self.cache)
        arguments = [str(ctranslate2.python(self.cache).absolute()), "-m", ctranslate2.MODULE, arm.setting]
        return Command(ctranslate2.TITLE, arguments, self._told(arm, model, scratch), port=0)

    def _full_slots(self, arm: Arm, scratch: Path) -> Command:
        variables = self._told(arm, bundle_of(arm.shape, self.cache), scratch)
        arguments = [sys.executable, "-m", "benchmarks.peers.full_slots", arm.setting]
        return Command("the plan of full slots", arguments, variables, port=0)

    @staticmethod
    def _told(arm: Arm, model: Path, scratch: Path) -> dict[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "BENCH_GRAPH": str(model.resolve()),
            "BENCH_PRECISION": arm.precision,
            "BENCH_SCRATCH": str(scratch.resolve()),
        }


def _config(bundle: Path) -> Mapping[str, object]:
    """The network's own, as its bundle tells it. Raises PeerUnavailable where it tells none."""
    provenance = parse_manifest((bundle / MANIFEST_FILE).read_bytes()).provenance
    if provenance is None:
        raise PeerUnavailable(f"the bundle of {bundle.parent.name} does not tell how its network is made")
    return provenance.config
