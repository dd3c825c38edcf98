"""`seawall.install(resilience)`: every client made from now on is mounted, whoever makes it, until `uninstall()`.

wrapt tells us when a client library has been imported, so that the order of imports does not matter, and runs us after
the methods that bring a client to life; which those are, the mounts say in their module `_install`. Clients are mounted
in place, as `seawall.mount` does it.

`install` sets the innermost layer, and each `with installed()` is a layer of its own, found again by identity: blocks
of several threads may end in any order. Whatever was mounted follows the layer in force, so it is never mounted twice;
after the last layer it is taken out, or, where somebody else's wrapper hides it, passes everything through.

No lock is held while a client is made: who changes the layers looks at the living clients afterwards, who makes a
client looks at the layers afterwards.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from seawall._mounting import mounts
from seawall.forks import Lock
from seawall.policy import Policy
from seawall.resilience import Resilience, resolve

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping


class _Layer:
    """One `installed()` block; the outermost is `install()`'s alone."""

    def __init__(self, resilience: Resilience | None = None) -> None:
        self.resilience = resilience


_layers = [_Layer()]
_changing = Lock()
_awaited: set[str] = set()
"""Libraries whose import will be reported."""
_births: dict[tuple[type, str], Any] = {}
"""Class and method that bring clients to life → the module of the mount that knows them."""
_patches: list[tuple[type, str, Any]] = []
"""Class and method, and what was put there."""
_living: dict[int, tuple[ref[Any], ref[Any], Any]] = {}
"""What was mounted, by its id: the wrapper, its client, and the module that mounted it."""
_refused: set[str] = set()
"""What could not be mounted, and was warned of."""


def install(resilience: Resilience | Mapping[str, Policy] | Policy | None = None) -> Resilience:
    """Mount every httpx, httpx2 and requests client that is made from now on, and return the Resilience.

    `resilience`: a Resilience, a mapping from pattern to Policy, or one Policy; left out: the process's default.
    Clients that SDKs and module functions (`httpx.get`) make are included, whatever is imported first. Clients that
    exist already stay as they are, and so does what was mounted by hand. Called again, the last one holds, also for
    the clients mounted so far. One that cannot be mounted works as without, after a RuntimeWarning for its class.

    Safe from any thread. Raises ModuleNotFoundError without wrapt (extra `install`), TypeError for what is no policy.
    """
    _need_wrapt()
    resilience = resolve(resilience)
    with _changing:
        _layers[-1].resilience = resilience
    _take_effect()
    return resilience


def uninstall() -> None:
    """Undo `install`: classes are as before, and living clients it mounted are bare. Not installed: nothing happens.

    In a `with installed()` block it ends that block's installation only. Safe from any thread.
    """
    with _changing:
        _layers[-1].resilience = None
    _take_effect()


@contextmanager
def installed(
    resilience: Resilience | Mapping[str, Policy] | Policy | None = None,
) -> Generator[Resilience, None, None]:
    """`install` for one block, in the whole process; after it holds what held before.

    Clients that an outer installation mounted follow this one while it lasts, those of the block the outer one after.
    """
    _need_wrapt()
    resilience = resolve(resilience)
    layer = _Layer(resilience)
    with _changing:
        _layers.append(layer)
    try:
        _take_effect()
        yield resilience
    finally:
        with _changing:
            _layers.remove(layer)
        _take_effect()


def _need_wrapt() -> Any:
    try:
        import wrapt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "seawall.install needs wrapt: pip install 'seawall[install]', or mount clients one by one (seawall.mount)"
        ) from error
    return wrapt


def _in_force() -> Resilience | None:
    return _layers[-1].resilience


def _take_effect() -> None:
    """Bring classes and living clients to what is in force."""
    if _in_force() is not None:
        # Imports, so no lock: whoever imports the same in another thread holds theirs, and may want ours.
        for library in mounts():
            module = sys.modules.get(library)
            if module is not None:
                _arrived(module)
            elif library not in _awaited:
                _awaited.add(library)
                _need_wrapt().register_post_import_hook(_arrived, library)
    with _changing:
        _patch_classes()
        _settle_clients()


