import json

from benchmarks.peers.encoder import bf16_on_openvino


def test_only_stream_of_a_session_is_not_pinned_since_other_processes_would_pin_theirs_to_the_same_core():
    assert json.loads(bf16_on_openvino(1))["CPU"]["ENABLE_CPU_PINNING"] == "NO"


def test_streams_of_one_session_take_a_thread_each():
    plan = json.loads(bf16_on_openvino(2))["CPU"]

    assert plan == {"INFERENCE_PRECISION_HINT": "bf16", "NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": "2"}
