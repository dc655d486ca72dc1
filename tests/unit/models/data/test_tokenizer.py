from models.data.tokenizer import PADDING, UNKNOWN, train_tokenizer

TEXTS = ["the matrix of eigenvalues", "a sparse matrix", "eigenvalues of the sparse matrix"] * 3


def test_padding_has_id_zero_and_words_that_recur_are_known(tmp_path):
    tokenizer = train_tokenizer(TEXTS, 200, tmp_path / "tokenizer.json")
    assert tokenizer.token_to_id(PADDING) == 0
    assert tokenizer.encode("Sparse MATRIX").tokens == ["sparse", "matrix"]


def test_the_file_alone_tokenizes_as_the_trained_one(tmp_path):
    tokenizer = train_tokenizer(TEXTS, 200, tmp_path / "tokenizer.json")
    read = type(tokenizer).from_file(str(tmp_path / "tokenizer.json"))
    assert read.encode("the matrices, of värlues").ids == tokenizer.encode("the matrices, of värlues").ids


def test_a_character_never_seen_is_unknown(tmp_path):
    tokenizer = train_tokenizer(TEXTS, 200, tmp_path / "tokenizer.json")
    assert tokenizer.encode("matrix ☃").tokens == ["matrix", UNKNOWN]


def test_the_same_texts_give_the_same_pieces_under_the_same_ids(tmp_path):
    vocabularies = [train_tokenizer(TEXTS, 40, tmp_path / "tokenizer.json").get_vocab() for _ in range(4)]
    assert vocabularies[1:] == vocabularies[:1] * 3


def test_letters_inside_words_are_pieces_and_not_special(tmp_path):
    tokenizer = train_tokenizer(TEXTS, 200, tmp_path / "tokenizer.json")
    assert tokenizer.encode("maps").tokens == ["m", "##a", "##p", "##s"]
    assert [token.content for token in tokenizer.get_added_tokens_decoder().values()] == [PADDING, UNKNOWN]
