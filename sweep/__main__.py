"""`python -m sweep`."""

if __name__ == "__main__":
    try:
        from sweep.cli.app import main  # takes a second or two, in which Ctrl-C is no error either

        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
