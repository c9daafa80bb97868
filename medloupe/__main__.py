"""`python -m medloupe`."""

from medloupe.apps.cli import main

if __name__ == "__main__":
    main()
