"""Base of the blocks that add context to the calls inside: ``with``, ``async with`` and decorators."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Self, TypeVar

from opentelemetry.context import Context

from .._compat.wrapt import FunctionWrapper
from .._errors import log_internal_error
from ..model import CallContext
from . import baggage, state
from .documents import DocumentContext, ExecutionPath, add_to_trace, current_path

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_End = Callable[[BaseException | None], None]


class Activation:
    """One run through a block, from its entry to its exit."""

    __slots__ = ("call_context", "context", "documents", "ended_out_of_order", "outer", "path", "payload", "token")

    context: Context
    """OpenTelemetry context that is current inside the block."""

    def __init__(self, outer: Context) -> None:
        self.outer: Context = outer
        above = state.activation_of(outer)
        self.call_context: CallContext = (
            state.call_context_of(outer) if baggage.keys or above is None else above.call_context
        )
        self.path: ExecutionPath | None = current_path()
        self.documents: DocumentContext = DocumentContext(state.documents_for(above, outer), self.path)
        self.ended_out_of_order: bool = False
        """True if the block was left while another block was the innermost one."""
        self.token: Any = None
        """Token to detach ``context`` with."""
        self.payload: Any = None
        """Data of the kind of block."""

    @classmethod
    def with_call_context(cls, call_context: CallContext, outer: Context) -> Activation:
        """Return an activation of a block that was entered in another process with ``call_context``."""
        activation = cls(outer)
        activation.call_context = replace(call_context, documents=())
        activation.documents = DocumentContext(call_context.documents, activation.path)
        activation.context = state.with_activation(outer, activation)
        return activation

    def propagate_documents(self) -> None:
        """Pass the documents retrieved in this block to the enclosing block, or else to the trace."""
        path, self.path = self.path, None
        self.context = self.outer  # break the cycle of the activation and its context, which would wait for the GC
        if not self.documents.retrieved:
            return
        documents, replaces = self.documents.all_documents()
        above, trace = state.activation_of(self.outer), state.trace_of(self.outer)
        if above is not None:
            above.documents.add(path, trace, documents, replace=replaces)
        elif trace:
            add_to_trace(trace, documents, replace=replaces)


class Block(Generic[T_co]):
    """Context manager and decorator, which many tasks and threads may enter at the same time.

    A decorated generator makes the block current only while its own body runs, never while it waits at a ``yield``.
    """

    def __init__(self) -> None:
        self._activations: list[Activation] = []

    # Hooks for subclasses.

    def _enter(self, activation: Activation, function: CallArguments | None) -> Context:
        """Return the OpenTelemetry context of the block. May replace ``activation.call_context``."""
        raise NotImplementedError

    def _leave(self, activation: Activation, error: BaseException | None) -> None:
        """Run when the block has ended."""

    def _returned(self, activation: Activation, value: Any) -> None:
        """Run when the decorated function has returned ``value``."""

    def _value(self, activation: Activation) -> Any:
        """Return the value of ``with ... as``."""

    # Entry and exit, the same for all kinds of block.

    def _begin(self, outer: Context | None, function: CallArguments | None = None) -> Activation | None:
        try:
            activation = Activation(state.current() if outer is None else outer)
            self._open(activation, function)
        except Exception:
            log_internal_error("enter a block")
            return None
        return activation

    def _open(self, activation: Activation, function: CallArguments | None) -> None:
        """Enter the block and set the context of ``activation``."""
        inner = self._enter(activation, function)
        if baggage.keys:
            inner = baggage.write(activation.call_context, inner)
        activation.context = state.with_activation(inner, activation)

    def _end(self, activation: Activation, error: BaseException | None) -> None:
        try:
            self._leave(activation, error)
            activation.propagate_documents()
        except Exception:
            log_internal_error("leave a block")

    def _result(self, activation: Activation, value: Any) -> None:
        try:
            self._returned(activation, value)
        except Exception:
            log_internal_error("read what a function returned")

    def __enter__(self) -> T_co:
        activation = self._begin(None)
        if activation is None:
            activation = _NoActivation()
        else:
            _attach(activation)
        self._activations.append(activation)
        value: T_co = self._value(activation)
        return value

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        activation = self._innermost_activation()
        if activation is not None and not isinstance(activation, _NoActivation):
            _leave(activation)
            self._end(activation, error)

    async def __aenter__(self) -> T_co:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, error, traceback)

    def _innermost_activation(self) -> Activation | None:
        """Remove and return the activation that ends: the innermost open one of this block, else the latest."""
        activations = self._activations
        try:
            activation = state.activation_of(state.current())
            while activation is not None:
                if activation in activations:
                    activations.remove(activation)
                    return activation
                activation = state.activation_of(activation.outer)
        except Exception:
            log_internal_error("find the block that ends")
        return activations.pop() if activations else None

    def __call__(self, function: F, /) -> F:
        """Return ``function`` decorated: each of its runs is an activation of this block.

        Raises:
            TypeError: ``function`` is a class, a property or not callable.
        """
        if not is_function(function):
            # Reject classes and properties: a wrapped class is not a class, and a wrapped property returns a wrapper.
            raise TypeError(
                f"llmtrace cannot decorate {_described(function)}: expected a function or method; "
                "decorate the methods of a class one by one, and a property below @property"
            )
        run: Any = select_by_kind(function, run_plain, run_coroutine, _run_generator, _run_async_generator)

        def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            return run(self, wrapped, args, kwargs)

        decorated: Any = Decorated(function, wrapper)
        return decorated  # type: ignore[no-any-return] # looks like the function


def is_function(value: object) -> bool:
    """Return true if ``value`` can be decorated: a function, a method of any kind, or a callable object."""
    return isinstance(value, (classmethod, staticmethod)) or (callable(value) and not isinstance(value, type))


def check_name(block: str, name: object) -> None:
    """Raise ``TypeError`` unless ``name`` is text: a decorator without parentheses gets the function instead."""
    if not isinstance(name, str):
        raise TypeError(f"llmtrace.{block}: expected a name as text, got {_described(name)}")


def _described(value: object) -> str:
    return f"the class {value.__qualname__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"


class _NoActivation(Activation):
    """Placeholder for an activation that could not begin because of an internal error."""

    def __init__(self) -> None:
        self.payload = None


@dataclass(slots=True)
class CallArguments:
    """A decorated function and the arguments of one call."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def arguments(self) -> dict[str, Any] | None:
        """Return the arguments by name, or ``None`` if they do not fit the signature, so that the call will fail."""
        try:
            return dict(inspect.signature(self.function).bind(*self.args, **self.kwargs).arguments)
        except (TypeError, ValueError):
            return None