def _arrived(module: Any) -> None:
    """A client library has been imported. All that may come of it, besides patches, is a warning."""
    if _in_force() is None:
        return
    try:
        # By the module's own name, not the one it was imported by: `import httpx` may give httpx2.
        module = importlib.import_module(module.__name__)  # waits, if another thread has not finished it
        package = importlib.import_module(f"{mounts()[module.__name__]}._install")
        _births.update(dict.fromkeys(package.births(module), package))
    except Exception as error:
        _warn(module.__name__, error)
    with _changing:
        _patch_classes()


def _patch_classes() -> None:
    if _in_force() is None:
        for kind, name, ours in _patches:
            if vars(kind)[name] is ours:  # else somebody patched over it: it stays there, and does nothing
                setattr(kind, name, ours.__wrapped__)
        _patches[:] = [patch for patch in _patches if _stands(patch)]
        return
    for (kind, name), package in _births.copy().items():  # an import may add to them meanwhile
        if not any(patch[:2] == (kind, name) and _stands(patch) for patch in _patches):
            ours = _need_wrapt().FunctionWrapper(vars(kind)[name], _after(name, package))
            _patches.append((kind, name, ours))  # first: what is interrupted in between must be undone, too
            setattr(kind, name, ours)


def _stands(patch: tuple[type, str, Any]) -> bool:
    """Is it still in its place, or beneath what others put there, as far as they tell?"""
    kind, name, ours = patch
    method = vars(kind)[name]
    for _ in range(100):
        if method is ours or method is None:
            break
        method = getattr(method, "__wrapped__", None)
    return method is ours


def _after(name: str, package: Any) -> Any:
    def run(wrapped: Any, client: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        result = wrapped(*args, **options)
        resilience = _in_force()
        if resilience is not None:
            # Not bound: a patcher has kept what stood in the class, and calls it with the client.
            _mount(args[0] if client is None else client, name, package, resilience)
        return result

    return run


def _mount(client: Any, name: str, package: Any, resilience: Resilience) -> None:
    try:
        for wrapper in package.mount_new(client, name, resilience):
            key = id(wrapper)
            _living[key] = ref(wrapper, partial(_forget, key)), ref(client), package
    except Warning:  # -W error: what is not as it should be, told to whoever made the client
        raise
    except Exception as error:
        _warn(f"{type(client).__module__}.{type(client).__qualname__}", error)
    if _in_force() is not resilience:
        with _changing:
            _settle_clients()


def _forget(key: int, _: object) -> None:
    _living.pop(key, None)


def _settle_clients() -> None:
    resilience = _in_force()
    target = _off() if resilience is None else resilience
    is_over = all(layer.resilience is None for layer in _layers)
    # A copy, not a list: making pairs may collect garbage, which forgets clients meanwhile.
    for key, (wrapper_ref, client_ref, package) in _living.copy().items():
        wrapper, client = wrapper_ref(), client_ref()
        if wrapper is not None:
            if is_over and client is not None:
                package.take_out(client, wrapper)
            if wrapper.resilience is not target:  # in use now, in a copy of the client, or wrapped by somebody
                wrapper.follow(target)
        if is_over:
            _living.pop(key, None)


@cache
def _off() -> Resilience:
    """What is under a mounted client when nothing is installed: it neither decides nor touches a socket."""
    return Resilience(Policy(mode="off"), hard_deadlines=False, name="uninstalled")


def _warn(what: str, error: Exception) -> None:
    """Say once per class why it is not mounted. With -W error it is raised to whoever made the client."""
    if what not in _refused:
        _refused.add(what)
        warnings.warn(
            f"seawall.install: {what} could not be mounted and works as without: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=4,
        )
