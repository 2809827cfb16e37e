"""The seeded world and its sensors: repeatable, consistent, and quiet unless a scenario says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import UserError
from greenmine.core.metric import METRICS
from greenmine.policy.model import Policy
from greenmine.simulator.daily import SHIFT_WORK, DailyCourse
from greenmine.simulator.dust import Plume, bearing_deg
from greenmine.simulator.randomness import SmoothNoise, uniform
from greenmine.simulator.sensor import TRAITS, Gauge, gauges
from greenmine.simulator.weather import SHOWER_S
from greenmine.simulator.world import RAIN_TIP_MM, Site, World

MINUTE_NS = 60 * NS_PER_S
DAY_NS = 86_400 * NS_PER_S
NOON_NS = int(datetime(2026, 6, 22, 4, tzinfo=UTC).timestamp()) * NS_PER_S
"""12:00 in the mine's zone."""
TIMES = st.integers(1_577_836_800, 1_893_456_000).map(lambda second: second * NS_PER_S)  # 2020 to 2030
SEEDS = st.integers(0, 2**63 - 1)


def sensor(kind: str, channel: str = "", **metrics: dict[str, str]) -> dict[str, object]:
    return {"kind": kind, "principle": "test", "channel": channel, "metrics": metrics}


def mine(*devices: dict[str, object], mine_id: str = "shifan-w") -> Policy:
    words = {"zh": "示范矿", "en": "Demo mine"}
    info = {"id": mine_id, "name": words, "enterprise": words, "region": "150622", "timezone": "Asia/Shanghai"}
    info |= {"location": (110.0, 39.5), "noise_class": 3, "air_grade": 2}
    return Policy.model_validate({"schema": 1, "mine": info, "valid_from": "2020-01-01", "devices": list(devices)})


def every(unit: str) -> dict[str, str]:
    return {"unit": unit, "interval": "60s"}


def dust(device: str, position: tuple[float, float] | None) -> dict[str, object]:
    metrics = {name: every("ug/m3") for name in ("pm10", "pm25", "tsp")}
    return {"id": device, "position": position, "sensors": [sensor("dust", **metrics)]}


POLICY = mine(
    dust("dust-n", (110.0, 39.51)),
    dust("dust-s", (110.01, 39.49)),
    dust("dust-x", None),
    {"id": "noise", "sensors": [sensor("noise", **{m: every("dB") for m in ("laeq", "lamax", "l10", "l50", "l90")})]},
    {
        "id": "soil",
        "sensors": [sensor("soil", f"d{d}", soil_moisture=every("%"), soil_temp=every("Cel")) for d in (10, 40)],
    },
    {
        "id": "weather",
        "sensors": [
            sensor("weather", **{m: every(METRICS[m].unit) for m in METRICS if METRICS[m].kind.value == "weather"})
        ],
    },
    {
        "id": "water",
        "sensors": [
            sensor("water", **{m: every(METRICS[m].unit) for m in METRICS if METRICS[m].kind.value == "water"})
        ],
    },
)


def all_gauges(policy: Policy, seed: int) -> list[Gauge]:
    return [gauge for device in policy.devices for gauge in gauges(policy, device, seed)]


def measured(world: World, seed: int, device: str, time_ns: int) -> dict[str, float]:
    chosen = POLICY.device(device)
    assert chosen is not None
    return {gauge.key: gauge.measure(world, time_ns) for gauge in gauges(POLICY, chosen, seed)}


def test_every_metric_of_the_vocabulary_can_be_simulated() -> None:
    assert set(TRAITS) == set(METRICS)
    unit = {name: METRICS[name].unit for name in METRICS}
    policy = mine(
        *(
            {"id": f"d{i}", "sensors": [sensor(METRICS[m].kind.value, **{m: every(unit[m])})]}
            for i, m in enumerate(METRICS)
        )
    )
    world = World([policy], 1)
    for gauge in all_gauges(policy, 1):
        metric = METRICS[gauge.series.metric]
        assert metric.low <= gauge.measure(world, NOON_NS) <= metric.high


