"""``python -m drover``: the same as the ``drover`` program."""

from drover.cli.main import main

if __name__ == "__main__":
    main()
