"""What became of each adapter of the spec, and the conditions that tell it. Pure."""

from luthier_api import reasons
from luthier_api.adapterbundle import AdapterBundleStatus, BundledRevision
from luthier_api.result import AdapterEnd
from luthier_operator.adapterbundle.decide import awaited
from luthier_operator.adapterbundle.observe import Members, source_of
from luthier_operator.conditions import Conditions, shortened
from luthier_operator.run.sources import Awaited, Source, Taken

ADAPTERS_READY = "AdaptersReady"
ADAPTERS_COMPATIBLE = "AdaptersCompatible"
LEFT_OUT = reasons.ADAPTERS_LEFT_OUT
MESSAGE_LENGTH = 400


def bundled(
    members: Members,
    previous: AdapterBundleStatus,
    ends: dict[str, AdapterEnd],
    *,
    published: bool,
) -> list[BundledRevision]:
    """The adapters of the spec. `ends`: what the run of this revision told of them;
    `published`: that its package is there, with every adapter that it says nothing about."""
    before = {it.name: it for it in previous.adapters}
    return [
        _bundled(name, it, before.get(name), ends.get(name), published=published)
        for name, it in members.items()
    ]


def _bundled(
    name: str,
    member: Source,
    before: BundledRevision | None,
    end: AdapterEnd | None,
    *,
    published: bool,
) -> BundledRevision:
    if isinstance(member, Awaited):
        return BundledRevision(
            name=name,
            reason=member.why.reason,
            message=shortened(member.why.message, MESSAGE_LENGTH),
        )
    known = before if before is not None and source_of(before) == member.ref else None
    adapter = BundledRevision(
        name=name,
        uri=member.ref.uri,
        revision=member.ref.revision,
        manifest_sha256=member.ref.manifest_sha256,
        state=known.state if known else "Pending",
        reason=known.reason if known else None,
        message=known.message if known else None,
    )
    if end is not None and not end.included:
        left_out = {"state": "LeftOut", "reason": end.code, "message": end.message}
        return adapter.model_copy(update=left_out)
    if published:
        return adapter.model_copy(update={"state": "Included", "reason": None, "message": None})
    return adapter


def add_conditions(
    conditions: Conditions, members: Members, adapters: list[BundledRevision]
) -> None:
    """AdaptersReady: each has a result. AdaptersCompatible: none was left out."""
    if pending := awaited(members):
        conditions.set(ADAPTERS_READY, False, pending.reason, pending.message)
    else:
        kept = [
            it.outdated.message
            for it in members.values()
            if isinstance(it, Taken) and it.outdated is not None
        ]
        message = f"Kept as they were: {' '.join(kept)}" if kept else ""
        conditions.set(ADAPTERS_READY, True, reasons.ADAPTERS_ALL_READY, message)
    left_out = [it for it in adapters if it.state == "LeftOut"]
    if left_out:
        words = [f"{it.name} ({it.reason or 'left out'}): {it.message or ''}" for it in left_out]
        conditions.set(ADAPTERS_COMPATIBLE, False, LEFT_OUT, " ".join(words).strip())
    elif any(it.state == "Included" for it in adapters):
        conditions.set(ADAPTERS_COMPATIBLE, True, reasons.ALL_INCLUDED)
