"""The one exception of the venue floor."""


class VenueError(Exception):
    """A venue could not be reached or refused us; the text is one line for an operator and never holds a key."""
