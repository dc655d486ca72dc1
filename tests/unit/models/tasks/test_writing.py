import pytest
import torch

from models.data.generation_tokenizers import END_ID, PADDING_ID, START_ID
from models.networks import Step
from models.networks.stepwise import TOKENS
from models.registry import MODELS
from models.tasks.rows import TARGET
from models.tasks.writing import NOTHING, NUM_SAMPLES, Writing, forced, pad_forced, sample_files

WRITING = sorted(name for name, model in MODELS.items() if isinstance(model.task, Writing))


def test_three_registered_models_write():
    assert WRITING == ["dates", "dates-transformer", "docs-lm"]


@pytest.mark.parametrize("name", WRITING)
def test_the_signature_is_the_networks_and_draws_no_random_number(name):
    model = MODELS[name]
    network = model.task.build(model.config)
    before = torch.random.get_rng_state()
    signature = model.task.signature(model.config, None)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert signature.generation == network.generation
    assert (signature.inputs, signature.outputs, signature.states) == (network.inputs, network.outputs, network.states)


def test_each_token_is_to_follow_the_one_before_it():
    row = forced([7, 8, 9])
    assert row[TOKENS].tolist() == [START_ID, 7, 8, 9]
    assert row[TARGET].tolist() == [7, 8, 9, END_ID]


def test_padding_is_to_be_followed_by_nothing():
    batch = pad_forced([forced([7, 8]), forced([])])
    assert batch[TOKENS].tolist() == [[START_ID, 7, 8], [START_ID, PADDING_ID, PADDING_ID]]
    assert batch[TARGET].tolist() == [[7, 8, END_ID], [END_ID, NOTHING, NOTHING]]


def test_a_step_is_flattened_to_logits_and_weights():
    task, logits, weights = MODELS["dates"].task, torch.zeros(1, 5), torch.zeros(1, 1, 1, 3)
    assert task.flatten(Step(logits, (torch.zeros(1, 4),), (weights,))) == (logits, weights)
    with pytest.raises(TypeError, match="not Tensor"):
        task.flatten(logits)


def test_samples_are_a_few_texts_spread_over_all():
    files = sample_files([str(number) for number in range(100)])
    assert list(files) == [f"{number}.txt" for number in range(NUM_SAMPLES)]
    assert [int(content) for content in files.values()] == list(range(0, 96, 8))
    assert sample_files(["only"]) == {"0.txt": b"only"}
