import pytest

from models.registry import MODELS


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_has_a_tiny_configuration_of_the_same_kind(name):
    model = MODELS[name]
    assert model.name == name
    assert type(model.tiny) is type(model.config)
    sizes = [
        sum(weight.numel() for weight in model.task.build(config).parameters()) for config in (model.tiny, model.config)
    ]
    assert sizes[0] * 5 < sizes[1]
