"""The example of docs/formats.md is a policy."""

from __future__ import annotations

import re
from pathlib import Path

from greenmine.policy.load import load_policy

ROOT = Path(__file__).parents[2]
HEAD = """\
schema: 1
mine:
  id: shifan-3
  name: {zh: 示范三号矿, en: Demo No. 3 mine}
  enterprise: {zh: 示范公司, en: Demo Ltd}
  region: '150622'
  timezone: Asia/Shanghai
  location: [110.2, 39.7]
  noise_class: 3
  air_grade: 2
valid_from: 2026-01-01
"""


def test_the_example_loads(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "formats.md").read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "policy.yaml"
    path.write_text(HEAD + shown, encoding="utf-8")
    policy = load_policy(path).policy
    assert policy.devices[0].codec == "probe"
    assert policy.codecs["probe"].battery == "Bat"
