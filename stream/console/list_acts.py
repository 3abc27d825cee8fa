"""Uploading a list: choose a file, see what is in it, then upload it. By the command's own steps and rules."""

from __future__ import annotations

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from memberstream.models.definition import is_name
from memberstream.stream.authoring.uploading import Options, cluster_names
from memberstream.stream.console.access import admitted
from memberstream.stream.console.acts import filled
from memberstream.stream.console.following import Problem
from memberstream.stream.console.site import Site
from memberstream.stream.console.term_form import reason_problem
from memberstream.stream.console.uploads import AT_ONCE, MOST, MOST_OF_ALL, TooMany, Upload, Uploads
from memberstream.stream.files.lists import Columns
from memberstream.stream.files.parquet import is_there
from memberstream.stream.registry.refused import PublishError

UPLOAD = "/lists-upload"
PROGRESS, GO, DROP = (f"{UPLOAD}/{{number}}{rest}" for rest in ("", "/go", "/drop"))
_NAME_SHOWN = 100  # characters of a file's name, in the log and on pages
_NO_FILE = Problem("no file was chosen", "choose a file with members and their clusters")
_ZIPPED = Problem("gzipped files aren't taken here", "unzip it, or use memberstream clusters upload")
_NO_PARQUET = Problem(
    "this console reads no Parquet: pyarrow isn't installed beside it", "send the rows as CSV, or ask whoever runs it"
)
_NO_NAME = Problem(
    "that is no name of a list", "begin with a small letter; small letters, digits and _ may follow, 64 in all"
)
_BUSY = Problem(
    f"no more files are taken now, at most {MOST} of one person and {MOST_OF_ALL} of all",
    "discard one of yours under Lists, or wait until one is through",
)


class ListActs:
    """The uploads of one console."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def form(self, site: Site, request: Request) -> Response:
        """Ask for a file, or say that no more are taken."""
        return await self.full(site, request) or await self._form(site, request)

    async def full(self, site: Site, request: Request) -> Response | None:
        """Return that no more files are taken now, before one is sent; None: one is."""
        admission = admitted(request)
        if admission is None or not self._uploads.are_too_many(admission.person):
            return None
        return await self._form(site, request, None, _BUSY, 503)

    async def take(self, site: Site, request: Request, form: FormData) -> Response:
        """Take a file, and begin to check it."""
        values, given = filled(form), form.get("file")

        async def again(problem: Problem, status: int = 400) -> Response:
            return await self._form(site, request, values, problem, status)

        if not isinstance(given, UploadFile) or not given.size:
            return await again(_NO_FILE)
        file, name = (given.filename or "")[-_NAME_SHOWN:], values.get("name", "").strip()
        if file.lower().endswith(".gz"):
            return await again(_ZIPPED)
        if file.lower().endswith(".parquet") and not is_there():
            return await again(_NO_PARQUET)
        if not is_name(name):
            return await again(_NO_NAME)
        if why := reason_problem(form):
            return await again(Problem.of(f"the reason: {why}", "say it shorter"))
        try:
            names = cluster_names(values.get("names", "").strip())
        except PublishError as error:
            return await again(Problem.of(str(error), "write them like 1=low,2=high"))
        options = Options(
            name, None, values.get("description", "").strip(), names, values.get("merge", "").strip() or None,
            reason=values.get("reason", "").strip(),
        )  # fmt: skip
        columns = Columns(*(values.get(one, "").strip() or None for one in ("id_column", "cluster_column")))
        admission = admitted(request)
        assert admission is not None  # noqa: S101  (app.py lets nobody else through; narrows it)
        try:
            one = await self._uploads.begin(request, admission.person, file, given.file, options, columns)
        except TooMany:
            return await again(_BUSY, 503)
        return RedirectResponse(f"{UPLOAD}/{one.id}", 303)

    async def progress(self, site: Site, request: Request) -> Response:
        """Show how far an upload is, or what was found."""
        one = self._one(request)
        return await site.page(request, "upload.html", place="/lists", one=one, at_once=AT_ONCE)

    async def go(self, site: Site, request: Request, form: FormData) -> Response:
        """Upload what was checked."""
        one = self._one(request)
        if one.found is not None and one.found.n_rejected and "skip_bad" not in form:
            raise HTTPException(400, "rows can't be taken. Next: correct them and begin anew, or leave them out")
        if one.found is not None and one.found.n_rows == one.found.kept:
            raise HTTPException(400, "no row of the file can be taken. Next: correct them and begin anew")
        self._uploads.go(one, "skip_bad" in form)
        return RedirectResponse(f"{UPLOAD}/{one.id}", 303)

    async def drop(self, site: Site, request: Request, _: FormData) -> Response:
        """Forget a file."""
        one = self._one(request)
        if not one.is_under_way:
            self._uploads.drop(one)
        return RedirectResponse("/lists", 303)

    def own(self, request: Request) -> list[Upload]:
        """Return the uploads of whoever asks."""
        admission = admitted(request)
        return [] if admission is None or not admission.person.name else self._uploads.of(admission.person)

    def _one(self, request: Request) -> Upload:
        number = request.path_params["number"]
        for one in self.own(request):
            if one.id == number:
                return one
        raise HTTPException(404, "there is no such upload of yours any more. Next: see Lists for what was uploaded")

    async def _form(
        self,
        site: Site,
        request: Request,
        values: dict[str, str] | None = None,
        why: Problem | None = None,
        status: int = 200,
    ) -> Response:
        registry = await site.registry()
        names = sorted({entry.name for entry in registry.versions.values()})
        lists = sorted({entry.name for entry in registry.versions.values() if entry.definition.is_list})
        return await site.page(
            request,
            "upload_list.html",
            status,
            place="/lists",
            why=why,
            values=values or {},
            names=names,
            lists=lists,
            has_parquet=is_there(),
        )
