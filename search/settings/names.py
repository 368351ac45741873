"""What searches and funnels may be called."""

from __future__ import annotations

import re

NAME = re.compile(r"[\w.-]{1,200}")  # shown in tables and written into exports