class Decorated(FunctionWrapper):
    """Wrapper that looks like the function to ``inspect``, so that frameworks treat it like the function."""

    # Copy and pickle by name, as functions are: proxies support neither by default.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> str:
        return str(self.__wrapped__.__qualname__)

    def __reduce_ex__(self, protocol: object) -> str:
        return self.__reduce__()


def select_by_kind(function: Any, plain: R, coroutine: R, generator: R, async_generator: R) -> R:
    """Return the argument for the kind of ``function``: plain, coroutine, generator or async generator function."""
    if isinstance(function, (staticmethod, classmethod)):
        function = function.__func__
    elif not inspect.isroutine(function) and not isinstance(function, partial):
        function = type(function).__call__  # a callable object
    if inspect.isasyncgenfunction(function):
        return async_generator
    if inspect.isgeneratorfunction(function):
        return generator
    return coroutine if inspect.iscoroutinefunction(function) else plain


def _attach(activation: Activation) -> None:
    try:
        activation.token = state.attach(activation.context)
    except Exception:
        log_internal_error("make a block current")


def _leave(activation: Activation) -> None:
    # Release the token: it holds a copy of the context, and an activation is in a reference cycle.
    token, activation.token = activation.token, None
    try:
        state.leave_activation(token, activation)
    except Exception:
        log_internal_error("restore the context of a block")


def run_plain(block: Block[Any], function: Any, args: Any, kwargs: Any) -> Any:
    """Call ``function`` inside ``block`` and return its result."""
    activation = block._begin(None, CallArguments(function, args, kwargs))
    if activation is None:
        return function(*args, **kwargs)
    _attach(activation)
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        _leave(activation)
        block._end(activation, error)
        raise
    _leave(activation)
    block._result(activation, value)
    block._end(activation, None)
    return value


