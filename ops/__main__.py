"""``python -m ops`` is ``pulex``."""

from ops.cli import main

if __name__ == "__main__":
    main()
