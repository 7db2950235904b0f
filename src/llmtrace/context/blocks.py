"""A block of the program that says something of the calls inside: ``with``, ``async with``, or decorator."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from dataclasses import replace
from functools import partial
from typing import Any, Generic, Self, TypeVar

import wrapt
from opentelemetry.context import Context

from .._errors import log_internal_error
from ..model import CallContext
from . import baggage
from . import documents as shelf
from . import state as context

__all__ = [
    "Activation",
    "Block",
    "CallArguments",
    "Decorated",
    "async_steps",
    "check_name",
    "current",
    "is_function",
    "pause",
    "resume",
    "run_coroutine",
    "run_plain",
    "select_by_kind",
    "steps",
]

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Activation:
    """One passage through a block."""

    __slots__ = ("context", "flow", "outer", "overtaken", "scope", "shelf", "token", "work")

    context: Context
    """What is current inside the block."""

    def __init__(self, outer: Context) -> None:
        self.outer = outer
        above = context.activation_of(outer)
        self.scope: CallContext = context.call_context_of(outer) if baggage.keys or above is None else above.scope
        self.flow: shelf.ExecutionPath | None = shelf.current_path()
        self.shelf = shelf.DocumentContext(context.documents_for(above, outer), self.flow)
        self.overtaken = False
        self.token: Any = None
        self.work: Any = None

    @classmethod
    def with_scope(cls, scope: CallContext, outer: Context) -> Activation:
        """A passage that says ``scope`` and nothing else, and was begun elsewhere."""
        frame = cls(outer)
        frame.scope = replace(scope, documents=())
        frame.shelf = shelf.DocumentContext(scope.documents, frame.flow)
        frame.context = context.with_activation(outer, frame)
        return frame

    def propagate_documents(self) -> None:
        """What was found inside belongs to the block, or else the trace, around from now on."""
        documents, alone = self.shelf.all_documents()
        # A frame is in a cycle with its context, and must not keep the mark of a strand that is over.
        flow, self.flow = self.flow, None
        if not documents and not alone:
            return
        above, trace = context.activation_of(self.outer), context.trace_of(self.outer)
        if above is not None:
            above.shelf.add(flow, trace, documents, replace=alone)
        elif trace:
            shelf.add_to_trace(trace, documents, replace=alone)


class Block(Generic[T_co]):
    """Context manager and decorator. One block may be entered many times, from many tasks and threads at once.

    A decorated generator holds the context only while its own body runs, never while it waits at a ``yield``.
    """

    def __init__(self) -> None:
        self._frames: list[Activation] = []

    # What a kind of block adds.

    def _enter(self, frame: Activation, function: CallArguments | None) -> Context:
        """The context of the block; ``frame.scope`` may be replaced."""
        raise NotImplementedError

    def _leave(self, frame: Activation, error: BaseException | None) -> None:
        """The block has ended."""

    def _returned(self, frame: Activation, value: Any) -> None:
        """The decorated function has returned ``value``."""

    def _value(self, frame: Activation) -> Any:
        """What ``with ... as`` names."""

    # The life of a passage, the same for all.

    def _begin(self, outer: Context | None, function: CallArguments | None = None) -> Activation | None:
        try:
            frame = Activation(context.current() if outer is None else outer)
            inner = self._enter(frame, function)
            if baggage.keys:
                inner = baggage.write(frame.scope, inner)
            frame.context = context.with_activation(inner, frame)
        except Exception:
            log_internal_error("enter a block")
            return None
        return frame

    def _end(self, frame: Activation, error: BaseException | None) -> None:
        try:
            self._leave(frame, error)
            frame.propagate_documents()
        except Exception:
            log_internal_error("leave a block")

    def _result(self, frame: Activation, value: Any) -> None:
        try:
            self._returned(frame, value)
        except Exception:
            log_internal_error("read what a function returned")

    def __enter__(self) -> T_co:
        frame = self._begin(None)
        if frame is None:
            frame = _NoActivation()
        else:
            _attach(frame)
        self._frames.append(frame)
        value: T_co = self._value(frame)
        return value

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        frame = self._innermost_activation()
        if frame is not None and not isinstance(frame, _NoActivation):
            _leave(frame)
            self._end(frame, error)

    async def __aenter__(self) -> T_co:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, error, traceback)

    def _innermost_activation(self) -> Activation | None:
        """The passage that ends here: the innermost of ours around, else the latest."""
        frames = self._frames
        try:
            around = context.activation_of(context.current())
            while around is not None:
                if around in frames:
                    frames.remove(around)
                    return around
                around = context.activation_of(around.outer)
        except Exception:
            log_internal_error("find the block that ends")
        return frames.pop() if frames else None

    def __call__(self, function: F, /) -> F:
        if not is_function(function):
            # A class would no longer be one, and a property would be read as the wrapper of its value.
            raise TypeError(
                f"llmtrace cannot decorate {_described(function)}: expected a function or method; "
                "decorate the methods of a class one by one, and a property below @property"
            )
        run: Any = select_by_kind(function, run_plain, run_coroutine, _run_generator, _run_async_generator)

        def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            return run(self, wrapped, args, kwargs)

        made: Any = Decorated(function, wrapper)
        return made  # type: ignore[no-any-return] # looks like the function


def is_function(value: object) -> bool:
    """Return whether ``value`` can be decorated: a function, a method of any kind, or an object that can be called."""
    return isinstance(value, (classmethod, staticmethod)) or (callable(value) and not isinstance(value, type))


def check_name(block: str, name: object) -> None:
    """Raise ``TypeError`` unless ``name`` is text, because a decorator without parentheses gets the function itself."""
    if not isinstance(name, str):
        raise TypeError(f"llmtrace.{block}: expected a name as text, got {_described(name)}")


def _described(value: object) -> str:
    return f"the class {value.__qualname__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"


class _NoActivation(Activation):
    """Stands in for a passage that could not begin, which is our fault and not the program's."""

    def __init__(self) -> None:
        self.work = None