def run_coroutine(block: Block[Any], function: Any, args: Any, kwargs: Any) -> Coroutine[Any, Any, Any]:
    """Return a coroutine that calls ``function``, a coroutine function, inside ``block``."""

    async def run() -> Any:
        activation = block._begin(None, CallArguments(function, args, kwargs))
        if activation is None:
            return await function(*args, **kwargs)
        _attach(activation)
        try:
            value = await function(*args, **kwargs)
        except BaseException as error:
            _leave(activation)
            block._end(activation, error)
            raise
        _leave(activation)
        block._result(activation, value)
        block._end(activation, None)
        return value

    return _copy_names(run(), function)


def _run_generator(block: Block[Any], function: Any, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
    outer = current()

    def run() -> Generator[Any, Any, Any]:
        activation = block._begin(outer, CallArguments(function, args, kwargs))
        body = function(*args, **kwargs)
        if activation is None:
            return (yield from body)
        try:
            value = yield from steps(body, activation.context)
        except BaseException as error:
            block._end(activation, error)
            raise
        block._result(activation, value)
        block._end(activation, None)
        return value

    return _copy_names(run(), function)


def _run_async_generator(block: Block[Any], function: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, Any]:
    outer = current()

    def start() -> tuple[AsyncGenerator[Any, Any], Context | None, _End | None]:
        activation = block._begin(outer, CallArguments(function, args, kwargs))
        body = function(*args, **kwargs)
        if activation is None:
            return body, None, None
        return body, activation.context, partial(block._end, activation)

    return _copy_names(_async_steps(start), function)


def steps(body: Generator[Any, Any, Any], inside: Context | None) -> Generator[Any, Any, Any]:
    """Yield from ``body``, with ``inside`` current while the body runs and not while it waits."""
    step: Callable[[], Any] = partial(next, body)
    while True:
        resumed = resume(inside)
        try:
            item = step()
        except StopIteration as stop:
            return stop.value
        finally:
            inside = pause(resumed, inside)
        try:
            sent = yield item
        except GeneratorExit:
            resumed = resume(inside)
            try:
                body.close()
            finally:
                pause(resumed, inside)
            raise
        except BaseException as error:  # the body may handle it
            step = partial(body.throw, error)
        else:
            step = partial(body.send, sent)


def async_steps(body: AsyncGenerator[Any, Any], inside: Context | None) -> AsyncGenerator[Any, Any]:
    """Yield from ``body``, as ``steps`` does for a plain generator."""
    return _async_steps(lambda: (body, inside, None))


async def _async_steps(
    start: Callable[[], tuple[AsyncGenerator[Any, Any], Context | None, _End | None]],
) -> AsyncGenerator[Any, Any]:
    """Yield from the generator that ``start`` returns, inside its context, and call its function at the end.

    Asynchronous generators have no ``yield from``: this passes on items, sent values and exceptions.
    """
    body, inside, end = start()
    step: Callable[[], Any] = body.__anext__
    try:
        while True:
            resumed = resume(inside)
            try:
                item = await step()
            except StopAsyncIteration:
                break
            finally:
                inside = pause(resumed, inside)
            try:
                sent = yield item
            except GeneratorExit:
                resumed = resume(inside)
                try:
                    await body.aclose()
                finally:
                    pause(resumed, inside)
                raise
            except BaseException as error:  # the body may handle it
                step = partial(body.athrow, error)
            else:
                step = partial(body.asend, sent)
    except BaseException as error:
        if end is not None:
            end(error)
        raise
    if end is not None:
        end(None)


def current() -> Context | None:
    """Return the current context, or ``None`` after an internal error. Never raises."""
    try:
        return state.current()
    except Exception:
        log_internal_error("read the current context")
        return None


def resume(inside: Context | None) -> tuple[Any, Context] | None:
    """Make ``inside`` current and return the token and context that ``pause`` needs. Never raises."""
    if inside is None:
        return None
    try:
        outside = state.current()
        return state.attach(inside), outside
    except Exception:
        log_internal_error("make a block current")
        return None


def pause(resumed: tuple[Any, Context] | None, inside: Context | None) -> Context | None:
    """Restore the outer context and return the context to resume, which the body may have changed. Never raises."""
    if resumed is None:
        return inside
    try:
        latest = state.current()
        state.restore(*resumed)
    except Exception:
        log_internal_error("restore the context of a block")
        return inside
    return latest


def _copy_names(wrapper: T, function: Any) -> T:
    """Copy the names of ``function``, so that warnings such as "was never awaited" name the program's function."""
    generator: Any = wrapper
    generator.__name__ = getattr(function, "__name__", "function")
    generator.__qualname__ = getattr(function, "__qualname__", "function")
    return wrapper
