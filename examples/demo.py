"""The whole service from the outside: starts a server on the store, calls it with two clients, reads its metrics.

    python -m examples.demo --store store --runs runs --out runs/demo

The first client is Attendant's own, the second is Triton's, unmodified. The server is a process of its own, is
stopped by SIGTERM, drains, and must exit with 0; so does this program only if everything worked.
"""

import argparse
import json
import math
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from attendant import Attention, Client, word_weights
from attendant.heatmap import alignment, overlay
from rich.console import Console
from rich.text import Text

SENTENCE = "Compute the eigenvalues and right eigenvectors of a square matrix."
DATES = ("Saturday, 21 November 2026", "le 1er mars 2027", "Mi, 5. Aug. 2026")
SHOWN_METRICS = (
    "attendant_requests_total",
    "attendant_batch_rows_sum",
    "attendant_batch_rows_count",
    "attendant_padding_ratio_sum",
    "attendant_attention_requests_total",
    "attendant_generation_tokens_out_total",
    "attendant_generation_joins_total",
    "nv_inference_request_success",
)
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

console = Console(highlight=False)


@dataclass(frozen=True)
class Running:
    """Where the server listens."""

    address: str
    metrics_url: str


def main() -> None:
    """Runs the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("store"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    image = next((options.runs / "digits/checkpoint/samples").glob("*.png"))
    with server(options.store, options.out / "server.log") as running:
        with Client(running.address) as client:
            client.wait_ready(timeout_s=START_TIMEOUT_S)
            show_text(client)
            show_image(client, image, options.out / "digit-attention.png")
            show_writing(client, options.out / "date-alignment.png")
        show_triton(running.address, image)
        show_metrics(running.metrics_url)
    console.print("\nThe server drained and exited with 0.")


@contextmanager
def server(store: Path, log: Path) -> Iterator[Running]:
    """A server process on free ports, its log in a file; SIGTERM at the end, and an exit code of 0 is required."""
    command = [sys.executable, "-m", "server", "serve", "--store.path", str(store)]
    command += ["--grpc.port", "0", "--telemetry.metrics-port", "0"]
    console.rule("Server")
    console.print(" ".join(["python", *command[1:]]))
    with log.open("w") as sink:
        process = subprocess.Popen(command, stderr=sink)
    try:
        yield _wait_for_address(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=STOP_TIMEOUT_S)
    if process.returncode != 0:
        raise SystemExit(f"the server exited with {process.returncode}; see {log}")


def _wait_for_address(process: "subprocess.Popen[bytes]", log: Path) -> Running:
    """Follows the server's log up to the line that says where it listens."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        for line in log.read_text().splitlines(keepends=True):
            entry = json.loads(line) if line.endswith("\n") else {}
            if entry.get("message") == "serving":
                running = Running(
                    f"127.0.0.1:{entry['grpc_port']}", f"http://127.0.0.1:{entry['metrics_port']}/metrics"
                )
                console.print(f"listening on {running.address}, metrics on {running.metrics_url}")
                return running
        time.sleep(0.1)
    raise SystemExit(f"the server did not start; see {log}")


def show_text(client: Client) -> None:
    """A sentence, without attention and with it."""
    console.rule("Classify a sentence")
    console.print(repr(SENTENCE))
    plain = client.classify("areas", SENTENCE, top_k=3)
    for label in plain[0].labels:
        console.print(f"  {label.score:6.1%}  {label.name}")
    console.print(
        f"  {plain.model.name} version {plain.model.version}, "
        f"queue {plain.timing.queue_s * 1e3:.2f} ms, compute {plain.timing.compute_s * 1e3:.2f} ms"
    )
    explained = client.classify("areas", SENTENCE, top_k=1, attention=Attention(reduction="mean"))
    words = word_weights(explained[0].attention[0], SENTENCE)
    console.print("where it looked (mean over layers, heads and queries):")
    heaviest = max(word.weight for word in words)
    for word in words:
        bar = "█" * round(24 * word.weight / heaviest)
        console.print(Text(f"  {word.word:>14} {word.weight:.3f} {bar}"))


