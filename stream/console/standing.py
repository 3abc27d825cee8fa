"""A member as look-ups see it, and why it sees a campaign or doesn't. Values in, values out.

Law: who sees what is decided by the look-up's answer alone (stream/lookup/campaigns.py). Here is only said, of a
campaign that isn't in the answer, which rule keeps it away.
"""

from __future__ import annotations

from typing import NamedTuple

from memberstream.models.campaigns import Campaign
from memberstream.models.model import label
from memberstream.models.registry import Registry, Status
from memberstream.models.targeting import clusters_of, misfit
from memberstream.stream.authoring.terms_told import clusters_text
from memberstream.stream.console.versions import told
from memberstream.stream.lookup import Answer

SEES, HELD_OUT, SEES_NOT = "sees it", "held out", "doesn't see it"


class Standing(NamedTuple):
    """A member's cluster under a version. `before`: its clusters before, as text and since when (ms), latest first."""

    label: str
    status: str
    cluster: str
    since_ms: int
    before: list[tuple[str, int]]


class Seen(NamedTuple):
    """A campaign for a member. `said`: SEES, HELD_OUT or SEES_NOT; `why`: the rule that says so."""

    campaign: str
    said: str
    why: str


def standings(registry: Registry, answer: Answer) -> list[Standing]:
    """Return the member's clusters under live versions and candidates, as far as it has one: the live one first."""
    live = {label(one.model, one.version) for one in answer.memberships.values()}
    statuses = told(registry) | dict.fromkeys(live, Status.LIVE.value)
    found = []
    for name in sorted(statuses, key=lambda name: (name.partition("@")[0], name not in live, name)):
        entry = registry.versions.get(name)
        names = {} if entry is None else entry.definition.clusters
        said = [(f"{cluster} {names.get(cluster, '')}".strip(), since_ms) for cluster, since_ms in answer.course(name)]
        if said:
            found.append(Standing(name, statuses[name], *said[0], said[1:]))
    return found


def seen(registry: Registry, answer: Answer, now_ms: int) -> list[Seen]:
    """Return each campaign, those that the member sees first."""
    visible = answer.visible
    found = []
    for name in sorted(registry.campaigns.keys() | {*visible.campaigns, *visible.held_out}):
        campaign = registry.campaigns.get(name)
        if name in visible.held_out:
            found.append(Seen(name, HELD_OUT, "chance has put it among those who are compared"))
        elif campaign is None:
            found.append(Seen(name, SEES, "readers are told so in Redis"))
        elif name in visible.campaigns:
            found.append(Seen(name, SEES, f"it is in {_own(registry, answer, campaign)}"))
        else:
            found.append(Seen(name, SEES_NOT, _why_not(registry, answer, campaign, now_ms)))
    order = (SEES, HELD_OUT, SEES_NOT)
    return sorted(found, key=lambda one: order.index(one.said))


def _why_not(registry: Registry, answer: Answer, campaign: Campaign, now_ms: int) -> str:
    terms = campaign.terms
    if answer.status == "unknown member":
        return "nothing is known of this member"
    if (state := campaign.state_at(now_ms)) != "enabled":
        return f"the campaign is {state}"
    cluster = answer.cluster(terms.model)
    if cluster in terms.clusters:
        return "readers haven't been told of this campaign's terms yet"
    why = misfit(registry, campaign.id, terms).partition(". Next: ")[0].removeprefix(f"{campaign.id}: ")
    if cluster is None:
        return why or f"it has no cluster under {terms.model}"
    return f"it is in {_own(registry, answer, campaign)}; the campaign is for {clusters_text(registry, terms)}"


def _own(registry: Registry, answer: Answer, campaign: Campaign) -> str:
    model = campaign.terms.model
    cluster, version = answer.cluster(model), answer.version(model)
    name = "" if cluster is None else clusters_of(registry, model, version).get(cluster, "")
    return f"{cluster} {name} of {label(model, version or 0)}"
