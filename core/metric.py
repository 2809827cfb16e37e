"""The metrics that sensors report: canonical unit, sensor kind, physical range, and how a person is shown them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class SensorKind(StrEnum):
    """What a sensor watches; the measurement name in InfluxDB."""

    DUST = "dust"
    WATER = "water"
    NOISE = "noise"
    SOIL = "soil"
    WEATHER = "weather"


class Metric(NamedTuple):
    """A metric with its canonical unit and the physical range outside which a value gets the flag `range`.

    `low` and `high` are in the canonical unit and say what the quantity or any common instrument can be, not what
    is allowed. `negative_flagged` metrics get `negative` below zero. `digits` is for display. `shown_unit` is the
    unit of the limits, in which a person reads it.
    """

    name: str
    kind: SensorKind
    unit: str
    low: float
    high: float
    negative_flagged: bool
    digits: int
    zh: str
    en: str
    shown_unit: str
    energy_mean: bool = False


_M = Metric
_D, _W, _N, _S, _X = SensorKind.DUST, SensorKind.WATER, SensorKind.NOISE, SensorKind.SOIL, SensorKind.WEATHER

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        _M("pm10", _D, "ug/m3", 0, 10_000, True, 0, "可吸入颗粒物 PM10", "PM10", "ug/m3"),
        _M("pm25", _D, "ug/m3", 0, 10_000, True, 0, "细颗粒物 PM2.5", "PM2.5", "ug/m3"),
        _M("tsp", _D, "ug/m3", 0, 30_000, True, 2, "总悬浮颗粒物 TSP", "TSP", "mg/m3"),
        _M("ph", _W, "1", 0, 14, True, 2, "pH 值", "pH", "1"),
        _M("turbidity", _W, "NTU", 0, 4_000, True, 1, "浊度", "Turbidity", "NTU"),
        _M("conductivity", _W, "uS/cm", 0, 200_000, True, 0, "电导率", "Conductivity", "uS/cm"),
        _M("do", _W, "mg/L", 0, 50, True, 2, "溶解氧", "Dissolved oxygen", "mg/L"),
        _M("water_temp", _W, "Cel", -5, 60, False, 1, "水温", "Water temperature", "Cel"),
        _M("level", _W, "m", -50, 500, False, 2, "水位", "Water level", "m"),
        _M("flow", _W, "L/s", 0, 1_000_000, True, 1, "流量", "Flow", "L/s"),
        _M("ss", _W, "mg/L", 0, 100_000, True, 0, "悬浮物", "Suspended solids", "mg/L"),
        _M("cod", _W, "mg/L", 0, 50_000, True, 0, "化学需氧量", "COD", "mg/L"),
        _M("nh3n", _W, "mg/L", 0, 5_000, True, 2, "氨氮", "Ammonia nitrogen", "mg/L"),
        _M("oil", _W, "mg/L", 0, 5_000, True, 2, "石油类", "Oil", "mg/L"),
        _M("fe", _W, "mg/L", 0, 10_000, True, 2, "总铁", "Total iron", "mg/L"),
        _M("mn", _W, "mg/L", 0, 10_000, True, 2, "总锰", "Total manganese", "mg/L"),
        _M("laeq", _N, "dB", 0, 160, True, 1, "等效声级 LAeq", "LAeq", "dB", True),
        _M("lamax", _N, "dB", 0, 170, True, 1, "最大声级 LAmax", "LAmax", "dB"),
        _M("l10", _N, "dB", 0, 160, True, 1, "累积声级 L10", "L10", "dB"),
        _M("l50", _N, "dB", 0, 160, True, 1, "累积声级 L50", "L50", "dB"),
        _M("l90", _N, "dB", 0, 160, True, 1, "累积声级 L90", "L90", "dB"),
        _M("soil_moisture", _S, "%", 0, 100, True, 1, "土壤体积含水率", "Soil moisture", "%"),
        _M("soil_temp", _S, "Cel", -50, 80, False, 1, "土壤温度", "Soil temperature", "Cel"),
        _M("ec", _S, "dS/m", 0, 50, True, 2, "土壤电导率", "Soil conductivity", "dS/m"),
        _M("wind_speed", _X, "m/s", 0, 75, True, 1, "风速", "Wind speed", "m/s"),
        _M("wind_dir", _X, "deg", 0, 360, True, 0, "风向", "Wind direction", "deg"),
        _M("air_temp", _X, "Cel", -60, 60, False, 1, "气温", "Air temperature", "Cel"),
        _M("humidity", _X, "%", 0, 100, True, 0, "相对湿度", "Relative humidity", "%"),
        _M("rain", _X, "mm", 0, 500, True, 1, "降水量", "Rain", "mm"),
        _M("pressure", _X, "kPa", 50, 110, True, 1, "气压", "Air pressure", "kPa"),
    )
}
