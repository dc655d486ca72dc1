"""Makes exports with transformers and optimum: `python -m tests.support.hugging_face_exports <folder>`.

Runs in an environment of its own, which `make test-import` sets up; nothing else imports it. Each model has random
weights, drawn so that what it writes is varied, and words from a little text. Beside the export lies `expected.json`:
what `generate` writes, greedily and by beams, and what the library's own tokenizer makes of texts.

    --archives    small models only, each as a .zip for the tests that run without these tools
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import sentencepiece
import torch
from optimum.exporters.onnx import main_export
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
    T5TokenizerFast,
)

TASK = "text2text-generation-with-past"
SPECIAL = {"</s>": 0, "<unk>": 1}
MARGIN = 1e-3
"""Between the two likeliest tokens at every step; what is closer could come out either way and proves nothing."""
NUM_BEAMS = 4

WORDS = """one two three four five six seven eight nine ten a reader reads the reading of readers in rows and columns;
attention weighs what it sees, queries ask, keys answer, values speak: seven keys for nine queries? Straße naïve café
ﬁne Ｗｉｄｅ words, ten or eleven of them, are written and read again. What follows is what was likely before."""
TEXTS = (
    "one reader reads seven rows",
    "  What   follows\twas written before  ",
    "Straße, café and naïve ﬁne Ｗｉｄｅ words",
    "keys answer queries; values speak: nine!",
    "unknown ☃ signs ☃☃ and 漢字 in between",
    "x",
    ">>fra<< the keys of nine queries",
)


def main() -> None:
    """Writes one folder, or one archive, for each model."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--archives", action="store_true")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # more only get in each other's way in networks this small
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in (SMALL if given.archives else LARGE).items():
            torch.manual_seed(given.seed)
            folder = Path(scratch) / "exports" / name
            make(Path(scratch) / "checkpoints" / name, folder, small=given.archives)
            if given.archives:
                shutil.make_archive(str(given.folder / name), "zip", folder)
            else:
                shutil.rmtree(given.folder / name, ignore_errors=True)
                shutil.move(folder, given.folder / name)


def make_marian(checkpoint: Path, folder: Path, *, small: bool) -> None:
    """With the pair of SentencePiece models that its tokenizer has, and a vocabulary without some of their pieces."""
    _write_marian_words(checkpoint)
    tokenizer = MarianTokenizer.from_pretrained(checkpoint)
    vocab_size, pad = len(tokenizer.encoder), tokenizer.pad_token_id
    width = 16 if small else 64
    config = MarianConfig(
        vocab_size=vocab_size,
        d_model=width,
        encoder_layers=1 if small else 2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        max_position_embeddings=64,
        pad_token_id=pad,
        eos_token_id=0,
        forced_eos_token_id=0,
        decoder_start_token_id=pad,
        scale_embedding=True,
        init_std=0.6,
    )
    model = MarianMTModel(config).eval()
    model.generation_config.max_length = 24
    model.generation_config.bad_words_ids = [[pad]]
    _end_often(model)
    _export(model, tokenizer, checkpoint, folder)
    ids = _sources(24 if small else 48, vocab_size, end=0, longest=20)
    _write_expected(model, tokenizer, ids, folder, TEXTS)


def make_t5(checkpoint: Path, folder: Path, *, small: bool) -> None:
    """With a fast tokenizer made of one SentencePiece model."""
    checkpoint.mkdir(parents=True)
    pieces = _train(WORDS, checkpoint / "spiece", 96, "identity" if small else "nmt_nfkc", pad_id=0, eos_id=1, unk_id=2)
    tokenizer = T5TokenizerFast.from_pretrained(_saved(T5Tokenizer(str(pieces), extra_ids=4), checkpoint / "slow"))
    model = _t5(small, "relu", tied=True, vocab_size=len(tokenizer) + 4)
    _export(model, tokenizer, checkpoint, folder)
    _write_expected(
        model, tokenizer, _sources(24 if small else 48, len(tokenizer), end=1, longest=20), folder, TEXTS[:-1]
    )


def make_t5_gated(checkpoint: Path, folder: Path, *, small: bool) -> None:
    """T5 1.1: gated, its head not tied."""
    model = _t5(small, "gated-gelu", tied=False, vocab_size=120)
    _export(model, None, checkpoint, folder)
    _write_words(folder, {"</s>": 1, "<pad>": 0, "<unk>": 2}, 120)
    _write_expected(model, None, _sources(48, 120, end=1, longest=20), folder, ())


def make_bart(checkpoint: Path, folder: Path, *, small: bool) -> None:
    """With learned positions, and a first token that is forced."""
    config = BartConfig(
        vocab_size=120,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=48,
        init_std=0.6,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_bos_token_id=0,
        forced_eos_token_id=2,
    )
    model = BartForConditionalGeneration(config).eval()
    model.generation_config.max_length = 24
    _end_often(model)
    _export(model, None, checkpoint, folder)
    _write_words(folder, {"</s>": 2, "<pad>": 1, "<unk>": 3}, 120)
    _write_expected(model, None, _sources(48, 120, end=2, longest=20), folder, ())


def _t5(small: bool, projection: str, *, tied: bool, vocab_size: int) -> PreTrainedModel:
    width = 16 if small else 64
    config = T5Config(
        vocab_size=vocab_size,
        d_model=width,
        d_kv=8,
        d_ff=2 * width,
        num_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        feed_forward_proj=projection,
        tie_word_embeddings=tied,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        initializer_factor=2.0,
    )
    model = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(0.3)  # or each token would bring forth itself
    model.generation_config.max_new_tokens = 20
    _end_often(model)
    return model


