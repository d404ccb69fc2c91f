"""Predators and prey: the stochastic Lotka-Volterra model, all series at once."""

import numpy as np

# Predators and prey: rates of birth of a predator (per pair), death of a predator,
# birth of a prey, death of a prey (per pair), each per unit of time; limits of a series
# in time and in events; what counts are multiplied by.
_RATES = (0.01, 0.5, 1.0, 0.01)
_MAX_TIME = 100.0
_MAX_EVENTS = 10_000
_SCALE = 2.0 / 7.0
_BLOCK = 256  # series simulated together: 23 MB of events
_STRIDE = 500  # events between two looks at which series are over

# What the four kinds of events do to (predators, prey); the fifth is no event.
_CHANGES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])


def lotka_volterra(
    rng, n_series, initial, rates=_RATES, max_time=_MAX_TIME, max_events=_MAX_EVENTS
):
    """Simulate predators and prey event by event, by Gillespie's algorithm [1]_.

    With X predators and Y prey, a predator is born at rate ``rates[0] * X * Y``, one
    dies at ``rates[1] * X``, a prey is born at ``rates[2] * Y`` and one is eaten at
    ``rates[3] * X * Y``. All series take a step at once; those that are over drop out.

    Parameters
    ----------
    rng : Generator or RandomState
    n_series : int
    initial : tuple of two int
        Predators and prey at time 0.
    rates : tuple of four float
        See above, per unit of time.
    max_time : float
        A series is given up beyond this time.
    max_events : int
        A series is given up after so many events.

    Returns
    -------
    times : ndarray of shape (n_events, n_series)
        Time of each event, infinite where there is none any more.
    kinds : ndarray of shape (n_events, n_series), of int8
        Which event, 0 to 3 in the order above; 4 is none.
    length : ndarray of shape (n_series,)
        Time of the last event, after which both populations are zero; NaN for a series
        that was given up.

    Notes
    -----
    ``max_events`` rounds of a dozen operations on at most `n_series` numbers.

    References
    ----------
    .. [1] Gillespie (1977), Exact stochastic simulation of coupled chemical reactions,
       The Journal of Physical Chemistry 81, 2340-2361.
    """
    times = np.full((max_events, n_series), np.inf)
    kinds = np.full((max_events, n_series), 4, dtype=np.int8)
    length = np.full(n_series, np.nan)
    on = np.arange(n_series)
    counts = np.tile(np.array(initial, dtype=np.float64)[:, None], (1, n_series))
    now = np.zeros(n_series)
    done = 0
    while done < max_events and len(on):
        rows = slice(done, min(done + _STRIDE, max_events))
        t, k, counts = _events(rng, counts, now, rates, rows.stop - done)
        times[rows, on], kinds[rows, on] = t, k
        now, done = t[-1], rows.stop
        over = counts.sum(axis=0) == 0
        length[on[over]] = np.max(t[:, over], axis=0, where=k[:, over] < 4, initial=0.0)
        # Prey without predators multiply for ever: given up before they fill memory.
        lost = (now > max_time) | ((counts[0] == 0) & (counts[1] > 0))
        stay = ~over & ~lost
        on, counts, now = on[stay], counts[:, stay], now[stay]
    length[length > max_time] = np.nan
    return times[:done], kinds[:done], length


def populations_at(times, kinds, initial, at):
    """Numbers of predators and prey at any times.

    Parameters
    ----------
    times, kinds : ndarray of shape (n_events, n_series)
        From `lotka_volterra`.
    initial : tuple of two int
        Predators and prey at time 0.
    at : ndarray of shape (n_series, n_points)
        Times not beyond the events simulated. At an event, the numbers after it.

    Returns
    -------
    counts : ndarray of shape (n_series, n_points, 2)
        Predators and prey, as float64.
    """
    n_events, n_series = times.shape
    ends = np.max(at, initial=0.0) + 1.0
    # One search in all series: each gets its own stretch of one long time axis.
    start = (2.0 * ends * np.arange(n_series))[:, None]
    axis = (np.minimum(times.T, ends) + start).ravel()
    past = np.searchsorted(axis, (at + start).ravel(), side="right")
    past = past.reshape(at.shape) - n_events * np.arange(n_series)[:, None]
    # (n_series, 1 + n_events, 2)
    counts = np.empty((n_series, 1 + n_events, 2), dtype=np.int32)
    counts[:, 0] = initial
    counts[:, 1:] = _CHANGES[kinds.T]
    np.cumsum(counts, axis=1, out=counts)
    return counts[np.arange(n_series)[:, None], past].astype(np.float64)


def predator_prey_draw(rng, n_series, n_points, initial):
    """Observe series of predators and prey at random times.

    A series lasts until both populations are zero. One that lasts longer than 100 units
    of time or 10,000 events, or whose prey outlive the predators and so grow without
    end, is replaced by another.

    Parameters
    ----------
    rng : Generator or RandomState
    n_series, n_points : int
        How many series, and times in each.
    initial : tuple of two int
        Predators and prey at time 0, at least one each.

    Returns
    -------
    at : ndarray of shape (n_series, n_points)
        Times, uniform over the length of the series, in increasing order.
    y : ndarray of shape (n_series, n_points, 2)
        Predators and prey, times 2 / 7.
    length : ndarray of shape (n_series,)
        When the series ended.

    Raises
    ------
    ValueError
        If no series at all is kept.
    """
    parts, missing, tried = [], n_series, 0
    while missing:
        # About 6 of 10 series are kept with the usual beginning; more cost little.
        size = int(np.clip(2 * missing, 32, _BLOCK))
        times, kinds, length = lotka_volterra(rng, size, initial)
        kept = np.flatnonzero(np.isfinite(length))[:missing]
        at = np.sort(rng.random((len(kept), n_points)) * length[kept, None], axis=1)
        counts = populations_at(times[:, kept], kinds[:, kept], initial, at)
        parts.append((at, _SCALE * counts, length[kept]))
        missing, tried = missing - len(kept), tried + size
        if missing == n_series and tried >= _BLOCK:
            raise ValueError(
                f"initial must let some series end, got {tuple(initial)}: none of "
                f"{tried} series ended within {_MAX_TIME:g} units of time and "
                f"{_MAX_EVENTS} events. The usual beginning is (50, 100)."
            )
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _events(rng, counts, now, rates, n_events):
    """Let `n_events` events happen in each series.

    `counts` (2, n) are predators and prey, `now` (n,) the time; returns times and kinds
    of the events, (n_events, n), and the new counts.
    """
    waits = rng.standard_exponential((n_events, len(now)))
    picks = rng.random((n_events, len(now)))
    times, kinds = np.empty_like(waits), np.empty(waits.shape, dtype=np.int8)
    (x, y), (born, dies, breeds, eaten) = counts, rates
    dx, dy = _CHANGES.T.astype(np.float64)
    with np.errstate(divide="ignore"):  # nothing can happen: an infinite wait
        for wait, pick, t, k in zip(waits, picks, times, kinds, strict=True):
            pairs = x * y
            first = born * pairs
            second = first + dies * x
            third = second + breeds * y
            total = third + eaten * pairs
            now = now + wait / total
            pick *= total
            which = (pick >= first).astype(np.int8)
            which += pick >= second
            which += pick >= third
            which += pick >= total  # only if the total is zero
            x, y = x + dx[which], y + dy[which]
            t[:], k[:] = now, which
    return times, kinds, np.stack([x, y])
