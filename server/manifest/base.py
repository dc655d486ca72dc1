"""What every part of the manifest is made of: names, and models that forbid what they do not know."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SCHEMA_VERSION: Literal[1] = 1
MANIFEST_FILE = "manifest.json"
ALIASES_FILE = "aliases.json"
CHECKPOINT_FILE = "checkpoint.safetensors"
GOLDEN_FILE = "golden.npz"

MODEL_NAME_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?$"
ALIAS_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"

ModelName = Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]
Alias = Annotated[str, Field(pattern=ALIAS_PATTERN)]


def _plain_file_name(name: str) -> str:
    """A bundle is flat: a name with a separator or a leading dot could reach outside it or hide."""
    if not name or name.startswith(".") or "\\" in name or "\0" in name or PurePosixPath(name).name != name:
        raise ValueError(f"{name!r} is not a plain file name inside the bundle")
    return name


Precision = Literal["fp32", "bf16", "int8"]
"""What answers are computed in."""

FileName = Annotated[str, AfterValidator(_plain_file_name)]


class Frozen(BaseModel):
    """Immutable, and strict about unknown keys: a typo in a manifest is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
