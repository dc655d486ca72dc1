"""`areas`: which area of the Python ecosystem a docstring documents, from what is installed; nothing to download."""

import hashlib
import json
import platform
import random
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from models.data.docstrings import read_docstrings
from models.data.errors import DataError
from models.data.labelled import Labelled
from models.data.prose import NameMask, describe
from models.data.splits import grouped_split

SOURCE = "docstrings of the installed standard library, numpy, scipy, scikit-learn and torch"

# Of each area, the modules and packages whose docstrings belong to it. One that this Python or these libraries do not
# have is passed over; one that two areas name belongs to the first.
_SOURCES = {
    "text processing": """
        string re textwrap difflib stringprep codecs encodings locale gettext html xml csv json configparser email
        tomllib plistlib quopri base64 shlex tokenize argparse optparse getopt mailbox _markupbase""",
    "files and operating system": """
        os pathlib shutil tempfile glob fnmatch tarfile zipfile gzip bz2 lzma _compression io _pyio stat posixpath
        ntpath genericpath subprocess platform fileinput filecmp getpass pty tty mimetypes zipapp sysconfig dbm shelve
        pickle linecache logging curses netrc crypt pickletools chunk wave aifc sunau sqlite3""",
    "networking": """
        http urllib socket ssl smtplib ftplib imaplib poplib telnetlib nntplib xmlrpc wsgiref socketserver cgi cgitb
        ipaddress webbrowser smtpd asyncore asynchat""",
    "concurrency": """
        asyncio multiprocessing threading concurrent queue sched contextvars selectors _threading_local""",
    "testing and language tools": """
        unittest doctest pdb bdb trace traceback pydoc inspect ast dis importlib imp modulefinder runpy pkgutil code
        codeop cProfile profile pstats timeit tracemalloc symtable compileall py_compile pyclbr tabnanny warnings site
        zipimport lib2to3 rlcompleter venv""",
    "array computing": "numpy.lib numpy._core numpy.ma numpy.matrixlib numpy.char numpy.rec",
    "linear algebra": "scipy.linalg numpy.linalg scipy.sparse torch.linalg torch._linalg_utils",
    "statistics": "scipy.stats numpy.random torch.distributions",
    "signal and image processing": "scipy.signal scipy.ndimage scipy.fft scipy.fftpack numpy.fft",
    "numerical methods": """
        scipy.optimize scipy.integrate scipy.interpolate scipy.odr scipy.differentiate scipy.special
        numpy.polynomial""",
    "machine learning": """
        sklearn.ensemble sklearn.linear_model sklearn.svm sklearn.tree sklearn.naive_bayes sklearn.neighbors
        sklearn.gaussian_process sklearn.discriminant_analysis sklearn.kernel_ridge sklearn.isotonic
        sklearn.cross_decomposition sklearn.multiclass sklearn.multioutput sklearn.calibration sklearn.dummy
        sklearn.semi_supervised sklearn.cluster sklearn.mixture sklearn.decomposition sklearn.manifold
        sklearn.covariance sklearn.metrics sklearn.model_selection sklearn.preprocessing sklearn.impute sklearn.compose
        sklearn.feature_extraction sklearn.feature_selection sklearn.inspection sklearn.pipeline
        sklearn.random_projection sklearn.neural_network scipy.cluster""",
    "neural networks": "torch.nn torch.ao.nn torch.optim",
    "distributed training": "torch.distributed",
}
AREAS: dict[str, tuple[str, ...]] = {area: tuple(names.split()) for area, names in _SOURCES.items()}
LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch")
# Parts of words that give the source away wherever they stand.
LIBRARY_STEMS = ("numpy", "scipy", "sklearn", "scikit", "torch", "cpython", "numba", "jax", "tensorflow")
# Whole words that do, beside the names of the modules above.
_LIBRARY_WORDS = "np sp stdlib python aten c10d c10 cuda blas lapack mkl openblas atlas pandas matplotlib plt"
LIBRARY_NAMES = frozenset(_LIBRARY_WORDS.split())
# Module names that are also English words, or words that any text on the subject needs: masked only where they are used
# as names.
_ORDINARY_WORDS = """
    string codecs encodings locale html xml csv json email io os stat platform logging crypt chunk wave http socket ssl
    cgi threading concurrent queue trace inspect code profile warnings site re glob pickle curses lib core ma char rec
    linalg sparse stats signal fft optimize integrate interpolate differentiate special polynomial random ensemble svm
    tree neighbors calibration dummy cluster mixture decomposition manifold covariance metrics preprocessing impute
    compose inspection pipeline nn distributed optim distributions"""