def _end_often(model: PreTrainedModel) -> None:
    """Lets every seventh token end a text, so that some do: random weights write no end of their own."""
    end = model.config.eos_token_id
    model.generation_config.eos_token_id = [end, *range(end + 7, model.config.vocab_size - 1, 7)]


def _export(model: PreTrainedModel, tokenizer: object, checkpoint: Path, folder: Path) -> None:
    model.save_pretrained(checkpoint)
    if tokenizer is not None:
        tokenizer.save_pretrained(checkpoint)
    main_export(str(checkpoint), output=folder, task=TASK, no_post_process=True)


def _write_expected(
    model: PreTrainedModel, tokenizer: object, sources: list[list[int]], folder: Path, texts: tuple[str, ...]
) -> None:
    greedy = [found for ids in sources if (found := _greedy(model, ids)) is not None]
    beams = [_beams(model, ids) for ids in sources[:8]]
    expected = {"greedy": greedy, "beams": beams, "texts": [_text(model, tokenizer, text) for text in texts]}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")
    print(
        folder.name, len(greedy), "of", len(sources), "greedy;", len({str(one["written"]) for one in greedy}), "texts"
    )


def _greedy(model: PreTrainedModel, ids: list[int]) -> dict[str, object] | None:
    """What greedy decoding writes, start and end included; None where a step was close."""
    answer = model.generate(
        torch.tensor([ids]), num_beams=1, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    for step in answer.logits:
        best, second = step[0].topk(2).values.tolist()
        if best - second < MARGIN:
            return None
    return {"source": ids, "written": answer.sequences[0].tolist()}


def _beams(model: PreTrainedModel, ids: list[int]) -> dict[str, object]:
    """The best hypotheses, best first, with their scores; the last token is not forced to be the end.

    The library counts a first token that it forced as written, the server does not: there, scores are compared as sums.
    """
    penalty = 1.0 if model.generation_config.forced_bos_token_id is None else 0.0
    answer = model.generate(
        torch.tensor([ids]),
        num_beams=NUM_BEAMS,
        num_return_sequences=NUM_BEAMS,
        do_sample=False,
        forced_eos_token_id=None,
        length_penalty=penalty,
        output_scores=True,
        return_dict_in_generate=True,
    )
    settings = model.generation_config
    return {
        "source": ids,
        "written": answer.sequences.tolist(),
        "scores": answer.sequences_scores.tolist(),
        "length_penalty": penalty,
        "max_length": settings.max_new_tokens + 1 if settings.max_new_tokens else settings.max_length,
    }


def _text(model: PreTrainedModel, tokenizer: object, text: str) -> dict[str, object]:
    ids = tokenizer(text)["input_ids"]
    written = model.generate(torch.tensor([ids]), num_beams=1, do_sample=False)[0].tolist()
    return {
        "text": text,
        "source": ids,
        "unknown": tokenizer.unk_token_id,
        "written": written,
        "answer": tokenizer.decode(
            _without_end(model, written), skip_special_tokens=True, clean_up_tokenization_spaces=False
        ),
    }


def _without_end(model: PreTrainedModel, written: list[int]) -> list[int]:
    return written[:-1] if written[-1] in model.generation_config.eos_token_id else written


def _sources(count: int, vocab_size: int, *, end: int, longest: int) -> list[list[int]]:
    """Of mixed lengths, the end at the end."""
    lengths = torch.randint(0, longest, (count,)).tolist()
    return [[*torch.randint(3, vocab_size - 1, (length,)).tolist(), end] for length in lengths]


def _write_marian_words(checkpoint: Path) -> None:
    checkpoint.mkdir(parents=True)
    for side, words, rule in (("source", WORDS, "nmt_nfkc"), ("target", WORDS.upper(), "identity")):
        pieces = _train(words, checkpoint / side, 80, rule, unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
        pieces.rename(checkpoint / f"{side}.spm")
    known = [piece for side in ("source", "target") for piece in _pieces(checkpoint / f"{side}.spm")]
    # As where a vocabulary was counted in a text that lacked some of what the pieces were learnt from.
    kept = [piece for place, piece in enumerate(dict.fromkeys(known)) if place % 13 != 5]
    names = [*SPECIAL, *kept, ">>fra<<", "<pad>"]
    (checkpoint / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer"}))


def _train(words: str, prefix: Path, size: int, rule: str, **special: int) -> Path:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words.splitlines() * 3),
        model_prefix=str(prefix),
        vocab_size=size,
        model_type="unigram",
        normalization_rule_name=rule,
        hard_vocab_limit=False,
        minloglevel=2,
        **({"bos_id": -1} | special),
    )
    prefix.with_suffix(".vocab").unlink()
    return prefix.with_suffix(".model")


def _pieces(path: Path) -> list[str]:
    model = sentencepiece.SentencePieceProcessor(str(path))
    return [
        model.id_to_piece(index)
        for index in range(model.get_piece_size())
        if not (model.is_control(index) or model.is_unknown(index))
    ]


def _saved(tokenizer: object, folder: Path) -> Path:
    tokenizer.save_pretrained(folder)
    return folder


def _write_words(folder: Path, special: dict[str, int], size: int) -> None:
    """A tokenizer of plain words: `w7` is the id 7."""
    taken = set(special.values())
    words = {f"w{index}": index for index in range(size) if index not in taken} | special
    tokenizer = Tokenizer(WordLevel(words, "<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(list(special))
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", special["</s>"])])
    tokenizer.save(str(folder / "tokenizer.json"))


SMALL = {"marian": make_marian, "t5": make_t5}
LARGE = SMALL | {"t5-gated": make_t5_gated, "bart": make_bart}

if __name__ == "__main__":
    main()
