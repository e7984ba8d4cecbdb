"""How many prompts a collection asks at most, before anything is asked."""

from __future__ import annotations

from sweep.settings.collect import CollectSettings


def prompts_by_round(
    settings: CollectSettings, train: int, held_out: int = 0, first: int | None = None
) -> tuple[int, ...]:
    """Prompts of each round, at most; the first round comes first. Known answers count as prompts too.

    Small pools have fewer beams. Later rounds ask only queries that need more beams, so they are often much smaller.
    A budget of hours bounds time, so it does not count here.

    Args:
        settings: the section `collect`.
        train: training queries.
        held_out: validation and test queries. They have beams in the first round alone.
        first: beams of the first round, where they are proposed already.
    """
    if first is None:
        first = train * settings.beams.total + held_out * settings.of_held_out.total
    rounds = [first]
    if settings.rounds is not None:
        left = max(settings.rounds.largest - settings.beams.total, 0)
        for _ in range(settings.rounds.most):
            beams = min(settings.rounds.beams.total, left)
            left -= beams
            rounds.append(train * beams)
    if settings.budget is None or settings.budget.prompts is None:
        return tuple(rounds)
    allowed, bounded = settings.budget.prompts, []
    for prompts in rounds:
        bounded.append(min(prompts, allowed))
        allowed -= bounded[-1]
    return tuple(bounded)
