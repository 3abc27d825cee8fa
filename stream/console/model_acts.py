"""What model authors do: publish a file, promote, roll back, retire. Each by the command's own step and guards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from memberstream.models.model import label
from memberstream.models.model_file import load
from memberstream.models.registry import Registry, Version
from memberstream.stream.authoring.publishing import MAX_FLIPS, Publishing
from memberstream.stream.authoring.terms_given import NotATerm, ten_thousandths
from memberstream.stream.console.acts import Act, Acted, Acts, filled, new_number
from memberstream.stream.console.following import Problem
from memberstream.stream.console.site import Site
from memberstream.stream.console.term_form import reason_problem
from memberstream.stream.console.views import missing
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import Settings

PUBLISH = "/models-publish"
_NAME_SHOWN = 100  # characters of a file's name, in the log and on pages
_NO_FILE = Problem("no file was chosen", "choose a model file, .json or .toml")


class Change(NamedTuple):
    """What can be done with a version. `means`: with the version, and in place of which other one."""

    title: str
    means: str


CHANGES = {
    "promote": Change("Promote", "Readers use {version} then{instead}: one write switches all of them."),
    "rollback": Change("Roll back to", "Readers use {version} again{instead}. Both are up to date."),
    "retire": Change(
        "Retire", "{version} isn't scored any more, and its memberships are removed from Redis. It can't be undone."
    ),
}


class ModelActs:
    """The actions of one console."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    async def form(self, site: Site, request: Request) -> Response:
        """Ask for a model file."""
        return await _publish(site, request)

    async def publish(self, site: Site, request: Request, form: FormData) -> Response:
        """Publish a file as a candidate."""

        async def again(outcome: Acted) -> Response:
            return await _publish(site, request, outcome, filled(form))

        given = form.get("file")
        if not isinstance(given, UploadFile) or not (content := await given.read()):
            return await again(Acted(problem=_NO_FILE, status=400))
        if why := _reason(form):
            return await again(why)
        name = given.filename or ""
        reason, force = str(form.get("reason", "")).strip(), "force" in form

        async def run(settings: Settings, actor: str) -> tuple[str, str]:
            model = load(content, is_toml=name.endswith(".toml"))
            published = await Publishing(settings, actor).publish(model, reason=reason, force=force)
            cost = f" Cost: {published.cost}." if published.cost else ""
            said = "published as a candidate" if published.is_new else "published already, with the same content"
            return f"{model.label} is {said}.{cost}", f"/models/{model.name}"

        return await self._acts.do(site, request, form, Act(f"publish {name[:_NAME_SHOWN]}", run), again, content)

    def ask(self, verb: str) -> Callable[[Site, Request], Awaitable[Response]]:
        """Return the page that asks whether this is meant."""

        async def page(site: Site, request: Request) -> Response:
            return await _ask(site, request, verb, request.query_params.get("version", ""))

        return page

    def change(self, verb: str) -> Callable[[Site, Request, FormData], Awaitable[Response]]:
        """Return the action."""

        async def act(site: Site, request: Request, form: FormData) -> Response:
            asked = str(form.get("version", ""))

            async def again(outcome: Acted) -> Response:
                return await _ask(site, request, verb, asked, outcome, filled(form))

            registry = await site.registry()
            entry = _entry(registry, request.path_params["name"], asked)
            if entry is None:
                return await again(Acted())
            if why := _reason(form):
                return await again(why)
            how: dict[str, Any] = {"reason": str(form.get("reason", "")).strip()}
            if verb != "retire":
                how["replaces"] = int(live) if (live := str(form.get("live", ""))).isdecimal() else None
            if verb == "promote":
                try:
                    flips = ten_thousandths(str(form.get("max_flips", "")).strip()) / 10_000
                except NotATerm as error:
                    return await again(Acted(problem=Problem.of(str(error), "write it like 20%"), status=400))
                how |= {"max_flips": min(flips, 1.0), "force": "force" in form}

            async def run(settings: Settings, actor: str) -> tuple[str, str]:
                return await _change(Publishing(settings, actor), verb, entry, how), f"/models/{entry.name}"

            done = Act(f"{CHANGES[verb].title.lower()} {entry.label}", run)
            return await self._acts.do(site, request, form, done, again)

        return act


async def _change(publishing: Publishing, verb: str, entry: Version, how: dict[str, Any]) -> str:
    if verb == "promote":
        await publishing.promote(entry.name, entry.version, **how)
    elif verb == "rollback":
        before = (await publishing.registry()).previous(entry.name)
        if before != entry.version:
            raise PublishError(
                f"{entry.label} isn't the version that was live before, by now. Next: look, and try again"
            )
        await publishing.rollback(entry.name, **how)
    else:
        await publishing.retire(entry.name, entry.version, **how)
        return f"{entry.label} is retired."
    return f"{entry.label} is live."


def _entry(registry: Registry, name: str, version: str) -> Version | None:
    is_number = version.isascii() and version.isdecimal() and len(version) < 11
    return registry.versions.get(label(name, int(version))) if is_number else None


def _reason(form: FormData) -> Acted | None:
    why = reason_problem(form)
    return Acted(problem=Problem.of(f"the reason: {why}", "say it shorter"), status=400) if why else None


async def _publish(
    site: Site,
    request: Request,
    outcome: Acted = Acted(),  # noqa: B008  (a value)
    values: dict[str, str] | None = None,
) -> Response:
    return await site.page(
        request, "publish.html", outcome.status, place="/models", why=outcome.problem, problems=outcome.problems,
        values=values or {}, number=new_number(),
    )  # fmt: skip


async def _ask(
    site: Site,
    request: Request,
    verb: str,
    version: str,
    outcome: Acted = Acted(),  # noqa: B008  (a value)
    values: dict[str, str] | None = None,
) -> Response:
    name, registry = request.path_params["name"], await site.registry()
    entry = _entry(registry, name, version)
    if entry is None:
        raise missing(site, f"{name} has no such version. Next: see Models and Lists for what was published")
    live = registry.live.get(name)
    now = f"Now: {entry.label} {entry.status}, {'no version' if live is None else label(name, live)} live."
    instead = "" if live is None else f", in place of {label(name, live)}"
    before = (values or {}).get("live", "")
    is_overtaken = values is not None and verb != "retire" and before != ("" if live is None else str(live))
    since = f"Another version of {name} has become live since you opened this form." if is_overtaken else ""
    means = CHANGES[verb].means.format(version=entry.label, instead=instead)
    return await site.page(
        request, "ask.html", outcome.status, place="/models", back=f"/models/{name}", subject=entry.label,
        title=CHANGES[verb].title, means=means, now=now, why=outcome.problem, number=new_number(),
        hidden={"version": version, "live": "" if live is None else str(live)},
        values={"max_flips": f"{MAX_FLIPS:.0%}"} | (values or {}), checks=["max_flips"] if verb == "promote" else [],
        is_final=verb == "retire", since=since,
    )  # fmt: skip
