"""An upload's steps in the models' log: begun, ended, given up (stream/authoring/uploading.py says in which order)."""

from __future__ import annotations

from memberstream.models.definition import read_definition
from memberstream.models.list_version import ListVersion
from memberstream.models.log_steps import GiveUp, PublishList, Upload
from memberstream.models.registry import Registry
from memberstream.stream.authoring.steps import Steps, refuse_if


class UploadSteps:
    """Tells the models' log about one list."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def check(self, registry: Registry, listed: ListVersion) -> None:
        """Check that `begin` would take a list. Raises PublishError: the version is taken."""
        refuse_if(registry.objection(self._upload(listed)))

    async def begin(self, listed: ListVersion) -> None:
        """Announce a list whose rows will be written now. This ends an interrupted upload of its name.

        Raises:
            PublishError: the version is taken.
        """
        await self._steps.take(self._upload(listed))

    async def check_goes_on(self, listed: ListVersion) -> None:
        """Check that `end` would take a list now. Raises PublishError: its upload was ended."""
        refuse_if((await self._steps.registry()).objection(self._publish(listed)))

    async def end(self, listed: ListVersion, *, reason: str = "") -> None:
        """Publish a list whose rows are all written as a candidate.

        Raises:
            PublishError: another upload of its name has begun meanwhile.
        """
        await self._steps.take(self._publish(listed, reason))

    async def give_up(self, listed: ListVersion) -> None:
        """End an upload. The workers withdraw what it has written, even after somebody else ended it.

        Raises:
            PublishError: the list is published.
        """
        done = self._steps.by("the upload was given up")
        await self._steps.take(GiveUp(listed.name, listed.version, listed.token, **done))

    def _upload(self, listed: ListVersion) -> Upload:
        definition = read_definition(listed.definition())
        return Upload(listed.name, listed.version, definition, listed.token, **self._steps.by())

    def _publish(self, listed: ListVersion, reason: str = "") -> PublishList:
        definition = read_definition(listed.definition())
        return PublishList(listed.name, listed.version, definition, listed.token, **self._steps.by(reason))
