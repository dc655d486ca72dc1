from models.data.nearest import nearest_targets


def test_the_target_of_the_most_alike_source_is_taken():
    sources = ["21 November 2026", "3 May 1999", "le 3 mai 1999"]
    targets = ["2026-11-21", "1999-05-03", "french"]
    assert nearest_targets(sources, targets, ["22 November 2026", "May 3 1999", "le 4 mai 1998"]) == [
        "2026-11-21",
        "1999-05-03",
        "french",
    ]
