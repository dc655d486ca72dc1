"""What the images are made of."""

import json

import pytest

MAX_SERVE_MB = 450
IMAGES = ["attendant", "attendant-train"]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_says_how_large_it_is(project, fact, image):
    size_mb = int(project.docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6
    fact(f"image {image}: {size_mb:,.0f} MB")
    assert image != "attendant" or size_mb <= MAX_SERVE_MB


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_nobody_in_particular_and_names_its_commit(project, image):
    (told,) = json.loads(project.docker("image", "inspect", image))
    assert told["Config"]["User"] == "10001:10001"
    labels = told["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == image
    assert len(labels["org.opencontainers.image.revision"]) == 40


@pytest.mark.parametrize(("image", "has_torch"), [("attendant", False), ("attendant-train", True)])
def test_an_image_lists_what_is_in_it(project, image, has_torch):
    bom = json.loads(in_image(project, image, "cat", f"/usr/share/sbom/{image}.cdx.json"))
    names = {component["name"].lower() for component in bom["components"]}
    assert {"onnxruntime", "attendant"} <= names
    assert ("torch" in names) is has_torch


def in_image(project, image: str, *command: str) -> str:
    return project.docker("run", "--rm", "--network", "none", "--entrypoint", command[0], image, *command[1:])
