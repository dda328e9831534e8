"""The `hvdtrain` command, and `python -m hvdtrain`."""

from __future__ import annotations

from hvdtrain.cli.app import main

if __name__ == "__main__":
    main()
