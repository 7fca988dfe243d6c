"""The commands: a screen each, and what stands around every one of them."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"  # installed; in a checkout