@given(seed=SEEDS, times=st.lists(TIMES, min_size=2, max_size=6, unique=True))
@settings(max_examples=30, deadline=None)
def test_a_value_depends_on_seed_place_and_time_alone(seed: int, times: list[int]) -> None:
    """Neither the order of questions, nor skipped steps, nor what else was asked changes a value."""
    forward, backward = World([POLICY], seed), World([POLICY], seed)
    first = {(g.series, t): g.measure(forward, t) for t in times for g in all_gauges(POLICY, seed)}
    second = {
        (g.series, t): g.measure(backward, t) for g in reversed(all_gauges(POLICY, seed)) for t in reversed(times)
    }
    assert first == second


def test_another_mine_beside_it_changes_nothing() -> None:
    alone, together = World([POLICY], 7), World([mine(dust("other", None), mine_id="shifan-v"), POLICY], 7)
    for gauge in all_gauges(POLICY, 7):
        assert gauge.measure(alone, NOON_NS) == gauge.measure(together, NOON_NS)


def test_seeds_differ() -> None:
    values = [measured(World([POLICY], seed), seed, "dust-n", NOON_NS)["pm10"] for seed in range(10)]
    assert len(set(values)) == 10


@given(seed=SEEDS, time_ns=TIMES, strength=st.floats(1, 5_000), offset_s=st.integers(-600, 600))
@settings(max_examples=150, deadline=None)
def test_dust_and_sound_are_in_order_as_measured(seed: int, time_ns: int, strength: float, offset_s: int) -> None:
    start_ns = time_ns + offset_s * NS_PER_S
    world = World([POLICY], seed, [Plume("shifan-w", start_ns, start_ns + 10 * MINUTE_NS, 2 * MINUTE_NS, strength)])
    for device in ("dust-n", "dust-s", "dust-x"):
        values = measured(world, seed, device, time_ns)
        assert values["tsp"] >= values["pm10"] >= values["pm25"] > 0
    sound = measured(world, seed, "noise", time_ns)
    assert sound["lamax"] >= sound["l10"] >= sound["laeq"] >= sound["l50"] >= sound["l90"]


@given(seed=SEEDS, time_ns=TIMES)
@settings(max_examples=150, deadline=None)
def test_without_episodes_nothing_comes_near_a_level(seed: int, time_ns: int) -> None:
    world = World([POLICY], seed)
    assert measured(world, seed, "dust-s", time_ns)["pm10"] < 145
    assert measured(world, seed, "noise", time_ns)["laeq"] < 60
    water = measured(world, seed, "water", time_ns)
    assert 7 < water["ph"] < 8.3
    assert water["turbidity"] < 60
    assert water["do"] > 5
    assert 14 < measured(world, seed, "soil", time_ns)["soil_moisture@d10"] <= 46
    weather = measured(world, seed, "weather", time_ns)
    assert 0 < weather["wind_speed"] < 10
    assert 0 <= weather["wind_dir"] < 360


def test_an_episode_exceeds_at_the_downwind_device_and_is_smooth_and_gone() -> None:
    start_ns, length_ns = NOON_NS, 30 * MINUTE_NS
    calm = World([POLICY], 3)
    episode = World([POLICY], 3, [Plume("shifan-w", start_ns, start_ns + length_ns, 5 * MINUTE_NS, 500)])
    sites = [Site("shifan-w", device) for device in ("dust-n", "dust-s", "dust-x")]

    def added(site: Site, time_ns: int, metric: str = "pm10") -> float:
        return episode.value(site, metric, time_ns) - calm.value(site, metric, time_ns)

    middle_ns = start_ns + length_ns // 2
    assert max(added(site, middle_ns) for site in sites) == pytest.approx(500)
    assert max(episode.value(site, "pm10", middle_ns) for site in sites) > 250
    hit = max(sites, key=lambda site: added(site, middle_ns))
    assert added(hit, middle_ns, "tsp") > added(hit, middle_ns) > added(hit, middle_ns, "pm25") > 0
    course = [added(hit, start_ns + second * NS_PER_S) for second in range(-60, 31 * 60)]
    assert max(abs(b - a) for a, b in pairwise(course)) < 5, "ug/m3 within a second"
    for site in sites:
        for outside_ns in (start_ns, start_ns - 1, start_ns + length_ns, start_ns + length_ns + 1):
            assert added(site, outside_ns) == 0
        assert added(site, middle_ns) > 0


