"""The explanation as one HTML page: style, script and numbers inside it, so that it opens without a network.

Nothing of the input reaches the document as markup: the data block is JSON in which no tag can end, and the script sets
text only. The page's own policy refuses every script and style but its own, and every address but `data:`.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.explain.explanation import Explanation, Gradient, Mechanism, Missing, Positions, Weights, spaced
from models.explain.picture import data_uri, upright
from server.manifest import CellAxis

_PARTS = Path(__file__).parent / "html"
_SCRIPTS = ("data.js", "controls.js", "places.js", "map.js", "findings.js", "start.js")
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_STEPS = 2**16 - 1
"""A number is written as one of so many equal shares of the largest: 16 bits, a quarter of what its digits take."""

READING = (
    "Weights tell where a head looked, not what the network made of it: what is looked at may count for little "
    "(Jain and Wallace 2019).",
    "Rollout multiplies the layers' mean weights, half of each place going past the attention unchanged "
    "(Abnar and Zuidema 2020).",
    "Weights × gradient keeps the positive part of each weight times the gradient of the label's logit, averaged over "
    "the heads and followed through the layers (Chefer et al. 2021; Barkan et al. 2021).",
    "A head is switched off by zeroing what it hands on; the others are left as they are and cannot make up for it.",
)


def page_html(explanation: Explanation) -> str:
    """The whole page."""
    style, script = _part("style.css"), "\n".join(map(_part, _SCRIPTS))
    parts = {
        "policy": _policy(style, script),
        "title": html.escape(f"{explanation.model}, version {explanation.version}"),
        "answer": html.escape(_answer(explanation)),
        "style": style,
        "data": _json_block(page_data(explanation)),
        "script": script,
    }
    # In one pass: what is put in is never searched for places itself.
    return _PLACE.sub(lambda place: parts[place[1]], _part("template.html"))


def page_data(explanation: Explanation) -> dict[str, Any]:
    """Everything that the script draws from."""
    return {
        "image": _image(explanation),
        "labels": _labels(explanation),
        "label": explanation.label,
        "mechanisms": [_mechanism(mechanism) for mechanism in explanation.mechanisms],
        "notes": list(_notes(explanation)),
    }


def pack(weights: Weights) -> dict[str, Any]:
    """Numbers from 0 on as base64 of little-endian 16-bit shares of the largest of them."""
    scale = float(weights.max(initial=0.0))
    shares = np.rint(weights.astype(np.float64) / (scale or 1.0) * _STEPS)
    return {"values": base64.b64encode(shares.astype("<u2").tobytes()).decode(), "scale": scale}


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _json_block(data: Mapping[str, Any]) -> str:
    """JSON that no `</script>` or `<!--` can stand in."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(style: str, script: str) -> str:
    sources = (
        ("default-src", "'none'"),
        ("img-src", "data:"),
        ("style-src", _source(style)),
        ("script-src", _source(script)),
        ("base-uri", "'none'"),
        ("form-action", "'none'"),
    )
    return "; ".join(f"{kind} {source}" for kind, source in sources)


def _source(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _answer(explanation: Explanation) -> str:
    if explanation.label_name is None:
        return "The model scores no labels."
    assert not isinstance(explanation.scores, Missing)  # noqa: S101
    told = f"Explained: {explanation.label_name}, {explanation.probability:.1%}"
    best = explanation.scores.best()[0]
    if best == explanation.label:
        return told
    return f"{told}. The answer was {explanation.scores.labels[best]}, {explanation.scores.probabilities[best]:.1%}"


def _image(explanation: Explanation) -> dict[str, Any] | None:
    if explanation.content.image is None:
        return None
    picture = upright(explanation.content.image)
    return {"source": data_uri(picture), "width": picture.width, "height": picture.height}


def _labels(explanation: Explanation) -> list[dict[str, Any]] | None:
    if isinstance(explanation.scores, Missing):
        return None
    scores = explanation.scores
    return [
        {"name": name, "probability": probability}
        for name, probability in zip(scores.labels, scores.probabilities.tolist(), strict=True)
    ]


def _mechanism(mechanism: Mechanism) -> dict[str, Any]:
    return {
        "name": mechanism.name,
        "kind": mechanism.kind,
        "query": _axis(mechanism.query),
        "key": _axis(mechanism.key),
        "same": mechanism.query == mechanism.key,
        "layers": [
            {"number": layer.number, "heads": layer.heads, "weights": pack(layer.weights)} for layer in mechanism.layers
        ],
        "rollout": None if isinstance(mechanism.rollout, Missing) else pack(mechanism.rollout),
        "gradient": _gradient(mechanism.gradient),
        "ablation": None
        if isinstance(mechanism.ablation, Missing)
        else [
            {
                "layer": effect.layer,
                "head": effect.head,
                "probability": effect.probability,
                "change": effect.change,
                "best": effect.best,
            }
            for effect in mechanism.ablation
        ],
    }


def _gradient(gradient: Gradient | Missing) -> dict[str, Any] | None:
    if isinstance(gradient, Missing):
        return None
    return {
        "layers": [pack(layer) for layer in gradient.layers],
        "combined": None if gradient.combined is None else pack(gradient.combined),
    }


def _axis(positions: Positions) -> dict[str, Any]:
    if isinstance(positions, CellAxis):
        return {"rows": positions.rows, "columns": positions.columns}
    return {
        "tokens": [
            {"text": token.text, "gap": gap, "special": token.start == token.end}
            for token, gap in zip(positions, spaced(positions), strict=True)
        ]
    }


def _notes(explanation: Explanation) -> Iterator[str]:
    yield from map(_capitalised, explanation.notes)
    if not isinstance(explanation.parity, Missing):
        yield explanation.parity.sentence
    yield from map(_capitalised, explanation.missing())
    yield from READING


def _capitalised(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}."
