from models.data.docstrings import read_docstrings, source_files

SOURCE = '''"""Module text."""
class Shape:
    """Class text."""
    def area(self):
        """Method text."""
        def inner():
            """Inner text."""
add_newdoc("library", "function", """
    The text of a function that is written in C, attached.
    """)
'''


def write_package(root, monkeypatch):
    (root / "boxes" / "tests").mkdir(parents=True)
    (root / "boxes" / "__init__.py").write_text(SOURCE)
    (root / "boxes" / "broken.py").write_text("def (")
    (root / "boxes" / "later.py").write_text('"""Later text."""')
    (root / "boxes" / "tests" / "test_boxes.py").write_text('"""Test text."""')
    monkeypatch.syspath_prepend(str(root))


def test_docstrings_come_from_modules_classes_methods_and_attaching_calls(tmp_path, monkeypatch):
    write_package(tmp_path, monkeypatch)
    found = [(docstring.module, docstring.text) for docstring in read_docstrings("boxes")]
    assert found == [
        ("boxes", "Module text."),
        ("boxes", "Class text."),
        ("boxes", "Method text."),
        ("boxes", "The text of a function that is written in C, attached."),
        ("boxes.later", "Later text."),
    ]


def test_nothing_comes_of_a_module_that_is_absent():
    assert list(source_files("no_such_module_anywhere")) == []
    assert list(source_files("json.no_such_module")) == []


def test_single_modules_of_the_standard_library_are_found():
    assert [name for name, _ in source_files("textwrap")] == ["textwrap"]
    assert "json.decoder" in dict(source_files("json"))
    assert "json" in dict(source_files("json"))