def test_the_wind_decides_where_the_dust_goes() -> None:
    world = World([POLICY], 3)
    place = {"dust-n": (110.0, 39.51), "dust-s": (110.01, 39.49)}
    episode = World([POLICY], 3, [Plume("shifan-w", 0, 10 * 365 * 6 * DAY_NS, MINUTE_NS, 500)])
    for day in range(60):
        time_ns = NOON_NS + day * DAY_NS
        leeward = (world.value(Site("shifan-w", "weather"), "wind_dir", time_ns) + 180) % 360
        off = {d: abs((bearing_deg((110.0, 39.5), p) - leeward + 180) % 360 - 180) for d, p in place.items()}
        dusty = {
            d: episode.value(Site("shifan-w", d), "pm10", time_ns) - world.value(Site("shifan-w", d), "pm10", time_ns)
            for d in place
        }
        near, far = sorted(place, key=lambda d: off[d])
        assert dusty[near] >= dusty[far]


def test_day_is_warmer_than_night_and_louder() -> None:
    world = World([POLICY], 11)
    for day in range(30):
        noon, night = NOON_NS + day * DAY_NS + 3 * 3600 * NS_PER_S, NOON_NS + day * DAY_NS + 15 * 3600 * NS_PER_S
        for site, metric in ((Site("shifan-w", "weather"), "air_temp"), (Site("shifan-w", "noise"), "laeq")):
            assert world.value(site, metric, noon) > world.value(site, metric, night)
        top, deep = (
            abs(
                world.value(Site("shifan-w", "soil", channel), "soil_temp", noon)
                - world.value(Site("shifan-w", "soil", channel), "soil_temp", night)
            )
            for channel in ("d10", "d40")
        )
        assert top > deep, "the daily wave fades with depth"