ORDINARY_NAMES = frozenset(_ORDINARY_WORDS.split())

# Shorter texts, such as "Initialize the handler.", belong to no area.
SHORTEST_WORDS = 12
LONGEST_WORDS = 60
# An area has no more examples than this, so that the largest do not decide everything.
LARGEST_AREA = 1100
CACHE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class AreaExample:
    """One description and where it stands."""

    area: str
    module: str
    text: str


def collect_areas() -> list[AreaExample]:
    """Every distinct description of every area, in a fixed order."""
    mask = NameMask(LIBRARY_STEMS, LIBRARY_NAMES | _module_names(), ORDINARY_NAMES)
    seen_modules: set[str] = set()
    seen_texts: set[str] = set()
    examples: list[AreaExample] = []
    for area, names in AREAS.items():
        of_area: set[str] = set()
        for name in names:
            for docstring in read_docstrings(name):
                if docstring.module in seen_modules:
                    continue
                of_area.add(docstring.module)
                words = mask.apply(describe(docstring.text)).split()
                # An inherited docstring is its parent's with, at most, another name or spacing in it.
                same = re.sub(r"\W+", "", "".join(words)).lower()
                if len(words) < SHORTEST_WORDS or same in seen_texts:
                    continue
                seen_texts.add(same)
                examples.append(AreaExample(area, docstring.module, " ".join(words[:LONGEST_WORDS])))
        seen_modules |= of_area
    return examples


def load_areas(cache: Path) -> list[AreaExample]:
    """The examples of `collect_areas`, kept in `cache` until Python, a library or the areas change.

    Raises DataError if an area has no example, because a library is not installed with its source.
    """
    path = cache / f"areas-{_cache_key()}.jsonl"
    if path.is_file():
        return [AreaExample(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    examples = collect_areas()
    missing = sorted(set(AREAS) - {example.area for example in examples})
    if missing:
        raise DataError(f"no docstrings found for {', '.join(missing)}: are {', '.join(LIBRARIES)} installed?")
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(asdict(example)) + "\n" for example in examples), encoding="utf-8")
    partial.replace(path)
    return examples


def _module_names() -> set[str]:
    return {part.strip("_").lower() for names in AREAS.values() for name in names for part in name.split(".")}


def _cache_key() -> str:
    parts = [str(CACHE_FORMAT), platform.python_version(), json.dumps(AREAS)]
    parts += [f"{library} {version(library)}" for library in LIBRARIES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def labelled_areas(cache: Path, seed: int) -> Labelled[str]:
    """The examples of `load_areas`, at most LARGEST_AREA an area, split so that no module is in two splits."""
    by_area: dict[str, list[AreaExample]] = {area: [] for area in AREAS}
    for example in load_areas(cache):
        by_area[example.area].append(example)
    chosen: list[AreaExample] = []
    for area, examples in by_area.items():
        random.Random(f"{seed} {area}").shuffle(examples)
        chosen += examples[:LARGEST_AREA]
    names = tuple(AREAS)
    return Labelled(
        source=SOURCE,
        contents=tuple(example.text for example in chosen),
        labels=tuple(names.index(example.area) for example in chosen),
        names=names,
        split=grouped_split([example.area for example in chosen], [example.module for example in chosen], seed),
    )
