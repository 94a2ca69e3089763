"""The screens, in the order of the menu."""

from audit.web.answer import Screen
from audit.web.screens.overview import OVERVIEW

SCREENS: tuple[Screen, ...] = (OVERVIEW,)
