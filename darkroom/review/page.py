"""The review for people: Markdown that fits a comment on a pull request, and one HTML page that needs no network."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from darkroom.core.spelling import confusion
from darkroom.review import cells, curves, lock, recommended
