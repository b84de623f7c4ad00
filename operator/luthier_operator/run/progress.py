"""How far a run is, as its status shows it. Pure."""

from luthier_api.runstatus import Progress


def without_end(progress: Progress) -> Progress:
    """Of what doesn't go on."""
    return progress.model_copy(update={"eta": None, "estimated_finish": None})


def of_parts(progress: Progress | None, *, going: bool) -> Progress | None:
    """Of a run that counts parts, not steps of a training."""
    if progress is None or not progress.total_steps:
        return None
    told = Progress(
        step=progress.step,
        total_steps=progress.total_steps,
        percent=f"{min(100, 100 * progress.step // progress.total_steps)}%",
        estimated_finish=progress.estimated_finish,
        eta=progress.eta,
        updated=progress.updated,
    )
    return told if going else without_end(told)
