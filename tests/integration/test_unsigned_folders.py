"""Folders that bring no manifest, served and called over the wire: what others' tools export works as it is."""

import json

import numpy as np
import tritonclient.grpc.aio as triton
from attendant import AsyncClient
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.support.artifacts import linear_graph, text_graph, write_folder
from tests.support.serving import serving

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film"]


def tokenizer() -> str:
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str()


async def test_a_hugging_face_export_classifies_text_as_its_graph_does(tmp_path):
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "id2label": {"0": "negative", "1": "positive"},
        "max_position_embeddings": 32,
    }
    files = {"model.onnx": text_graph("sequence", len(WORDS), 2), "tokenizer.json": tokenizer()}
    write_folder(tmp_path / "films" / "1", {**files, "config.json": json.dumps(config)})
    async with serving(tmp_path) as server:
        async with AsyncClient(server.address) as client:
            both = await client.classify("films", ["good film", "bad"])
            alone = [(await client.classify("films", text))[0] for text in ("good film", "bad")]
        assert {label.name for label in both[0].labels} == {"negative", "positive"}
        assert both[0].truncation.kept_length == 4
        for together, single in zip(both, alone, strict=True):
            assert [label.index for label in together.labels] == [label.index for label in single.labels]
            np.testing.assert_allclose(
                [label.score for label in together.labels], [label.score for label in single.labels], atol=1e-6
            )
        assert not server.application.registry.resolve("films").verified
        async with triton.InferenceServerClient(server.address) as client:
            index = await client.get_model_repository_index(as_json=True)
        assert "unverified" in index["models"][0]["reason"]


async def test_a_triton_repository_keeps_its_names_labels_and_batch_dimension(tmp_path):
    config = """
        platform: "onnxruntime_onnx"
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: 4 }
        output { name: "logits" data_type: TYPE_FP32 dims: 3 label_filename: "labels.txt" }
    """
    files = {"config.pbtxt": config, "labels.txt": "no\nperhaps\nyes\n", "1/model.onnx": linear_graph()}
    write_folder(tmp_path / "scores", files)
    async with serving(tmp_path) as server, triton.InferenceServerClient(server.address) as client:
        metadata = await client.get_model_metadata("scores")
        assert (metadata.inputs[0].name, list(metadata.inputs[0].shape)) == ("x", [-1, 4])
        described = await client.get_model_config("scores")
        assert (described.config.max_batch_size, list(described.config.input[0].dims)) == (8, [4])
        x = triton.InferInput("x", [2, 4], "FP32")
        x.set_data_from_numpy(np.eye(4, dtype=np.float32)[:2])
        answer = await client.infer("scores", [x])
        best = await client.infer("scores", [x], outputs=[triton.InferRequestedOutput("logits", class_count=1)])
        logits = answer.as_numpy("logits")
        for row, entry in zip(logits, best.as_numpy("logits").ravel(), strict=True):
            score, index, label = entry.decode().split(":")
            assert (int(index), label) == (int(row.argmax()), ["no", "perhaps", "yes"][row.argmax()])
            assert abs(float(score) - row.max()) < 1e-5
