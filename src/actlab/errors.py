"""What went wrong in words for the person at the keyboard."""


class UserError(Exception):
    """A mistake or a circumstance that the user can mend; its message is one line.

    The message says what was wrong, where (key, file, shape), what is allowed
    and what to do. Commands print it without a traceback and exit with 1; a notebook shows the
    line alone.
    """

    def _render_traceback_(self) -> list[str]:
        """Give what IPython shows in place of a traceback."""
        return [f"UserError: {self}"]
