"""The user's own data through the `datasets` library: a local file, an image folder, or a name on the hub."""

from collections.abc import Callable, Hashable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from models.data.errors import DataError
from models.data.labelled import Content, Labelled
from models.data.splits import Split, grouped_split

LABEL = "label"
Column = Literal["text", "image"]
# A file's ending to the loader of `datasets` that reads it.
LOADERS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
FEWEST_EXAMPLES = 10
FEWEST_CLASSES = 2


def labelled_texts(data: str, seed: int) -> Labelled[str]:
    """The texts and labels of `data`; see `_labelled`."""
    return _labelled(data, "text", _text, seed)


def labelled_images(data: str, seed: int) -> Labelled[bytes]:
    """The images and labels of `data`, each image as the bytes of its file; see `_labelled`."""
    return _labelled(data, "image", _image, seed)


def _labelled(data: str, column: Column, read: Callable[[Any], Content], seed: int) -> Labelled[Content]:
    """Reads all rows, which it splits itself unless the data brings a `test` split.

    Raises DataError if nothing is there, it cannot be read, a column is missing (naming those found and expected), a
    content or label is empty, or there are too few examples or classes.
    """
    parts = load_tables(data, images=column == "image")
    contents: list[Content] = []
    raw: list[Any] = []
    origins: list[str] = []
    names: list[str] | None = None
    for split, table in parts.items():
        missing = [name for name in (column, LABEL) if name not in table.column_names]
        if missing:
            raise DataError(
                f"{data} has the columns {', '.join(table.column_names) or 'none'}; expected {column} and {LABEL}"
            )
        names = getattr(table.features[LABEL], "names", None)
        for number, row in enumerate(table, start=1):
            if row[column] is None or row[LABEL] is None or row[column] == "":
                raise DataError(f"{data}: row {number} of {split} has an empty {column} or {LABEL}")
            contents.append(read(row[column]))
            raw.append(row[LABEL])
            origins.append(split)
    classes = tuple(names) if names else tuple(sorted({str(label) for label in raw}))
    labels = tuple(int(label) if names else classes.index(str(label)) for label in raw)
    if len(contents) < FEWEST_EXAMPLES or len(set(labels)) < FEWEST_CLASSES:
        raise DataError(
            f"{data} has {len(contents)} examples of {len(set(labels))} classes; at least {FEWEST_EXAMPLES} examples "
            f"of {FEWEST_CLASSES} classes are needed"
        )
    return Labelled(data, tuple(contents), labels, classes, split_by_origin(labels, origins, seed))


def load_tables(data: str, *, images: bool = False) -> dict[str, Any]:
    """The tables of a local file or folder or of a hub name, by split; images stay the bytes of their files.

    Raises DataError if nothing is there or it cannot be read.
    """
    import datasets  # heavy, and not needed for the default data

    datasets.disable_progress_bars()
    path = Path(data)
    try:
        if path.is_dir():
            loaded = datasets.load_dataset("imagefolder" if images else str(path), data_dir=str(path))
        elif path.is_file():
            loader = LOADERS.get(path.suffix.lower())
            if loader is None:
                raise DataError(f"{data} ends in {path.suffix or 'nothing'}; expected {', '.join(LOADERS)} or a folder")
            loaded = datasets.load_dataset(loader, data_files=str(path))
        elif path.suffix.lower() in LOADERS or data.startswith((".", "/", "~")):
            raise DataError(f"{data} does not exist")
        else:
            loaded = datasets.load_dataset(data)
    except DataError:
        raise
    except Exception as error:  # every loader has its own exceptions
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{data} cannot be read as a file, folder or hub name: {reason}") from error
    if images:
        loaded = _keep_encoded(loaded, datasets)
    return dict(loaded)


def _keep_encoded(loaded: Any, datasets: Any) -> Any:
    """Leaves images as files: they are decoded by the server's codec, so that training sees what serving sees."""
    for split, table in loaded.items():
        if isinstance(table.features.get("image"), datasets.Image):
            loaded[split] = table.cast_column("image", datasets.Image(decode=False))
    return loaded


def _text(value: Any) -> str:
    return str(value)


def _image(value: Any) -> bytes:
    if isinstance(value, dict):  # an undecoded image of `datasets`
        content = value.get("bytes")
        return bytes(content) if content is not None else Path(str(value["path"])).read_bytes()
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):  # a path in a table
        return Path(value).read_bytes()
    buffer = BytesIO()
    value.save(buffer, format="PNG")
    return buffer.getvalue()


def split_by_origin(
    labels: Sequence[Hashable], origins: Sequence[str], seed: int, groups: Sequence[Hashable] | None = None
) -> Split:
    """The data's own `test` and `validation` splits where it has them; what is missing is drawn from the rest.

    What is drawn is stratified by label, and no group is drawn into two splits.
    Raises DataError if a split would be empty.
    """
    groups = range(len(labels)) if groups is None else groups
    own = {name: [index for index, origin in enumerate(origins) if origin == name] for name in ("test", "validation")}
    rest = [index for index, origin in enumerate(origins) if origin not in own]
    if not rest:  # only a `test` split, say: then its name means nothing
        own, rest = {"test": [], "validation": []}, list(range(len(labels)))
    drawn = grouped_split([labels[index] for index in rest], [groups[index] for index in rest], seed)
    train = [rest[index] for index in drawn.train]
    validation = own["validation"]
    test = own["test"]
    for name, indices in (("validation", drawn.validation), ("test", drawn.test)):
        ours = [rest[index] for index in indices]
        if own[name]:
            train += ours
        elif name == "validation":
            validation = ours
        else:
            test = ours
    if not (train and validation and test):
        raise DataError("too few examples of each class to hold some out for validation and test")
    return Split(tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test)))
