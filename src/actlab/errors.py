"""The error for what a user can fix."""


class UserError(Exception):
    """A mistake or circumstance that the user can fix; the message is one line.

    It says what is wrong, where (key, file, shape), what is allowed and what to do. Commands and
    notebooks print it without a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints instead of a traceback."""
        return [f"UserError: {self}"]
