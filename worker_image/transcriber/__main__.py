"""`python -m transcriber`: the engines' and the decoder's processes load this file, too, and must not load the rest."""

if __name__ == "__main__":
    from .worker import run

    run()