class CallArguments:
    """A decorated function and what it was called with."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs

    def arguments(self) -> dict[str, Any] | None:
        """By name, if the signature tells: where it does not fit, the call itself is about to fail."""
        try:
            return dict(inspect.signature(self.function).bind(*self.args, **self.kwargs).arguments)
        except (TypeError, ValueError):
            return None


class Decorated(wrapt.FunctionWrapper):  # type: ignore[type-arg] # wrapt 1 has no parameters
    """Looks like the function to ``inspect``, so that frameworks treat it as they would the function itself."""

    # A proxy is neither copied nor pickled by default; a function is, by its name.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> str:
        return str(self.__wrapped__.__qualname__)

    def __reduce_ex__(self, protocol: object) -> str:
        return self.__reduce__()


def select_by_kind(function: Any, plain: R, coroutine: R, generator: R, async_generator: R) -> R:
    """The one of four that is meant for a function of this colour."""
    if isinstance(function, (staticmethod, classmethod)):
        function = function.__func__
    elif not inspect.isroutine(function) and not isinstance(function, partial):
        function = type(function).__call__  # an object that can be called
    if inspect.isasyncgenfunction(function):
        return async_generator
    if inspect.isgeneratorfunction(function):
        return generator
    return coroutine if inspect.iscoroutinefunction(function) else plain


def _attach(frame: Activation) -> None:
    try:
        frame.token = context.attach(frame.context)
    except Exception:
        log_internal_error("make a block current")


def _leave(frame: Activation) -> None:
    token, frame.token = frame.token, None  # it holds the strand's copy of the context, and a frame is in a cycle
    try:
        context.leave_activation(token, frame)
    except Exception:
        log_internal_error("make the context around a block current again")


def run_plain(block: Block[Any], function: Any, args: Any, kwargs: Any) -> Any:
    frame = block._begin(None, CallArguments(function, args, kwargs))
    if frame is None:
        return function(*args, **kwargs)
    _attach(frame)
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        _leave(frame)
        block._end(frame, error)
        raise
    _leave(frame)
    block._result(frame, value)
    block._end(frame, None)
    return value


def run_coroutine(block: Block[Any], function: Any, args: Any, kwargs: Any) -> Coroutine[Any, Any, Any]:
    async def run() -> Any:
        frame = block._begin(None, CallArguments(function, args, kwargs))
        if frame is None:
            return await function(*args, **kwargs)
        _attach(frame)
        try:
            value = await function(*args, **kwargs)
        except BaseException as error:
            _leave(frame)
            block._end(frame, error)
            raise
        _leave(frame)
        block._result(frame, value)
        block._end(frame, None)
        return value

    return _copy_names(run(), function)


def _run_generator(block: Block[Any], function: Any, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
    outer = current()

    def run() -> Generator[Any, Any, Any]:
        frame = block._begin(outer, CallArguments(function, args, kwargs))
        body = function(*args, **kwargs)
        if frame is None:
            return (yield from body)
        try:
            value = yield from steps(body, frame.context)
        except BaseException as error:
            block._end(frame, error)
            raise
        block._result(frame, value)
        block._end(frame, None)
        return value

    return _copy_names(run(), function)


def _run_async_generator(block: Block[Any], function: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, Any]:
    outer = current()

    async def run() -> AsyncGenerator[Any, Any]:
        frame = block._begin(outer, CallArguments(function, args, kwargs))
        body = function(*args, **kwargs)
        inside = async_steps(body, None if frame is None else frame.context)
        try:
            # ``yield from`` for asynchronous generators, which the language lacks.
            step: Callable[[], Any] = inside.__anext__
            while True:
                try:
                    item = await step()
                except StopAsyncIteration:
                    break
                try:
                    sent = yield item
                except GeneratorExit:
                    await inside.aclose()
                    raise
                except BaseException as error:  # the body's to handle
                    step = partial(inside.athrow, error)
                else:
                    step = partial(inside.asend, sent)
        except BaseException as error:
            if frame is not None:
                block._end(frame, error)
            raise
        if frame is not None:
            block._end(frame, None)

    return _copy_names(run(), function)


def steps(body: Generator[Any, Any, Any], inside: Context | None) -> Generator[Any, Any, Any]:
    """Do ``yield from body``, with ``inside`` current while the body runs and not while it waits."""
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
        except BaseException as error:  # the body's to handle
            step = partial(body.throw, error)
        else:
            step = partial(body.send, sent)


async def async_steps(body: AsyncGenerator[Any, Any], inside: Context | None) -> AsyncGenerator[Any, Any]:
    """As ``steps``."""
    step: Callable[[], Any] = body.__anext__
    while True:
        resumed = resume(inside)
        try:
            item = await step()
        except StopAsyncIteration:
            return
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
        except BaseException as error:  # the body's to handle
            step = partial(body.athrow, error)
        else:
            step = partial(body.asend, sent)


def current() -> Context | None:
    """Return the current context. Never raises: without it, blocks and functions run where they are."""
    try:
        return context.current()
    except Exception:
        log_internal_error("read the current context")
        return None


def resume(inside: Context | None) -> tuple[Any, Context] | None:
    """Make ``inside`` current; return what ``pause`` needs. Never raises."""
    if inside is None:
        return None
    try:
        outside = context.current()
        return context.attach(inside), outside
    except Exception:
        log_internal_error("make a block current")
        return None


def pause(resumed: tuple[Any, Context] | None, inside: Context | None) -> Context | None:
    """Give the context back; return the one to go on with, as the body may have made another current. Never raises."""
    if resumed is None:
        return inside
    try:
        left = context.current()
        context.restore(*resumed)
    except Exception:
        log_internal_error("make the context around a block current again")
        return inside
    return left


def _copy_names(made: T, function: Any) -> T:
    """So that warnings about it ("was never awaited") name the program's own function."""
    generator: Any = made
    generator.__name__ = getattr(function, "__name__", "function")
    generator.__qualname__ = getattr(function, "__qualname__", "function")
    return made
