"""Operations that are the calls of one method of a library."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

from .._errors import log_internal_error
from ..context import state
from ..context.blocks import steps
from ..context.callback_run import CallbackRun, innermost_operation
from ..context.operation import Database, Operation
from ..context.operations import first_line
from ..context.retrieval import read_documents
from ..providers._patches import Patches
from ._runs import records_operations

Install = Callable[[Any], Patches]
"""Function of a bridge that hooks the imported module."""


def _nothing(*_: Any) -> None:
    """Return ``None``: there is nothing to read."""


@lru_cache(256)
def _host_and_port(address: str) -> tuple[str | None, int | None]:
    """Return the parts of a URL, or of a host with or without a port; ``None`` for the path of a socket."""
    if address.startswith(("/", "unix:")):
        return None, None
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        return parts.hostname, parts.port
    except ValueError:
        return None, None


def _wrap(name: str, wrapper: Callable[..., Any], module: Any, patches: Patches) -> None:
    owner, _, method = name.rstrip("?").partition(".")
    if not name.endswith("?") or method in vars(getattr(module, owner, object)):
        patches.wrap_in(module, owner, method, wrapper)


@dataclass(frozen=True, slots=True)
class TracedMethod:
    """A method whose calls get spans. ``call`` and its kin are the wrappers that ``Patches.wrap`` takes.

    The functions get the instance, the positional arguments and those by name.
    """

    client: str
    """Name of the library, the last part of the tracer's name."""
    kind: str
    """``tool``, ``agent``, ``workflow`` or ``retrieval``."""
    name: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], object]
    """Function that returns the name of the operation; ``None`` if this call gets no span."""
    begin: Callable[[Any, tuple[Any, ...], Mapping[str, Any], Operation], None] = _nothing
    """Function that sets fields of the operation which hold no content."""
    description: str = ""
    """Attribute of the instance that describes the tool."""
    locate: Callable[[Any], tuple[object, str]] | None = None
    """Function that returns the namespace and the address of the database of an instance, empty if there is none.

    ``None`` unless the library is the client of a database."""
    database_operation: str = ""
    """Name of the operation of the database, if it is not that of the method."""
    read_arguments: Callable[[tuple[Any, ...], Mapping[str, Any]], Any] = _nothing
    """Function that returns the arguments to record, called only if content is recorded."""
    read_result: Callable[[Any], Any] = _nothing
    """Function that returns the result to record, called only if content is recorded."""
    read_documents: Callable[[Any], Iterable[object] | None] = _nothing
    """Function from the result to the documents that it has."""

    def installer(self, *methods: str) -> Install:
        """Return the function ``install`` of a bridge that traces ``methods``, as ``install_in`` takes them."""

        def install(module: Any) -> Patches:
            patches = Patches()
            self.install_in(patches, module, *methods)
            return patches

        return install

    def install_in(self, patches: Patches, module: Any, *methods: str) -> None:
        """Trace ``methods``.

        Args:
            patches: Record of the hooks.
            module: Module whose import installs the bridge.
            methods: ``Class.method`` of this module, ``other.module:Class.method`` of modules that may be imported
                later. A coroutine has "async" in the name of its class or module, or "async " before all. A question
                mark at the end is for methods that some supported releases lack.
        """
        for target in methods:
            part, _, name = target.removeprefix("async ").rpartition(":")
            # Do not inspect the function: decorators of some releases hide that it is a coroutine.
            wrapper = self.call_async if "async" in target.lower() else self.call
            wrap = partial(_wrap, name, wrapper)
            if part:
                patches.when_imported(part, wrap)
            else:
                wrap(module, patches)

    def call(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """Call ``wrapped`` inside an operation."""
        run = self._begin(wrapped, instance, args, kwargs)
        if run is None:
            return wrapped(*args, **kwargs)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            self._end(run, error=error)
            raise
        self._end(run, result=result)
        return result

    async def call_async(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """Await ``wrapped`` inside an operation."""
        run = self._begin(wrapped, instance, args, kwargs)
        if run is None:
            return await wrapped(*args, **kwargs)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            self._end(run, error=error)
            raise
        self._end(run, result=result)
        return result

    def call_generator(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """Return the generator that ``wrapped`` returns, which runs inside an operation from its first item on."""
        return self._generate(state.current(), wrapped(*args, **kwargs), instance, args, kwargs)

    def _generate(self, outer: Any, body: Any, instance: Any, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
        run = self._begin(None, instance, args, kwargs, outer)
        if not isinstance(run, CallbackRun):
            return (yield from body)
        run.detach()  # it is current only while the body runs
        try:
            value = yield from steps(body, run.context)
        except BaseException as error:
            # A body that yields when it is closed raises another error.
            self._end(run, error=error.__context__ if isinstance(error.__context__, GeneratorExit) else error)
            raise
        self._end(run, result=value)
        return value

    def _begin(
        self, wrapped: Any, instance: Any, args: Any, kwargs: Any, outer: Any = None
    ) -> CallbackRun | Operation | None:
        """Return the new operation, the search that this search is part of, or ``None``."""
        try:
            outer = state.current() if outer is None else outer
            name = self.name(instance, args, kwargs) if records_operations() else None
            if name is None:
                return None
            enclosing = innermost_operation(outer)
            if enclosing is not None and enclosing.kind == self.kind:
                if self.kind == "retrieval":
                    return enclosing
                if enclosing.name == str(name):  # methods of a library call one another
                    return None
            run = CallbackRun(self.client, self.kind, str(name), outer)
            run.attach()
        except Exception:
            log_internal_error(f"begin an operation of {self.client}")
            return None
        try:
            if self.description:
                run.operation.description = first_line(getattr(instance, self.description, None))
            self.begin(instance, args, kwargs, run.operation)
            if self.locate is not None:
                run.operation.database = self._database(run.operation, wrapped, *self.locate(instance))
            if run.reads_content:
                run.operation.arguments = self.read_arguments(args, kwargs)
        except Exception:
            log_internal_error(f"read the arguments of {self.client}")
        return run

    def _database(self, operation: Operation, wrapped: Any, namespace: object, address: str) -> Database:
        method = self.database_operation or wrapped.__name__
        return Database(
            self.client, method, operation.name, str(namespace) if namespace else None, *_host_and_port(address)
        )

    def _end(self, run: CallbackRun | Operation, *, error: BaseException | None = None, result: Any = None) -> None:
        try:
            if isinstance(run, Operation):
                if error is None and run.inner_documents is not None:
                    run.inner_documents += read_documents(self.read_documents(result))
                return
            run.detach()
            try:
                if error is None:
                    run.add_documents(list(self.read_documents(result) or ()))
                    if run.reads_content:
                        run.operation.result = self.read_result(result)
            finally:
                run.end(error)
                run.propagate_documents()
        except Exception:
            log_internal_error(f"end an operation of {self.client}")