def show_image(client: Client, image: Path, heat_map: Path) -> None:
    """A picture of a digit, and a heat map of where the model looked."""
    console.rule("Classify a PNG")
    result = client.classify("digits", image, top_k=3, attention=True)
    for label in result[0].labels:
        console.print(f"  {label.score:6.1%}  {label.name}")
    cells = result[0].attention[0].cell_weights()
    heat_map.write_bytes(overlay(image, cells))
    console.print(f"heat map over a grid of {cells.shape[0]} x {cells.shape[1]} cells: {heat_map}")


def show_writing(client: Client, heat_map: Path) -> None:
    """Dates written token by token, and a heat map of where each token came from; then one date as it comes."""
    console.rule("Write dates in ISO 8601")
    result = client.generate("dates", DATES, attention=True)
    for asked, written in zip(DATES, result, strict=True):
        console.print(f"  {written.text}  {math.exp(written.best.score):6.1%}  {asked}")
    first = result[0]
    console.print(
        f"  {first.timing.steps} steps, at most {first.timing.batch_rows} rows together, "
        f"first token after {first.timing.first_token_s * 1e3:.2f} ms, all {first.timing.compute_s * 1e3:.2f} ms"
    )
    heat_map.write_bytes(alignment(first.best.attention[0]))
    console.print(f"heat map, written characters down, those of the source across: {heat_map}")
    streamed = [increment.text for increment in client.generate_stream("dates", DATES[0])]
    console.print("the first as it came:", " ".join(text for text in streamed if text))


def show_triton(address: str, image: Path) -> None:
    """The same server through Triton's client: a PNG as BYTES, texts as BYTES, with attention by name."""
    console.rule("The same through tritonclient, unmodified")
    with triton.InferenceServerClient(address) as client:
        metadata = client.get_model_metadata("digits")
        console.print(f"inputs {[i.name for i in metadata.inputs]}, outputs {[o.name for o in metadata.outputs]}")
        top = _infer(
            client, "digits", "image", image.read_bytes(), triton.InferRequestedOutput("logits", class_count=3)
        )
        console.print("digits:", [entry.decode() for entry in top.as_numpy("logits").ravel()])
        outputs = [triton.InferRequestedOutput("logits", class_count=1), triton.InferRequestedOutput("attention_0")]
        top = _infer(client, "areas", "text", SENTENCE.encode(), *outputs)
        console.print("areas:", [entry.decode() for entry in top.as_numpy("logits").ravel()])
        console.print("attention_0 [row, head, query, key]:", top.as_numpy("attention_0").shape, markup=False)
        outputs = [triton.InferRequestedOutput("text"), triton.InferRequestedOutput("alignment")]
        written = _infer(client, "dates", "text", DATES[1].encode(), *outputs)
        console.print("dates:", [entry.decode() for entry in written.as_numpy("text").ravel()])
        console.print("alignment [row, head, written, source]:", written.as_numpy("alignment").shape, markup=False)


def _infer(
    client: triton.InferenceServerClient, model: str, name: str, content: bytes, *outputs: triton.InferRequestedOutput
) -> triton.InferResult:
    tensor = triton.InferInput(name, [1], "BYTES")
    tensor.set_data_from_numpy(np.array([content], dtype=np.object_))
    return client.infer(model, [tensor], outputs=list(outputs))


def show_metrics(url: str) -> None:
    """A few lines of what Prometheus would scrape."""
    console.rule("Metrics")
    with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - our own server
        lines = reply.read().decode().splitlines()
    for line in lines:
        if line.startswith(SHOWN_METRICS):
            console.print(f"  {line}", soft_wrap=True)


if __name__ == "__main__":
    main()
