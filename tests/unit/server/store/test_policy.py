import pytest

from server.store.policy import parse_policy


@pytest.mark.parametrize(
    ("policy", "aliases", "chosen"),
    [
        ("latest:1", {}, {5}),
        ("latest:2", {}, {3, 5}),
        ("latest:9", {}, {1, 3, 5}),
        ("all", {}, {1, 3, 5}),
        ("specific:1,3", {}, {1, 3}),
        ("specific:3,4", {}, {3}),
        ("specific:4", {}, set()),
        ("latest:1", {"stable": 1}, {1, 5}),
        ("specific:3", {"stable": 1, "canary": 5}, {1, 3, 5}),
        ("latest:1", {"stable": 4}, {5}),
    ],
)
def test_policy_chooses_among_the_versions_that_exist(policy, aliases, chosen):
    assert parse_policy(policy).choose([5, 1, 3], aliases) == chosen


def test_no_versions_leave_nothing_to_choose():
    assert parse_policy("latest:1").choose([], {"stable": 1}) == set()


@pytest.mark.parametrize(
    "text",
    ["", "latest", "latest:", "latest:0", "latest:-1", "latest:1,2", "latest:x", "all:1", "specific", "specific:",
     "specific:1,", "specific:0", "specific:1;2", "newest:1", "LATEST:1", "latest:²", "latest:٣", " all"],
)  # fmt: skip
def test_what_is_no_policy_is_refused_with_the_three_forms(text):
    with pytest.raises(ValueError, match="latest:N, all, or specific:1,3"):
        parse_policy(text)
