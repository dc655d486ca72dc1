"""What can be known before serving: is exactly one runtime installed and does it compute what is asked for, is the
store readable, does each bundle load.
"""

from importlib.metadata import distributions

from server.bootstrap import make_loader
from server.errors import ModelNotReady, ServeError
from server.manifest import Precision
from server.runtime.providers import Provider, choose_execution, installed_providers, processor_has_bf16
from server.runtime.session import RUNTIME_VERSION
from server.settings import Settings
from server.store.scan import ModelFolder, Store, StoreSnapshot, StoreUnavailable

RUNTIMES = frozenset({"onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu"})
"""Distributions that install the same package over each other."""


def runtime_problems() -> list[str]:
    """What is wrong with the installed ONNX Runtime; empty where exactly one distribution is there."""
    installed = sorted({name for d in distributions() if (name := d.metadata["Name"].lower()) in RUNTIMES})
    if not installed:
        return ["no ONNX Runtime is installed; install the extra `cpu`, `openvino` or `gpu`"]
    if len(installed) > 1:
        return [f"{' and '.join(installed)} overwrite each other; uninstall both, then install exactly one"]
    return []


def execution_problems(settings: Settings) -> list[str]:
    """Which precisions that the settings name this machine cannot compute in, on the provider that they name."""
    asked: list[Precision] = ["fp32" if settings.runtime.precision == "manifest" else settings.runtime.precision]
    problems = []
    for precision in dict.fromkeys([*asked, *settings.runtime.request_precisions]):
        try:
            choose_execution(precision, settings.runtime.provider)
        except ModelNotReady as error:
            problems.append(error.message)
    return problems


def _runtime_facts() -> str:
    """What is installed, in the words of the settings."""
    installed = installed_providers()
    names = ", ".join(provider for provider in Provider if provider in installed)
    bf16 = Provider.OPENVINO in installed and processor_has_bf16()
    return f"ONNX Runtime {RUNTIME_VERSION}; providers: {names}; bf16: {'yes' if bf16 else 'no'}"


def unmet_names(settings: Settings, snapshot: StoreSnapshot) -> list[str]:
    """What the settings say of models that the store does not have; a mistyped name would serve nothing."""
    named = {"store.models": settings.store.models, "store.version_policies": settings.store.version_policies}
    return [
        f"{setting} names {name!r}; the store has no such model"
        for setting, names in named.items()
        for name in names
        if name not in snapshot.models
    ]


def before_start(settings: Settings) -> tuple[list[str], list[str]]:
    """(what keeps the server from starting, what it would start in spite of), as far as no version need be loaded."""
    problems = runtime_problems() or execution_problems(settings)
    if problems:
        return problems, []
    try:
        return [], unmet_names(settings, Store(settings.store.path).scan())
    except StoreUnavailable as error:
        return [str(error)], []


def check(settings: Settings) -> int:
    """Prints a line for each thing checked; returns 0 if all is well, 1 if not.

    A version is loaded as `serve` would load it, golden inputs included, and let go again.
    """
    problems = runtime_problems() or execution_problems(settings)
    for problem in problems:
        print(f"runtime   FAILED  {problem}")
    if problems:
        return 1
    print(f"runtime   ok      {_runtime_facts()}")
    try:
        snapshot = Store(settings.store.path).scan()
    except StoreUnavailable as error:
        print(f"store     FAILED  {error}")
        return 1
    print(f"store     ok      {settings.store.path}: {len(snapshot.models)} models")
    sound = True
    for problem in unmet_names(settings, snapshot):
        sound = False
        print(f"settings  FAILED  {problem}")
    for name, problem in snapshot.problems.items():
        sound = False
        print(f"{name}  FAILED  {problem}")
    for name, folder in snapshot.models.items():
        sound &= _check_model(settings, name, folder)
    return 0 if sound else 1


def _check_model(settings: Settings, name: str, folder: ModelFolder) -> bool:
    sound = not folder.problems
    for place, problem in folder.problems.items():
        print(f"{name}/{place}  FAILED  {problem}")
    loader = make_loader(settings)
    for version in folder.versions:
        try:
            loaded = loader.load(name, version)
        except ServeError as error:
            sound = False
            print(f"{name}/{version}  FAILED  {error.message}")
            continue
        loaded.close()
        aliases = ", ".join(alias for alias, target in folder.aliases.items() if target == version)
        verified = "verified" if loaded.bundle.verified else "unverified"
        print(f"{name}/{version}  ok      {loaded.bundle.manifest.task}, {verified}{f', {aliases}' if aliases else ''}")
    return sound
