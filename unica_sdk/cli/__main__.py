"""`python -m unica_sdk.cli`: the same as `unica`."""

from unica_sdk.cli import main

if __name__ == "__main__":
    main()
