import pytest

from models.registry import MODELS, NotRegistered, RegisteredModel, registered_model, trainable_model

LEARNED = sorted(name for name, model in MODELS.items() if isinstance(model, RegisteredModel))


@pytest.mark.parametrize("name", LEARNED)
def test_every_model_has_a_tiny_configuration_of_the_same_kind(name):
    model = MODELS[name]
    assert model.name == name
    assert type(model.tiny) is type(model.config)
    sizes = [
        sum(weight.numel() for weight in model.task.build(config).parameters()) for config in (model.tiny, model.config)
    ]
    assert sizes[0] * 5 < sizes[1]


def test_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(NotRegistered, match=f"'nobody' .* those are {', '.join(sorted(MODELS))}"):
        registered_model("nobody")


def test_model_without_weights_is_not_trained_but_exported():
    with pytest.raises(NotRegistered, match="no weights to train: begin with `python -m models export attend`"):
        trainable_model("attend")
    assert trainable_model("digits") is registered_model("digits")
