"""Our server as a process, having text written: by the compiled client, whole and streamed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load.build import ClientUnbuildable, build_client
from benchmarks.load.drive import Generator, LoadFailed
from benchmarks.load.schedule import Closed, Open, Phase
from benchmarks.load.verdict import TOLERANCES
from benchmarks.peers.catalogue import OURS, Arm
from benchmarks.peers.in_process_target import InProcessTarget
from benchmarks.peers.target import EmbeddingJob, ServerTarget
from benchmarks.peers.writers import CTRANSLATE2, FULL_SLOTS, WriterMaker
from benchmarks.peers.writing_requests import ISO_DATE, NEW_TOKENS, SOURCE_TOKENS, WRITERS, bundle_of, writing_list
from benchmarks.peers.writing_targets import WritingJob, WritingPlan
from benchmarks.shapes.dates import CONFIG, DATES
from benchmarks.shapes.marian import MARIAN
from benchmarks.suites.reference_texts import references
from server.manifest import MANIFEST_FILE
from server.store.bundle import open_bundle

BUILT = Path(__file__).parents[4] / ".cache" / "benchmarks"
COUNT, SEED = 12, 4


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def requests(cache):
    return writing_list(DATES, COUNT, SEED, cache)


@pytest.fixture(scope="module")
def expected(cache, requests):
    return references(bundle_of(DATES, cache), "fp32", requests, cache)


@pytest.fixture
def job(requests, expected):
    return WritingJob(requests=requests, references=expected, schedule=Closed(4), phase=Phase(0.05, 0.3))


@pytest.fixture(scope="module")
def maker(cache):
    try:
        return WriterMaker(Generator(build_client(BUILT)), cache)
    except ClientUnbuildable as error:
        pytest.skip(str(error))


def test_requests_to_the_recurrent_model_are_as_long_as_dates(requests):
    assert requests.wanted == (ISO_DATE,) * COUNT
    assert all(6 <= len(row) <= CONFIG.max_len for row in requests.rows)
    assert [text.split() for text in requests.texts] == [[f"w{token}" for token in row] for row in requests.rows]


def test_requests_to_the_transformer_are_spread_over_what_is_told():
    lengths, wanted = WRITERS[MARIAN].lengths(96, SEED)

    assert (min(lengths), max(lengths)) == SOURCE_TOKENS
    assert (min(wanted), max(wanted)) == NEW_TOKENS


def test_same_seed_asks_the_same(cache, requests):
    assert writing_list(DATES, COUNT, SEED, cache).digest() == requests.digest()
    assert writing_list(DATES, COUNT, SEED + 1, cache).digest() != requests.digest()


def test_recurrent_model_is_an_ordinary_verified_bundle(cache, requests):
    bundle = open_bundle(WRITERS[DATES].published(cache), DATES, 1, max_bytes=1024**3)

    assert bundle.verified
    assert {state.kind for state in bundle.manifest.states} == {"replace", "constant"}
    assert {graph.role for graph in bundle.manifest.graphs} == {"encode", "step"}


@pytest.mark.parametrize(("streamed", "setting"), [(False, "on"), (True, "static")])
def test_every_text_of_our_server_is_right(streamed, setting, maker, requests, job):
    server = maker.make(Arm(OURS, setting, DATES, streamed=streamed), requests)
    server.start()
    try:
        closed, opened = server.measure(job), server.measure(replace(job, schedule=Open(rate=40.0)))
        with pytest.raises(LoadFailed, match="asked for something else"):
            server.measure(replace(job, references=None))
    finally:
        server.stop()

    for run in (closed, opened):
        assert run.sound
        assert run.answered > 0
        assert run.compared.tokens == run.compared.texts * ISO_DATE
    assert (closed.first_tokens != "") == streamed
    assert np.isfinite(opened.figure("first_p99_ms")) == streamed


@pytest.mark.parametrize("target", [CTRANSLATE2, FULL_SLOTS])
def test_what_runs_without_a_server_is_a_plan(target, cache, requests):
    assert isinstance(WriterMaker(None, cache).make(Arm(target, "1x32", DATES), requests), WritingPlan)


def test_models_that_write_nothing_are_left_to_the_catalogue(cache, requests):
    maker = WriterMaker(None, cache)

    assert isinstance(maker.make(Arm(OURS, "on", "tiny-shape"), requests), ServerTarget)
    assert isinstance(maker.make(Arm("in-process", "batch-1", "tiny-shape"), requests), InProcessTarget)


def test_what_gives_embeddings_writes_no_text(cache, requests, job):
    server = WriterMaker(None, cache).make(Arm(OURS, "on", "tiny-shape"), requests)

    with pytest.raises(LoadFailed, match="asked for something else"):
        server.judge(job, None, 0.0)


def test_what_writes_text_gives_no_embeddings(cache, requests):
    plan = WriterMaker(None, cache).make(Arm(FULL_SLOTS, "1x32", DATES), requests)
    job = EmbeddingJob(
        requests=requests, reference=(), tolerance=TOLERANCES["fp32"], schedule=Closed(1), phase=Phase(0.0, 0.1)
    )

    with pytest.raises(LoadFailed, match="asked for something else"):
        plan.judge(job, bundle_of(DATES, cache) / MANIFEST_FILE, 0.0)
