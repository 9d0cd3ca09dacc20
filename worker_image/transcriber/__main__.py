"""`python -m transcriber`. The engine and decoder processes also load this file, but must not import the worker."""

if __name__ == "__main__":
    from .signals import hold

    hold()  # loading the rest takes half a second, in which a signal would end the process
    from .worker import run

    run()
