"""Every test here may have a town."""

from tests.preflight.stage import town as town
