import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from models.explain.explanation import Missing
from models.explain.page import pack, page_data, page_html
from tests.unit.models.explain.made_up import HOSTILE, across, explanation, over_text


class Parsed(HTMLParser):
    """Every tag with its attributes, and what stands in each script and style."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.contents, self.text = [], [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.contents.append("")

    def handle_data(self, data):
        if self.cdata_elem:
            self.contents[-1] += data
        else:
            self.text += data

    def names(self):
        return [tag for tag, _ in self.tags]


@pytest.fixture
def hostile():
    """A text, a label and a model's note that try to become markup."""
    return explanation(over_text(HOSTILE.split()), text=HOSTILE, labels=(HOSTILE, "no"), notes=(HOSTILE,))


def test_text_stays_text(hostile):
    plain, parsed = Parsed(page_html(explanation())), Parsed(page_html(hostile))
    assert parsed.names() == plain.names()
    assert HOSTILE in parsed.text
    _, block, script = parsed.contents
    assert json.loads(block) == json.loads(json.dumps(page_data(hostile)))
    assert not set("<>&") & set(block)
    assert script == plain.contents[-1]


def test_page_needs_no_network(image):
    page = page_html(explanation(over_text(["a"]), across(), image=image.read_bytes()))
    parsed = Parsed(page)
    assert not re.search(r"https?:|//cdn|@import|\bfetch\(|XMLHttpRequest|innerHTML|\beval\(", page)
    assert not [tag for tag in parsed.names() if tag in ("link", "img", "iframe", "object")]
    assert not [attrs for _, attrs in parsed.tags if {"src", "href", "onclick", "onload"} & set(attrs)]


def test_policy_allows_this_style_and_this_script_and_nothing_else():
    parsed = Parsed(page_html(explanation()))
    (policy,) = (attrs["content"] for _, attrs in parsed.tags if "http-equiv" in attrs)
    style, _, script = parsed.contents
    for kind, content in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")


def test_every_place_of_the_template_is_filled():
    assert "{{" not in page_html(explanation()).replace(Parsed(page_html(explanation())).contents[-1], "")


def test_what_is_put_in_is_not_filled_in_again():
    assert "{{script}}" in Parsed(page_html(explanation(model="{{script}}"))).text


def test_every_element_that_the_script_asks_for_is_there():
    page = page_html(explanation())
    wanted = set(re.findall(r'getElementById\("([a-z-]+)"\)', page)) | set(re.findall(r'fill\("([a-z]+)"', page))
    assert wanted <= {attrs.get("id") for _, attrs in Parsed(page).tags}


def test_numbers_survive_packing():
    values = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32) * 0.3
    packed = pack(values)
    shares = np.frombuffer(base64.b64decode(packed["values"]), "<u2").reshape(values.shape)
    assert shares / 65535 * packed["scale"] == pytest.approx(values, abs=packed["scale"] / 65535)
    assert pack(np.zeros((2, 2), np.float32))["scale"] == 0.0


def test_cross_attention_has_two_axes_and_no_rollout():
    (found,) = page_data(explanation(across()))["mechanisms"]
    assert not found["same"]
    assert found["key"] == {"rows": 2, "columns": 3}
    assert (found["rollout"], found["ablation"], found["gradient"]["combined"]) == (None, None, None)


def test_what_is_missing_and_what_was_measured_is_told():
    notes = page_data(explanation(across(), notes=("the text was cut",)))["notes"]
    assert notes[0] == "The text was cut."
    assert notes[1].startswith("PyTorch and the served graph agree")
    assert notes[2] == "No rollout: queries and keys differ."


def test_answer_other_than_the_label_is_told():
    assert "Explained: no, 25.0%. The answer was yes, 75.0%" in page_html(explanation(label=1))


def test_model_without_labels_says_so():
    reason = Missing("no labels")
    page = page_html(explanation(scores=reason, label=None, parity=reason))
    assert "The model scores no labels." in page
    assert page_data(explanation(scores=reason, label=None))["labels"] is None
