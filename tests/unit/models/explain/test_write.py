import pytest

from models.explain.failure import FolderUnwritable
from models.explain.write import write
from tests.unit.models.explain.made_up import across, explanation, over_text


def test_page_and_pictures_are_written(tmp_path):
    written = write(explanation(over_text(["a", "b"])), tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["weights.png", "relevance.png", "ablation.png", "explanation.html"]
    assert all(path.stat().st_size for path in written)


def test_pictures_of_several_attentions_carry_their_names(tmp_path):
    names = [path.name for path in write(explanation(over_text(["a"]), across()), tmp_path)]
    assert names == [
        "weights-tokens.png",
        "relevance-tokens.png",
        "ablation-tokens.png",
        "weights-cross-1.png",
        "relevance-cross-1.png",
        "explanation.html",
    ]


def test_pictures_of_an_earlier_explanation_do_not_stay(tmp_path):
    write(explanation(over_text(["a"])), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    write(explanation(across()), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "explanation.html",
        "notes.txt",
        "relevance.png",
        "weights.png",
    ]


def test_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FolderUnwritable, match="out cannot be written"):
        write(explanation(), tmp_path / "out")
