"""The HTTP surface of the demo: the page, its runs, their events.

What a client sends is checked against `tfinit.demo.settings`; before that, `tfinit.demo.guard` has
looked at where it comes from. Nothing here trains: see `tfinit.demo.runs`.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

import tfinit
from tfinit.demo.guard import Guard
from tfinit.demo.limits import Limits
from tfinit.demo.loading import Loaded, first_steps, load_engine
from tfinit.demo.run import Conflict, Engine, PageRun
from tfinit.demo.runs import Runs, TooMany
from tfinit.demo.settings import Control, LotterySettings, Settings, choices
from tfinit.demo.stream import EventStream
from tfinit.errors import InputError

_log = logging.getLogger(__name__)
STATIC = Path(__file__).with_name("static")
_SWEEP_SECONDS = 0.25


class Loading(BaseModel):
    """Whether TensorFlow is still loading: about how many seconds are left; null: it is not."""

    seconds: float | None


class Created(BaseModel):
    """A new run."""

    id: str


class Health(BaseModel):
    """Whether all is well: see `tfinit.demo.runs.Runs.health`."""

    status: Literal["loading", "ok", "failing"]
    listened_to: int
    working: int
    hanging: int


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class Code(BaseModel):
    """Whose code is asked for."""

    model_config = ConfigDict(extra="forbid")

    settings: Settings
    pane: Annotated[int, Field(ge=0, le=3)] = 0


def create_app(
    limits: Limits | None = None,
    hosts: Iterable[str] = (),
    engine: Callable[[], Engine] = load_engine,
    warm: bool = True,
    loading: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> FastAPI:
    """The application. Its ``state.runs`` are the runs.

    Args:
        limits: Of runs and requests; default: `Limits()`.
        hosts: Names of this server beside localhost: see `tfinit.demo.guard.Guard`.
        engine: Gives what trains. It is called once, in a thread, when the server starts.
        warm: Whether the network of the default settings is compiled at the start, so that the
            first page need not wait for it.
        loading: Around the loading of the engine.

    Example:
        >>> app = create_app(warm=False)
        >>> app.openapi()["info"]["title"]
        'tfinit demo'
    """
    limits = limits or Limits()
    loaded = Loaded(engine, loading, first_steps if warm else None)
    runs = Runs(limits, loaded)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        runs.start()
        sweeping = asyncio.create_task(_sweep(runs))
        try:
            yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping
            await asyncio.to_thread(runs.stop)

    # The pages of documentation load scripts from elsewhere; the description itself is offered.
    app = FastAPI(
        title="tfinit demo",
        version=tfinit.__version__,
        description="Watch initialization decide whether a network trains.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={
            400: _says("The body is no JSON."),
            403: _says("The request comes from elsewhere."),
            413: _says("The body is too large."),
        },
    )
    app.state.runs = runs
    app.add_middleware(Guard, hosts=tuple(hosts), body=limits.body)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(InputError, _wrong)
    app.add_exception_handler(Conflict, _conflict)
    app.add_exception_handler(TooMany, _full)
    _add_page(app, runs, loaded)
    _add_runs(app, runs)
    return app


def _add_page(app: FastAPI, runs: Runs, loaded: Loaded) -> None:
    # What waits until all is loaded must not take the threads that read the page's files.
    threads, asking = CapacityLimiter(runs.limits.workers), 0

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.head("/health", include_in_schema=False)
    @app.get("/health", responses={503: {"model": Health, "description": "It is failing."}})
    async def health(response: Response) -> Health:
        """Whether trainings can go on."""
        found = Health(**runs.health())
        response.status_code = 503 if found.status == "failing" else 200
        return found

    @app.head("/api/menu", include_in_schema=False)
    @app.get("/api/menu")
    async def menu() -> dict[str, Any]:
        """What can be chosen."""
        return choices()

    @app.get("/api/loading")
    async def loading() -> Loading:
        """How long a first run still has to wait."""
        return Loading(seconds=loaded.seconds_left())

    @app.post(
        "/api/python",
        response_class=PlainTextResponse,
        responses={
            415: _says("The body is called something else than JSON."),
            503: _says("Too many wait for the same.", Retry_After="Seconds to wait."),
        },
    )
    async def python(code: Code) -> PlainTextResponse:
        """The same run as Python code."""
        _check_less("pane", code.pane, len(code.settings.panes))
        nonlocal asking
        if asking >= runs.limits.max_runs:
            raise TooMany("Others wait for their code until all is loaded. Try again.")

        def made() -> str:
            return loaded().python_code(code.settings, code.pane)

        asking += 1
        try:
            return PlainTextResponse(await to_thread.run_sync(made, limiter=threads))
        finally:
            asking -= 1


def _add_runs(app: FastAPI, runs: Runs) -> None:
    gone = {404: _says("There is no such run, or it has ended.")}
    typed = {415: _says("The body is called something else than JSON.")}
    full = {503: _says("Too many runs go.", Retry_After="Seconds to wait.")}

    def found(key: str) -> PageRun:
        run = runs.get(key)
        if run is None:
            raise HTTPException(404, "There is no such run, or it has ended. Start a new one.")
        return run

    @app.post(
        "/api/runs",
        status_code=201,
        responses={**full, **typed},
    )
    async def create(settings: Settings) -> Created:
        """Make a run. It begins when its events are listened to, paused."""
        return Created(id=runs.create(settings))

    @app.get(
        "/api/runs/{key}/events",
        status_code=200,
        response_class=EventStream,
        responses={409: _says("Its events are listened to already."), **gone, **full},
    )
    async def events(key: str) -> EventStream:
        """The events of a run. It ends when nobody listens any more."""
        run = found(key)
        if not runs.open(run):
            raise HTTPException(409, "Another page shows this run already. Start a new one.")
        return EventStream(run, runs)

    @app.post(
        "/api/runs/{key}/control",
        status_code=204,
        responses={409: _says("It does not fit the run's state."), **gone, **typed},
    )
    async def control(key: str, control: Control) -> None:
        """Start, pause, step, reset; the speed; the layer whose weights are shown."""
        run = found(key)
        if control.layer is not None:
            _check_less("layer", control.layer, run.settings.depth)
        runs.steer(run, control)

    @app.post(
        "/api/runs/{key}/lottery",
        status_code=202,
        response_class=Response,
        responses={409: _says("The pane has not trained, or a lottery goes."), **gone, **typed},
    )
    async def lottery(key: str, lottery: Annotated[LotterySettings, Body()]) -> Response:
        """Prune what a pane has trained, level by level."""
        run = found(key)
        _check_less("pane", lottery.pane, len(run.settings.panes))
        runs.start_lottery(run, lottery)
        return Response(status_code=202)


def _says(description: str, **headers: str) -> dict[str, Any]:
    # Not as FastAPI's `model`, which would have the content type of the good answer.
    content = {"application/json": {"schema": Problem.model_json_schema()}}
    said: dict[str, Any] = {"content": content, "description": description}
    if headers:
        said["headers"] = {
            name.replace("_", "-"): {"description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        }
    return said


def _check_less(name: str, value: int, count: int) -> None:
    """A number whose bound the schema cannot know."""
    if value >= count:
        message = f"`{name}` must be 0 to {count - 1} in this run, received {value}."
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("body", name), "msg": message}]
        )


async def _sweep(runs: Runs) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        try:
            runs.sweep()
        except Exception:  # who would end the runs then?
            _log.exception("The runs could not be looked after.")


def _json(status: int, content: Any, headers: dict[str, str] | None = None) -> Response:
    # Escaped: what was received may hold halves of characters, which are no UTF-8.
    return Response(json.dumps(content), status, headers, media_type="application/json")


async def _invalid(request: Request, error: Any) -> Response:
    # Without the input, as FastAPI would send it: that may be infinite, or long.
    kept = ("type", "loc", "msg")
    return _json(422, {"detail": [{name: e[name] for name in kept} for e in error.errors()]})


async def _wrong(request: Request, error: Any) -> Response:
    return _json(422, {"detail": [{"type": "value_error", "loc": ["body"], "msg": str(error)}]})


async def _conflict(request: Request, error: Any) -> Response:
    return _json(409, {"detail": str(error)})


async def _full(request: Request, error: Any) -> Response:
    return _json(503, {"detail": str(error)}, {"Retry-After": "10"})
