"""Why an adapter isn't in the bundle."""


class UnfitError(Exception):
    """This adapter can't be switched on this base: what is wrong with it, and the remedy.

    `code` is CamelCase.
    """

    def __init__(self, code: str, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.code = code

    @property
    def message(self) -> str:
        return str(self)[:400]