def test_rain_is_counted_in_whole_tips_and_wets_the_soil() -> None:
    world = World([POLICY], 5)
    rainy = [
        slot
        for slot in range(NOON_NS // NS_PER_S // SHOWER_S, NOON_NS // NS_PER_S // SHOWER_S + 400)
        if world.rain_mm("shifan-w", slot * SHOWER_S * NS_PER_S, (slot + 1) * SHOWER_S * NS_PER_S) > 3
    ]
    assert rainy
    start_ns = rainy[0] * SHOWER_S * NS_PER_S
    end_ns = start_ns + SHOWER_S * NS_PER_S
    whole = world.rain_mm("shifan-w", start_ns, end_ns)
    minutes = [world.rain_mm("shifan-w", t, t + MINUTE_NS) for t in range(start_ns, end_ns, MINUTE_NS)]
    assert sum(minutes) == pytest.approx(whole), "no tip is lost or counted twice"
    assert all(mm / RAIN_TIP_MM == pytest.approx(round(mm / RAIN_TIP_MM)) for mm in minutes)
    soil = Site("shifan-w", "soil", "d10")
    assert world.value(soil, "soil_moisture", end_ns + 6 * 3600 * NS_PER_S) > world.value(
        soil, "soil_moisture", start_ns
    )


def test_statistics_cover_their_period_and_start_with_it() -> None:
    setting = {"unit": "dB", "interval": "10m", "period": "10m"}
    policy = mine(
        {"id": "a", "sensors": [sensor("noise", laeq=setting | {"stat": "avg"})]},
        {"id": "b", "sensors": [sensor("noise", lamax=setting | {"stat": "max"})]},
        {
            "id": "c",
            "sensors": [sensor("weather", rain={"unit": "mm", "interval": "1h", "stat": "sum", "period": "1h"})],
        },
    )
    world = World([policy], 2)
    mean, highest, rain = all_gauges(policy, 2)
    for gauge in (mean, highest):
        assert gauge.source_time_ns(NOON_NS) == NOON_NS - 10 * MINUTE_NS
    within = [world.value(Site("shifan-w", "a"), "laeq", NOON_NS - s * NS_PER_S) for s in range(1, 600)]
    assert min(within) < mean.ideal(world, NOON_NS) < max(within)
    peaks = [world.value(Site("shifan-w", "b"), "lamax", NOON_NS - s * NS_PER_S) for s in range(1, 600)]
    assert sum(peaks) / len(peaks) < highest.ideal(world, NOON_NS) <= max(peaks) + 1e-9
    assert rain.ideal(world, NOON_NS) == world.rain_mm("shifan-w", NOON_NS - 60 * MINUTE_NS, NOON_NS)


def test_a_mean_wind_direction_goes_round_north() -> None:
    policy = mine(
        {
            "id": "w",
            "sensors": [sensor("weather", wind_dir={"unit": "deg", "interval": "1h", "stat": "avg", "period": "1h"})],
        }
    )

    class NorthWind(World):
        def value(self, site: Site, metric: str, time_ns: int) -> float:
            return 350.0 if time_ns // MINUTE_NS % 10 < 5 else 10.0

    (gauge,) = all_gauges(policy, 0)
    mean = gauge.ideal(NorthWind([policy], 0), NOON_NS)
    assert min(mean, 360 - mean) < 5


def test_units_of_the_policy_are_sent() -> None:
    policy = mine({"id": "d", "sensors": [sensor("dust", tsp=every("mg/m3"))]})
    (gauge,) = all_gauges(policy, 0)
    world = World([policy], 0)
    assert gauge.measure(world, NOON_NS) * 1000 == pytest.approx(gauge.ideal(world, NOON_NS), rel=0.04)


def test_a_sum_that_means_nothing_is_refused() -> None:
    policy = mine(
        {
            "id": "d",
            "sensors": [sensor("dust", pm10={"unit": "ug/m3", "interval": "1h", "stat": "sum", "period": "1h"})],
        }
    )
    with pytest.raises(UserError, match=r"shifan-w/d: .*sums of rain only, not of pm10"):
        all_gauges(policy, 0)


@given(seed=SEEDS, key=st.text(max_size=8), time_ns=TIMES, step_s=st.floats(1, 1e6))
@settings(max_examples=100, deadline=None)
def test_noise_is_bounded_and_continuous(seed: int, key: str, time_ns: int, step_s: float) -> None:
    noise = SmoothNoise(seed, key, step_s)
    here, near = noise.at(time_ns), noise.at(time_ns + int(step_s * 1e6))
    assert -1 <= here <= 1
    assert abs(near - here) < 0.01, "a thousandth of its persistence later it is nearly the same"


def test_hashes_are_uniform_and_the_same_on_every_machine() -> None:
    values = [uniform(1, "key", index) for index in range(4_000)]
    assert 0.48 < sum(values) / len(values) < 0.52
    assert 0 <= min(values) < 0.01 < 0.99 < max(values) < 1
    # printf '42|dust|7' | b2sum -l 64, as a fraction of 2**64
    assert uniform(42, "dust", 7) == 0.6042170952362101


def test_a_daily_course_meets_its_points() -> None:
    course = DailyCourse((0, 1), (6, 3), (24, 1))
    assert [course.at(hour) for hour in (0, 3, 6, 15)] == [1, 2, 3, 2]
    assert SHIFT_WORK.at(10) == 1
    assert SHIFT_WORK.at(23.999) == pytest.approx(0.5, abs=0.001)
    with pytest.raises(ValueError, match="from hour 0 to hour 24"):
        DailyCourse((1, 1), (24, 1))


def test_a_bearing_is_a_compass_direction() -> None:
    for degrees, target in ((0, (110, 40)), (90, (111, 39)), (180, (110, 38)), (270, (109, 39))):
        assert bearing_deg((110, 39), target) == pytest.approx(degrees)


def test_times_far_apart_are_all_fine() -> None:
    world = World([POLICY], 1)
    moment = datetime(2000, 1, 1, tzinfo=UTC)
    for years in range(0, 60, 5):
        time_ns = int((moment + timedelta(days=365 * years)).timestamp()) * NS_PER_S
        assert 0 < world.value(Site("shifan-w", "dust-n"), "pm10", time_ns) < 150
