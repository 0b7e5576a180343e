"""Automated search for options of a recipe: trials that are runs, and the best of them."""

from genrev.searching.results import Row, Search
from genrev.searching.trials import Limits, search, search_values
