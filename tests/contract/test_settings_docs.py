from docs.settings import PAGE, render
from server.settings import Settings


def test_the_settings_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_setting_has_a_docstring():
    for group, info in Settings.model_fields.items():
        assert info.description, group
        for name, field in info.annotation.model_fields.items():
            assert field.description, f"{group}.{name}"


def test_every_number_has_a_bound():
    for group, info in Settings.model_fields.items():
        for name, field in info.annotation.model_fields.items():
            if field.annotation in (int, float):
                assert field.metadata, f"{group}.{name}"
