"""The terminal's user."""

import getpass

from splitreason_integrations.errors import ConfigurationError


def login_name() -> str:
    """Return the name of the user whose process this is."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ConfigurationError(
            "this user has no login name: say who answers, with by= or --by"
        ) from error
