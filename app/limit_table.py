"""Limits as a table on the terminal."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from greenmine.terminal import listing, out

_BINDINGS = {
    "emission": ("排放", "emission"),
    "permit": ("许可", "permit"),
    "ambient": ("环境质量", "ambient"),
    "receiving_water": ("受纳水体", "receiving water"),
    "operating": ("运行控制", "operating"),
}
_STATUS = {
    "sourced": ("已查证", "sourced"),
    "to_confirm": ("待核实", "to confirm"),
    "not_in_force": ("未生效", "not in force"),
}
_HEADINGS = {
    "limit": ("限值", "limit"),
    "asked": ("评价量", "asked"),
    "bound": ("数值", "value"),
    "binding": ("约束", "binds"),
    "status": ("状态", "status"),
    "until": ("有效期", "in force"),
    "clause": ("条款", "clause"),
    "by": ("数据来自", "reported by"),
}


def print_limits(rows: list[dict[str, Any]], language: str) -> None:
    """One line a limit; then why each part applies, once."""
    from greenmine.policy.limit_listing import asked_text, bound_text

    place = 0 if language == "zh" else 1
    nobody = ("无传感器监测", "no sensor reports it")[place]
    shown = []
    for row in rows:
        until = row.get("valid_to") or ""
        shown.append(
            {
                "limit": f"{row['limit']}",
                "asked": asked_text(row, language),
                "bound": bound_text(row),
                "binding": _BINDINGS[row["binding"]][place] if row.get("binding") else "",
                "status": _STATUS[row["status"]][place],
                "until": f"{row['valid_from']} … {until}" if row.get("valid_from") else "",
                "clause": row.get("clause") or "",
                "by": ", ".join(row["reported_by"]) or nobody,
            }
        )
    columns = [(key, words[place]) for key, words in _HEADINGS.items()]
    listing(shown, columns, as_json=False, empty=("没有适用的限值", "no limit applies")[place])
    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(row["why"][language], []).append(row["mine"])
    for why, mines in reasons.items():
        out.print(escape(f"{', '.join(dict.fromkeys(mines))}: {why}"), highlight=False)
